//! The open connections, so that an identity that is no longer good loses them too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Refused, Share};
use crate::config::ServerLimits;
use crate::identity::Identity;

/// What is known of the other end of a connection. Available to every call on it.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Name of the key exchange, such as X25519MLKEM768.
    pub key_exchange: &'static str,
    /// What this identity takes up, over all its connections.
    pub share: Arc<Share>,
}

/// A connection more than there may be. Its client can only wait, or close others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// All together.
    #[error(
        "{most} connections are open here, as many as there may be; try again later, or ask your operator for more \
         (limits.connections in frontend.toml)"
    )]
    OfAll {
        /// How many there may be.
        most: usize,
    },
    /// Of one identity, which must leave some to others.
    #[error(
        "{name} has {most} connections open here, the most that one identity may have; close some, or ask your operator for \
         more (limits.connections_per_identity in frontend.toml)"
    )]
    OfOne {
        /// Whose.
        name: String,
        /// How many it may have.
        most: usize,
    },
}

/// All open connections. Shared by the acceptor, which adds, and the reload, which cuts.
#[derive(Debug)]
pub struct Registry {
    most: usize,
    most_of_one: usize,
    open: Mutex<Table>,
    added: Notify,
    refused: Refused,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
    /// By name, as long as there is a connection.
    shares: HashMap<String, (usize, Arc<Share>)>,
}

#[derive(Debug)]
struct Entry {
    peer: PeerInfo,
    chain: Arc<[CertificateDer<'static>]>,
    cut: CancellationToken,
}

/// A connection's place in the registry; leaving it undoes the registration.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    key: u64,
    cut: CancellationToken,
}

impl Registration {
    /// Fires when the connection must close.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.registry.table();
        let Some(entry) = table.entries.remove(&self.key) else { return };
        let name = entry.peer.identity.name();
        if let Some((connections, _)) = table.shares.get_mut(name) {
            *connections -= 1;
            if *connections == 0 {
                table.shares.remove(name);
            }
        }
    }
}

impl Registry {
    /// For as many connections as `limits` has.
    pub fn new(limits: &ServerLimits) -> Arc<Self> {
        let (most, most_of_one) = (limits.connections(), limits.connections_per_identity());
        Arc::new(Self { most, most_of_one, open: Mutex::default(), added: Notify::new(), refused: Refused::default() })
    }

    /// Adds a connection, and makes `peer` one with the others of its identity.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn add(
        self: &Arc<Self>,
        peer: &mut PeerInfo,
        chain: Arc<[CertificateDer<'static>]>,
    ) -> Result<Registration, TooMany> {
        let cut = CancellationToken::new();
        let mut table = self.table();
        let (name, most_of_one) = (peer.identity.name(), self.most_of_one);
        if table.shares.get(name).is_some_and(|(connections, _)| *connections >= most_of_one) {
            return Err(TooMany::OfOne { name: name.to_owned(), most: most_of_one });
        }
        if table.entries.len() >= self.most {
            return Err(TooMany::OfAll { most: self.most });
        }
        let (connections, share) = table.shares.entry(name.to_owned()).or_default();
        *connections += 1;
        peer.share = share.clone();
        let key = table.next;
        table.next += 1;
        table.entries.insert(key, Entry { peer: peer.clone(), chain, cut: cut.clone() });
        drop(table);
        self.added.notify_one();
        Ok(Registration { registry: self.clone(), key, cut })
    }

    /// Connections that never came to be open.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.table().entries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts every connection for which `good` says no. Verifying takes about 0.1 ms each, so not on a thread that serves calls.
    pub fn recheck(&self, good: impl Fn(&PeerInfo, &[CertificateDer<'static>]) -> bool) -> usize {
        // Verified outside the lock: new connections must not wait for a thousand signatures.
        let all: Vec<(PeerInfo, Arc<[CertificateDer<'static>]>, CancellationToken)> =
            self.table().entries.values().map(|e| (e.peer.clone(), e.chain.clone(), e.cut.clone())).collect();
        let bad = all.iter().filter(|(peer, chain, _)| !good(peer, chain));
        bad.map(|(peer, _, cut)| {
            let (name, serial, address) = (peer.identity.name(), peer.identity.serial(), peer.address);
            tracing::info!(name, serial, %address, "connection cut: its certificate is accepted no longer, or has another role");
            cut.cancel();
        })
        .count()
    }

    /// Cuts connections when their certificates end. Never returns.
    pub async fn cut_when_ended(&self) {
        loop {
            let now = SystemTime::now();
            let mut next: Option<SystemTime> = None;
            for entry in self.table().entries.values() {
                let end = entry.peer.identity.not_after();
                if end < now {
                    entry.cut.cancel();
                } else {
                    next = Some(next.map_or(end, |n| n.min(end)));
                }
            }
            // Certificates are good for the whole of their last second. Capped, so that a clock that is set is noticed.
            let wait = next.and_then(|n| n.duration_since(now).ok()).unwrap_or(Duration::MAX);
            let wait = (wait.saturating_add(Duration::from_millis(10))).min(Duration::from_secs(60));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.added.notified() => {}
            }
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The open connections, so that an identity that is no longer good loses them too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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
}

/// All open connections. Shared by the acceptor, which adds, and the reload, which cuts.
#[derive(Debug, Default)]
pub struct Registry {
    open: Mutex<Table>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: HashMap<u64, Entry>,
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
        self.registry.table().entries.remove(&self.key);
    }
}

impl Registry {
    /// Adds a connection.
    pub fn add(self: &Arc<Self>, peer: PeerInfo, chain: Arc<[CertificateDer<'static>]>) -> Registration {
        let cut = CancellationToken::new();
        let mut table = self.table();
        let key = table.next;
        table.next += 1;
        table.entries.insert(key, Entry { peer, chain, cut: cut.clone() });
        drop(table);
        self.added.notify_one();
        Registration { registry: self.clone(), key, cut }
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

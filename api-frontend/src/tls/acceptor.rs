//! Accepts connections: each handshake on its own, with a deadline, and only so many at a time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::doorstep::{Doorstep, Place};
use super::refused::Why;
use super::{PeerInfo, Registration, Registry, Share, TlsSetup, TooMany};
use crate::config::ServerLimits;
use crate::identity::Identity;

/// Hands out connections whose certificate was accepted. As many as may be open may also be on their way to it.
#[derive(Debug)]
pub struct Acceptor {
    setup: Arc<ArcSwap<TlsSetup>>,
    registry: Arc<Registry>,
    doorstep: Arc<Doorstep>,
    deadline: Duration,
}

impl Acceptor {
    /// Uses whatever `setup` holds at the time of each handshake.
    pub fn new(setup: Arc<ArcSwap<TlsSetup>>, registry: Arc<Registry>, limits: &ServerLimits) -> Self {
        Self { setup, registry, doorstep: Doorstep::new(limits), deadline: limits.handshake_deadline() }
    }

    /// Accepts until `stop` fires; ready connections go to `ready`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken, ready: mpsc::Sender<Arrival>) {
        let acceptor = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the client was gone already. A pause keeps the first from spinning.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Some(place) = acceptor.doorstep.enter(address.ip()) else {
                tracing::warn!(%address, "connection refused: too many handshakes are under way, or too many from there");
                acceptor.registry.refused().note(Why::Crowd);
                continue;
            };
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            tokio::spawn(async move {
                if let Some(arrival) = acceptor.shake_hands(socket, address, place).await {
                    // Fails only when the server is gone already.
                    let _ = ready.send(arrival).await;
                }
            });
        }
    }

    async fn shake_hands(&self, socket: TcpStream, address: SocketAddr, place: Place) -> Option<Arrival> {
        // Without it each small message may wait for the acknowledgement of the one before.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%address, %error, "connection gone before its handshake");
            return None;
        }
        let handshake = async {
            // A turn is taken when there is something to work on: who connects and says nothing keeps nobody from theirs.
            // (Its errors show in the handshake again.)
            let _ = socket.peek(&mut [0]).await;
            let _turn = place.turn().await;
            let setup = self.setup.load_full();
            let accepted = TlsAcceptor::from(setup.server.clone()).accept(socket).into_fallible().await;
            accepted.map(|stream| (stream, setup))
        };
        let (stream, setup) = match timeout(self.deadline, handshake).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err((error, socket))) => {
                tracing::info!(%address, %error, "refused: handshake failed");
                self.registry.refused().note(Why::Handshake);
                let_alert_arrive(socket).await;
                return None;
            }
            Err(_) => {
                tracing::info!(%address, "refused: no handshake within limits.handshake_seconds");
                self.registry.refused().note(Why::Late);
                return None;
            }
        };
        let (_, session) = stream.get_ref();
        let chain: Arc<[CertificateDer<'static>]> =
            session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
        let key_exchange = session.negotiated_key_exchange_group().map_or("", |g| group_name(g.name()));
        let identity = match Identity::from_der(chain.first().map_or(&[][..], |c| c.as_ref())) {
            Ok(identity) => Arc::new(identity),
            Err(error) => {
                tracing::warn!(%address, %error, "refused");
                self.registry.refused().note(Why::Certificate);
                return None;
            }
        };
        let mut peer = PeerInfo { address, identity, key_exchange, share: Arc::new(Share::default()) };
        let registration = match self.registry.add(&mut peer, chain.clone()) {
            Ok(registration) => registration,
            Err(why) => {
                self.registry.refused().note(Why::TooMany);
                return Some(Arrival::TurnedAway(TurnedAway { stream, peer, why, place }));
            }
        };
        // A reload may have happened between the handshake's verdict and the registration; its recheck did not see this one.
        let now = self.setup.load();
        if !Arc::ptr_eq(&setup, &now) && !now.accepts(&chain) {
            tracing::info!(%address, name = peer.identity.name(), "refused: the certificate is no longer accepted");
            self.registry.refused().note(Why::Certificate);
            return None;
        }
        let cut = Box::pin(registration.cut().clone().cancelled_owned());
        Some(Arrival::Open(Connection { stream, peer, cut, registration }))
    }
}

/// Closes a refused connection so that the alert reaches the client: bytes that lie unread at close would turn it into a reset.
async fn let_alert_arrive(mut socket: TcpStream) {
    let _ = socket.shutdown().await;
    let drain = async {
        let mut rest = [0u8; 1024];
        while matches!(socket.read(&mut rest).await, Ok(n) if n > 0) {}
    };
    let _ = timeout(Duration::from_secs(1), drain).await;
}

fn group_name(group: rustls::NamedGroup) -> &'static str {
    match group {
        rustls::NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        rustls::NamedGroup::X25519 => "X25519",
        rustls::NamedGroup::secp256r1 => "P-256",
        rustls::NamedGroup::secp384r1 => "P-384",
        _ => "other",
    }
}

/// What came of a handshake in which a certificate was accepted.
#[derive(Debug)]
pub enum Arrival {
    /// A connection to be served.
    Open(Connection),
    /// One too many, to be told so.
    TurnedAway(TurnedAway),
}

/// A connection that is one too many. It counts as under way until it is closed.
#[derive(Debug)]
pub struct TurnedAway {
    /// Where its client can be told why.
    pub stream: TlsStream<TcpStream>,
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Why.
    pub why: TooMany,
    /// Its place among those that are under way.
    pub place: Place,
}

/// An open connection. Breaks when its certificate ends, is revoked, or its authority is no longer trusted.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: PeerInfo,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    registration: Registration,
}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// An error once the connection was cut. Reading is always pending on an HTTP/2 connection, so the waker is registered there.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "certificate no longer accepted")),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = self.check(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.registration.cut().is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.registration.cut().is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

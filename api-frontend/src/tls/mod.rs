//! The network's edge: TLS 1.3 with certificates on both sides, connection bounds, and reload under open connections.

mod acceptor;
mod files;
mod registry;

pub use acceptor::{Acceptor, Connection};
pub use files::{TlsError, TlsSetup};
pub use registry::{PeerInfo, Registration, Registry};

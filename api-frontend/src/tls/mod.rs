//! The network's edge: TLS 1.3 with certificates on both sides, connection bounds, and reload under open connections.

mod acceptor;
mod doorstep;
mod files;
mod refused;
mod registry;
mod share;

pub use acceptor::{Acceptor, Arrival, Connection, TurnedAway};
pub use doorstep::Place;
pub use files::{Ends, TlsError, TlsSetup};
pub use refused::Refused;
pub use registry::{PeerInfo, Registration, Registry, TooMany};
pub use share::{Held, Share};

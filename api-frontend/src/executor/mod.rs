//! The connection to the executor: one thread that reads and hands on, kept up for ever.
//!
//! Why a thread of its own and no async: output is appended to the log inline, straight from the receive buffer, and a disk
//! that makes a write wait must not hold a worker that serves clients. Requests go out directly from whoever makes them,
//! without blocking; what the socket does not take at once is sent by a second thread.

mod link;
mod session;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use ipc_protocol::{Answer, Hello, JobEntry, ProfileInfo, Request};

pub use link::{Away, Link, LinkState};
pub use session::{Connector, start};

/// What the executor said of itself in `Welcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The highest epoch it has seen.
    pub epoch_seen: u64,
    /// Its build.
    pub build: String,
    /// "v2" or "hybrid".
    pub cgroups: String,
}

/// The connection cannot go on as it is, and a new one is to be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reconnect(pub String);

/// Where the executor's answers go. All methods run on the connection's thread, one at a time, in the order of the answers.
pub trait Sink: Send + 'static {
    /// The first frame of a new connection.
    fn hello(&mut self) -> Hello;

    /// The executor's list is complete. Gives what to answer before the connection is live: a `Resume` for each job of the list.
    fn sync(&mut self, generation: u64, welcome: &Welcome, jobs: Vec<JobEntry>) -> Result<Vec<Request>, Reconnect>;

    /// The connection that was compared last is live: everything can be sent.
    fn live(&mut self);

    /// The executor's profiles, at the begin and after each of its reloads.
    fn profiles(&mut self, profiles: Vec<ProfileInfo>);

    /// Any other answer.
    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Reconnect>;

    /// Everything that was received is handed on. Acknowledgements are due: one for many outputs.
    fn drained(&mut self, due: &mut Vec<Request>);

    /// The connection is gone; what was asked on it will not be answered.
    fn gone(&mut self);
}

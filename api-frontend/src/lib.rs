//! The network side of Airlock: who calls, what they may ask for, what became of their jobs, and every byte of output.
//!
//! # Where things are
//!
//! | module | holds |
//! |---|---|
//! | [`tls`] | connections: TLS 1.3, certificates on both sides, bounds, reload |
//! | [`identity`], [`policy`], [`authorize`] | who calls, what the operator wants, the one table that decides |
//! | [`grpc`] | the service's methods: parse, ask, answer; errors become statuses in one file |
//! | [`turns`] | how much of what all share one identity asks for at a time |
//! | [`echo`] | how sentences show what callers wrote |
//! | [`jobs`] | the life of jobs, without gRPC and TLS |
//! | [`store`], [`output`] | records in SQLite; output logs in segment files, and their followers |
//! | [`executor`] | the connection to the executor |
//! | [`metrics`] | what is counted, for monitoring systems |
//! | [`config`], [`confine`], [`server`] | the program around it |
//!
//! The frontend is the part that may be taken over. It holds no key to anything but its own TLS, and what it asks of the
//! executor is checked there again.

#![forbid(unsafe_code)]

/// A place between two lasting effects, where a build with the feature `kill-points` can be told to die; nothing in any other.
macro_rules! kill_point {
    ($($place:tt)*) => {
        #[cfg(feature = "kill-points")]
        kill_points::reach::<kill_points::Frontend>(kill_points::Frontend::$($place)*);
    };
}

/// What this build calls itself.
pub const BUILD: &str = if cfg!(feature = "kill-points") {
    concat!(env!("CARGO_PKG_VERSION"), "+kill-points")
} else {
    env!("CARGO_PKG_VERSION")
};

pub mod authorize;
pub mod config;
pub mod confine;
pub mod echo;
pub mod executor;
pub mod grpc;
pub mod identity;
pub mod jobs;
pub mod metrics;
pub mod output;
pub mod policy;
pub mod server;
pub mod store;
pub mod tls;
pub mod turns;

mod program;

pub use program::main;

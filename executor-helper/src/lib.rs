//! The root side of Airlock: airlock-executor, and airlock-keeper beside each job.
//!
//! > Whoever takes over the frontend can run what the executor's profiles allow, as the profiles' users, inside its ceilings; they
//! > can claim any identity, and read, stop, starve, misreport and discard every job and its records. They cannot run anything as
//! > root, signal, trace or read the memory of a process outside their jobs, exceed a ceiling, read the executor's memory, or alter
//! > its audit trail.
//!
//! Everything here exists to keep that true. `AUDIT.md` beside this crate gives the reading order.

/// A place between two lasting effects, where a build with the feature `kill-points` can be told to die; nothing in any other.
macro_rules! kill_point {
    ($($place:tt)*) => {
        #[cfg(feature = "kill-points")]
        kill_points::reach::<kill_points::Executor>(kill_points::Executor::$($place)*);
    };
}

/// What this build calls itself.
#[cfg(not(feature = "kill-points"))]
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
/// What this build calls itself.
#[cfg(feature = "kill-points")]
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+kill-points");

pub mod admission;
pub mod audit;
pub mod birth;
pub mod body;
pub mod cgroup;
pub mod check;
pub mod config;
pub mod connection;
pub mod executor;
pub mod filters;
pub mod job;
pub mod keeper;
pub mod listener;
pub mod plan;
pub mod spool;
pub mod start;
pub mod sys;
pub mod uid_pool;
pub mod verify;

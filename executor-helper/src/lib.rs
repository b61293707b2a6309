//! The root side of Airlock: airlock-executor, and airlock-keeper beside each job.
//!
//! > Whoever takes over the frontend can run what the executor's profiles allow, as the profiles' users, inside its ceilings; they
//! > can claim any identity, and read, stop, starve, misreport and discard every job and its records. They cannot run anything as
//! > root, signal, trace or read the memory of a process outside their jobs, exceed a ceiling, read the executor's memory, or alter
//! > its audit trail.
//!
//! Everything here exists to keep that true. `AUDIT.md` beside this crate gives the reading order.

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

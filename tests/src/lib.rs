//! What the end-to-end tests stand on: a running [`Stack`], the `airlock` command ([`Airlock`]), conditions with a
//! deadline ([`wait_until`]) and what the kernel says about a job ([`JobGroup`], [`Process`]).
//!
//! Everything here panics with the whole story when something is not as expected: it is called by tests alone.
//!
//! `AIRLOCK_TEST_SCALE` (a number, 1 unless said) divides sizes and stretches deadlines on slow machines, such as an
//! emulated one; see [`scale`].

#![forbid(unsafe_code)]

mod command;
mod digest;
mod job;
mod kernel;
mod outcome;
pub mod probe;
mod running;
pub mod scale;
mod skip;
mod stack;
mod wait;

pub use command::{Airlock, Tool};
pub use digest::{Sha256Reader, sha256};
pub use job::Job;
pub use kernel::{JobGroup, Process, processes_of_uid};
pub use outcome::Outcome;
pub use running::Running;
pub use skip::skip;
pub use stack::{
    Quiet, Shared, Stack, StackOptions, binaries, demo, deploy_local, deploy_local_script, for_deploy_local,
};
pub use wait::{catch, wait_until};

pub use rustix::process::Signal;

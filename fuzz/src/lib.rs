//! What the fuzz targets do with their bytes. Each module's `run` takes one input and panics when something does not hold;
//! README.md beside this says what each of them claims, and how they are run.

pub mod frames;
#[cfg(feature = "frontend")]
pub mod frontend_files;
#[cfg(feature = "frontend")]
pub mod output_log;
#[cfg(feature = "root")]
pub mod root_files;
#[cfg(feature = "root")]
pub mod session;

mod input;
mod tally;

use std::alloc::System;

use cap::Cap;

/// Counts and bounds what the tested code allocates. The engine's own memory does not pass through it.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

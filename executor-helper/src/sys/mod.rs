//! The only unsafe code of the root side: system calls that rustix does not wrap, and what happens between a clone and an exec.

pub mod process;
pub mod raw;

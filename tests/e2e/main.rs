//! End-to-end tests over the real binaries: each function's name says what holds, each asserts what the world shows.
//!
//! README.md in the folder above says how they are run.

mod adoption;
mod certs_cli;
mod demo;
mod errors;
mod exit_status;
mod hostile_frontend;
mod hostile_jobs;
mod identity;
mod input;
mod interruptions;
mod isolation;
mod jobprobe;
mod limits;
mod lists;
mod local_stack;
mod logs;
mod metrics;
mod names;
mod privileges;
mod restart;
mod rules;
mod run_output;
mod stop;

//! The `airlock` command.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod failure;
mod interrupts;
mod present;
mod program;
mod relay;
mod request;
mod result_file;
mod sentences;
mod session;
mod settings;
mod talk;
mod units;
mod usage;
mod verdict;
mod whole_file;
mod writer;

use failure::Ending;
use std::process::ExitCode;

fn main() -> ExitCode {
    match program::run() {
        Ending::Status(status) => ExitCode::from(status),
        Ending::Signal(signal) => interrupts::die_by(signal),
    }
}

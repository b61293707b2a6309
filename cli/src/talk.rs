//! The two ways out: data on standard output, talk on standard error.

use crate::{args::Format, failure::Failure, interrupts::die_by, sentences::plain};
use std::io::{self, ErrorKind, Write};

const SIGPIPE: i32 = 13;

/// Says one line of our own. Nobody can be told when nobody listens.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "airlock: {}", line.as_ref());
}

/// Tells a program something that is no failure: one object in a line.
pub fn tell(object: &serde_json::Value) {
    let _ = writeln!(io::stderr().lock(), "{object}");
}

/// Says a failure in the form asked for.
pub fn report(failure: &Failure, format: Format, verbose: bool) {
    let mut stderr = io::stderr().lock();
    let _ = match format {
        Format::Json => writeln!(stderr, "{}", failure.to_json()),
        Format::Text => writeln!(stderr, "airlock: {failure}"),
    };
    if let (Format::Text, true, Some(id)) = (format, verbose, failure.known_request_id()) {
        let _ = writeln!(stderr, "airlock: request {id}; both journals of the server know it");
    }
}

/// Writes data and an end of line.
///
/// # Errors
/// When standard output cannot be written. When its reader is gone, this process ends by SIGPIPE as any filter does.
pub fn data(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written =
        stdout.write_all(text.as_ref().as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    written.map_err(|error| unwritable(&error))
}

/// The failure of a standard output that takes nothing; does not return when its reader is gone.
pub fn unwritable(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        die_by(SIGPIPE);
    }
    Failure::new("ABORTED", format!("cannot write to standard output: {}", plain(error)))
}

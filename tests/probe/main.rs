//! A job that reports, as one JSON document, everything it was given: ids, capabilities, signals, limits, descriptors,
//! environment, namespaces, mounts and what it sees of the host. Tests compare the whole of it, so that whatever leaks into jobs
//! one day is a difference.
//!
//! Linked statically and without the Rust runtime's start (see build.rs), which would change the answer: it ignores SIGPIPE,
//! handles SIGSEGV and opens missing descriptors.

#![no_main]
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::Write;
use std::path::Path;

use rustix::{process, thread};
use serde_json::{Map, Value, json};

// SAFETY: the name that the C start-up code calls; the arguments, which it passes too, are not used.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let mut report = airlock_e2e::probe::document(Path::new("/proc/self"));
    for part in [airlock_e2e::probe::surroundings(), itself()] {
        if let (Value::Object(all), Value::Object(part)) = (&mut report, part) {
            all.extend(part);
        }
    }
    let written = writeln!(std::io::stdout(), "{report}");
    c_int::from(written.is_err())
}

/// What only the process itself can say.
fn itself() -> Value {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let said = |answer: Result<String, rustix::io::Errno>| answer.unwrap_or_else(|errno| errno.to_string());
    let arguments: Vec<String> = std::env::args_os().map(text).collect();
    let environment: Map<_, _> = std::env::vars_os().map(|(k, v)| (text(k), text(v).into())).collect();
    let directory = std::env::current_dir().map(|path| path.display().to_string());
    let terminal = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|to| to.starts_with("/dev/pts"));
    json!({
        "arguments": arguments,
        "environment": environment,
        "working_directory": directory.unwrap_or_else(|error| error.to_string()),
        "controlling_terminal": match std::fs::File::open("/dev/tty") {
            Ok(_) => "there is one".to_owned(),
            Err(error) => format!("error {}", error.raw_os_error().unwrap_or(0)),
        },
        "terminals": [terminal(0), terminal(1), terminal(2)],
        "dumpable": said(process::dumpable_behavior().map(|how| format!("{how:?}"))),
        "signal_at_parents_end": said(process::parent_process_death_signal().map(|signal| format!("{signal:?}"))),
        "reaps_orphans": said(process::child_subreaper().map(|pid| format!("{}", pid.is_some()))),
        "secure_bits": said(thread::capabilities_secure_bits().map(|bits| format!("{:#x}", bits.bits()))),
        "keeps_capabilities": said(thread::get_keep_capabilities().map(|keeps| keeps.to_string())),
        "huge_pages_disabled": said(thread::transparent_huge_pages_are_disabled().map(|are| are.to_string())),
    })
}

//! A test that cannot run on this host says so by name, and is counted.

use std::io::Write;

/// Notes that the calling test does not run here and why; the caller then returns.
///
/// The line goes to standard error and to the file that `AIRLOCK_SKIPPED` names, which `deploy/test` turns into its summary.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {reason}\n");
    eprint!("skipped: {line}");
    if let Some(file) = std::env::var_os("AIRLOCK_SKIPPED") {
        let written = std::fs::OpenOptions::new().append(true).create(true).open(&file);
        if let Err(error) = written.and_then(|mut file| file.write_all(line.as_bytes())) {
            panic!("cannot note the skipped test in {}: {error}", file.display());
        }
    }
}

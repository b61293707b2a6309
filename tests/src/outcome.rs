//! How a program ended and what it said.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::Value;

/// Everything about a program that has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(crate) told: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Outcome {
    /// The exit status; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The exact bytes of standard output.
    pub fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// The exact bytes of standard error.
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// Standard output as text, without the last line feed.
    pub fn out(&self) -> String {
        trimmed(&self.stdout)
    }

    /// Standard error as text, without the last line feed.
    pub fn err(&self) -> String {
        trimmed(&self.stderr)
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("standard output is not one JSON value: {error}\n{self}"),
        }
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("not a line of JSON: {error}: {line}\n{self}"),
        };
        self.out().lines().map(parse).collect()
    }

    /// Itself, if it ended with this exit status.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "expected exit status {code}\n{self}");
        self
    }

    /// Itself, if it ended with this status and one line on standard error that holds each of the words; nothing on stdout.
    #[track_caller]
    pub fn says(self, code: i32, words: &[&str]) -> Self {
        let this = self.ends_with(code);
        assert!(this.stdout.is_empty(), "expected nothing on standard output\n{this}");
        let lines: Vec<String> = this.err().lines().map(str::to_owned).collect();
        assert!(lines.len() == 1, "expected one sentence on standard error\n{this}");
        for word in words {
            assert!(lines[0].contains(word), "expected '{word}' in the sentence\n{this}");
        }
        this
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(to, "$ {}\n  {}", self.told, self.status)?;
        writeln!(to, "  stdout ({} bytes): {}", self.stdout.len(), excerpt(&self.stdout))?;
        write!(to, "  stderr ({} bytes): {}", self.stderr.len(), excerpt(&self.stderr))
    }
}

fn trimmed(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 4096;
    let shown = &bytes[..bytes.len().min(MOST)];
    format!("{}{}", String::from_utf8_lossy(shown), if bytes.len() > MOST { "…" } else { "" })
}

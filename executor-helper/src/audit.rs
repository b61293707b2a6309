//! The audit trail: one JSON line per decision, each carrying the hash of the line before. Written by root where the frontend's
//! user can neither write nor shorten it; heads of the chain go to the journal.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::executor::log;

const ROTATE_AT: u64 = 64 * 1024 * 1024;
const HEAD_EVERY: u64 = 1000;
/// Lines per second that a peer can cause without starting anything.
const BOUNDED_PER_SECOND: u32 = 100;
/// Stands before the hash that ends a line.
pub const HASH: &str = ",\"hash\":\"";
/// What stands before the first line.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The trail, open at its end.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    length: u64,
    seq: u64,
    head: String,
    bounded: (Option<Instant>, u32, u64),
}

impl Audit {
    /// Opens or makes the trail and finds its head. A torn last line, which only a power cut leaves, is cut off and reported.
    pub fn open(path: &Path) -> io::Result<Self> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let _ = std::fs::remove_file(beside(path, "new"));
        let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let (mut length, mut line, mut last) = (0u64, Vec::new(), Vec::new());
        let mut reader = BufReader::new(&file);
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            length = length.saturating_add(line.len() as u64);
            last = std::mem::take(&mut line);
        }
        if !line.is_empty() {
            log(4, &format!("{}: the last line was torn, {} bytes cut off", path.display(), line.len()));
            file.set_len(length)?;
        }
        let (mut seq, mut head) = (0, GENESIS.to_owned());
        if !last.is_empty() {
            let line: Value = serde_json::from_slice(&last)?;
            let end = || Some((line.get("seq")?.as_u64()?, line.get("hash")?.as_str()?.to_owned()));
            let not_one = || io::Error::new(io::ErrorKind::InvalidData, "its last line is not one of a trail");
            (seq, head) = end().ok_or_else(not_one)?;
        }
        if file.metadata()?.nlink() > 1 {
            std::fs::remove_file(beside(path, seq))?; // a rotation that was cut short: the file is still the one in use
        }
        Ok(Self { path: path.into(), file, length, seq, head, bounded: (None, 0, 0) })
    }

    /// Writes one line: `event` and the fields in their order, without those that are null. Values are what the executor itself
    /// knows, or marked as claimed.
    pub fn write(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        if self.length >= ROTATE_AT {
            self.rotate()?;
        }
        self.append(event, fields)
    }

    // The chain goes on in a new file, whose first line says so. Whatever fails or is cut short in here, the path has its whole chain.
    fn rotate(&mut self) -> io::Result<()> {
        self.tell_head();
        let (old, new) = (beside(&self.path, self.seq), beside(&self.path, "new"));
        let _ = (std::fs::remove_file(&new), std::fs::remove_file(&old)); // of an attempt before
        let file = OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(&new)?;
        let (path, head) = (self.path.clone(), self.head.clone());
        let mut next = Self { path, file, length: 0, seq: self.seq, head, bounded: self.bounded };
        next.append("rotated", &[("file", old.to_string_lossy().into())])?;
        std::fs::hard_link(&self.path, &old)?;
        std::fs::rename(&new, &self.path)?;
        *self = next;
        Ok(())
    }

    /// As `write`, for what a peer can cause at will: at most so many lines a second; what is left out is counted in the next. Whether
    /// it was written.
    pub fn write_bounded(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<bool> {
        let now = Instant::now();
        let (since, count, suppressed) = &mut self.bounded;
        if since.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1)) {
            (*since, *count) = (Some(now), 0);
        }
        *count = count.saturating_add(1);
        if *count > BOUNDED_PER_SECOND {
            *suppressed = suppressed.saturating_add(1);
            return Ok(false);
        }
        let before = Some(std::mem::take(suppressed)).filter(|n| *n > 0);
        self.write(event, &[fields, &[("suppressed", before.into())]].concat()).map(|()| true)
    }

    // The hash covers the line's own text up to itself, so there is no second form of a line to agree on.
    fn append(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        let seq = self.seq.saturating_add(1);
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let mut text = format!("{{\"seq\":{seq},\"time\":\"{time}\",\"event\":\"{event}\"");
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            text.push_str(&format!(",\"{name}\":{value}"));
        }
        text.push_str(&format!(",\"prev\":\"{}\"", self.head));
        let hash = hex(&Sha256::digest(&text));
        text.push_str(&format!("{HASH}{hash}\"}}\n"));
        // One write, all or nothing: a part of a line, as a full disk leaves it, is taken back.
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length = self.length.saturating_add(text.len() as u64);
        (self.seq, self.head) = (seq, hash);
        if self.seq.is_multiple_of(HEAD_EVERY) {
            self.tell_head();
        }
        Ok(())
    }

    /// Writes the head of the chain to the journal, where it cannot be changed together with the file.
    pub fn tell_head(&self) {
        log(5, &format!("audit head {} {}", self.seq, self.head));
    }
}

// Where a full file goes, by the number of its last line, and where the next one is begun.
fn beside(path: &Path, what: impl std::fmt::Display) -> PathBuf {
    format!("{}.{what}", path.display()).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;

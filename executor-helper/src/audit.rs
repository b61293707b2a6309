//! The audit trail: one JSON line per decision, each carrying the hash of the line before. Written by root where the frontend's
//! user can neither write nor shorten it; heads of the chain go to the journal.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

const ROTATE_AT: u64 = 64 * 1024 * 1024;
const HEAD_EVERY: u64 = 1000;
const REFUSALS_PER_SECOND: u32 = 20;
const HASH: &str = ",\"hash\":\"";
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
    refusals: (Option<Instant>, u32, u64),
}

impl Audit {
    /// Opens or makes the trail and finds its head. A torn last line, which only a power cut leaves, is cut off and reported.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let (mut length, mut last) = (0u64, None);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            length = length.saturating_add(read as u64);
            last = Some(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            eprintln!("<4>airlock-executor: {}: the last line was torn, {} bytes cut off", path.display(), line.len());
            file.set_len(length)?;
        }
        file.seek(SeekFrom::End(0))?;
        let (seq, head) = match last {
            None => (0, GENESIS.to_owned()),
            Some(line) => {
                let line: Value = serde_json::from_slice(&line)?;
                let end = || Some((line.get("seq")?.as_u64()?, line.get("hash")?.as_str()?.to_owned()));
                end()
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its last line is not one of a trail"))?
            }
        };
        Ok(Self { path: path.into(), file, length, seq, head, refusals: (None, 0, 0) })
    }

    /// Sequence number and hash of the last line.
    pub fn head(&self) -> (u64, &str) {
        (self.seq, &self.head)
    }

    /// Writes one line: `event` and the fields in their order. Values are what the executor itself knows, or marked as claimed.
    pub fn write(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        if self.length >= ROTATE_AT {
            self.rotate()?;
        }
        self.append(event, fields)
    }

    /// As `write`, but at most so many a second; what is left out is counted in the next line.
    pub fn write_refusal(&mut self, event: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        let now = Instant::now();
        let (since, count, suppressed) = &mut self.refusals;
        if since.is_none_or(|at| now.duration_since(at) >= Duration::from_secs(1)) {
            (*since, *count) = (Some(now), 0);
        }
        *count = count.saturating_add(1);
        if *count > REFUSALS_PER_SECOND {
            *suppressed = suppressed.saturating_add(1);
            return Ok(());
        }
        let before = ("suppressed", Value::from(std::mem::take(suppressed)));
        self.write(event, &[fields, &[before]].concat())
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
        eprintln!("<5>airlock-executor: audit head {} {}", self.seq, self.head);
    }

    // The chain goes on in a new file, whose first line says so.
    fn rotate(&mut self) -> io::Result<()> {
        self.tell_head();
        let mut old = self.path.clone().into_os_string();
        old.push(format!(".{}", self.seq));
        std::fs::rename(&self.path, &old)?;
        self.file = OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(&self.path)?;
        self.length = 0;
        self.append("rotated", &[("file", old.to_string_lossy().into())])
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks files of a trail, oldest first: the number of lines and the head, or the first line that does not fit.
pub fn verify<'a>(files: impl IntoIterator<Item = &'a Path>, head: Option<&str>) -> Result<(u64, String), String> {
    let mut last: Option<(u64, String)> = None;
    let mut head_seen = head.is_none();
    for path in files {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let wrong = |what: String| format!("{}:{}: {what}", path.display(), number.saturating_add(1));
            let line = line.map_err(|e| wrong(e.to_string()))?;
            let (body, rest) = line.rsplit_once(HASH).ok_or_else(|| wrong("not a line of the trail".into()))?;
            let hash = rest.strip_suffix("\"}").unwrap_or_default();
            let parsed: Value =
                serde_json::from_str(&line).map_err(|e| wrong(format!("not a line of the trail: {e}")))?;
            let seq = parsed.get("seq").and_then(Value::as_u64).unwrap_or(0);
            let prev = parsed.get("prev").and_then(Value::as_str).unwrap_or_default();
            if hex(&Sha256::digest(body)) != hash {
                return Err(wrong(format!("line {seq} was altered")));
            }
            if let Some((last_seq, last_hash)) = &last
                && (prev != last_hash || seq != last_seq.saturating_add(1))
            {
                return Err(wrong(format!(
                    "line {seq} does not follow line {last_seq}: lines are missing or reordered"
                )));
            }
            head_seen |= head == Some(hash);
            last = Some((seq, hash.to_owned()));
        }
    }
    let (seq, hash) = last.unwrap_or((0, GENESIS.into()));
    if head_seen { Ok((seq, hash)) } else { Err("the trail does not reach the given head: its end was cut off".into()) }
}

#[cfg(test)]
mod tests;

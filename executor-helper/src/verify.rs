//! `airlock-executor verify-audit`: whether a trail is whole.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::audit::{GENESIS, HASH, hex};

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

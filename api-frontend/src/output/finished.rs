//! Making a closed log durable.

use std::{fs::File, path::PathBuf};

use super::{error::OutputError, segment::segment_paths, state::Totals};

/// A log that was closed and may not have reached the disk itself.
#[derive(Debug)]
#[must_use = "until `sync`, a power cut may take the end of the log"]
pub struct FinishedLog {
    dir: PathBuf,
    totals: Totals,
}

impl FinishedLog {
    pub(super) fn new(dir: PathBuf, totals: Totals) -> Self {
        Self { dir, totals }
    }

    /// What the log holds, counted; final.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Answers when the whole log would survive a power cut. Blocks, for as long as the disk takes. A log without files is done
    /// at once.
    pub fn sync(self) -> Result<(), OutputError> {
        let dir = &self.dir;
        let paths: Vec<PathBuf> = segment_paths(dir)?;
        if paths.is_empty() {
            return Ok(());
        }
        for path in paths.iter().chain([dir]).map(PathBuf::as_path).chain(dir.parent()) {
            let synced = File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|e| OutputError::io("synchronise", path, e))?;
        }
        Ok(())
    }
}

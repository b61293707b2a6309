//! `--result FILE`: the job object for scripts.

use crate::{failure::Failure, present::json, sentences::plain, whole_file::WholeFile};
use airlock_client::api;
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Where the job object goes.
#[derive(Debug)]
pub struct ResultFile {
    named: PathBuf,
    whole: WholeFile,
}

impl ResultFile {
    /// Proves that the file can be written, before there is a job whose result could get lost.
    ///
    /// # Errors
    /// A folder that takes no files, or something else than a file.
    pub fn prepare(file: &Path) -> Result<Self, Failure> {
        let named = file.to_owned();
        let prepared = WholeFile::at(file).and_then(|whole| whole.probe().map(|()| whole));
        match prepared {
            Ok(whole) => Ok(ResultFile { named, whole }),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                let message =
                    format!("result '{}' is not an ordinary file, which it would be replaced by", file.display());
                Err(Failure::usage(message).hint("name a file, such as job.json").field("result"))
            }
            Err(error) => Err(cannot_write(file, &error).hint("nothing was started")),
        }
    }

    /// Puts the job as it stands in place.
    ///
    /// # Errors
    /// When the disk does not take it; what was there stays.
    pub fn write(&self, job: &api::Job) -> Result<(), Failure> {
        let line = json::job_line(job) + "\n";
        self.whole.replace(line.as_bytes()).map_err(|error| cannot_write(&self.named, &error))
    }
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::new("ABORTED", format!("cannot write the result to {}: {}", file.display(), plain(error)))
}

//! `--result FILE`: the job object for scripts, replaced as a whole so that no reader sees half of it.

use crate::{failure::Failure, present::json, sentences::plain};
use airlock_client::api;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Where the job object goes.
#[derive(Debug)]
pub struct ResultFile {
    file: PathBuf,
    temporary: PathBuf,
}

impl ResultFile {
    /// Proves that the file can be written, before there is a job whose result could get lost.
    ///
    /// # Errors
    /// A folder that takes no files.
    pub fn prepare(file: &Path) -> Result<Self, Failure> {
        let Some(name) = file.file_name() else {
            return Err(
                Failure::usage(format!("result '{}' is not the name of a file", file.display())).field("result")
            );
        };
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let result = ResultFile { file: file.to_owned(), temporary: file.with_file_name(temporary) };
        let probe = File::create(&result.temporary).and_then(|_| fs::remove_file(&result.temporary));
        probe.map_err(|error| result.failure(&error).hint("nothing was started"))?;
        Ok(result)
    }

    /// Puts the job as it stands in place.
    ///
    /// # Errors
    /// When the disk does not take it; what was there stays.
    pub fn write(&self, job: &api::Job) -> Result<(), Failure> {
        let replace = || -> io::Result<()> {
            let mut file = File::create(&self.temporary)?;
            file.write_all(json::job_line(job).as_bytes())?;
            file.write_all(b"\n")?;
            drop(file);
            fs::rename(&self.temporary, &self.file)
        };
        replace().map_err(|error| {
            // A leftover would only confuse; the first error is the one that counts.
            let _ = fs::remove_file(&self.temporary);
            self.failure(&error)
        })
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new("ABORTED", format!("cannot write the result to {}: {}", self.file.display(), plain(error)))
    }
}

//! Files that are replaced as a whole: no reader sees half of one, and what fails leaves the former as it was.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// So many links one after another the kernel follows, too.
const LINKS_MAX: usize = 40;

/// Where a file is, and where its successor grows.
#[derive(Debug)]
pub struct WholeFile {
    file: PathBuf,
    successor: PathBuf,
}

impl WholeFile {
    /// The file behind `path`, which need not exist. A link to it stays a link.
    ///
    /// # Errors
    /// `InvalidInput` for anything else than a file: a device or a pipe that is replaced is gone for everybody, and what
    /// `/dev/stdout` leads to is being written by whoever has it open. A folder that is not there.
    pub fn at(path: &Path) -> io::Result<Self> {
        let no_file = || io::Error::new(ErrorKind::InvalidInput, "not an ordinary file");
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let name = path.file_name().ok_or_else(no_file)?.to_owned();
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = fs::canonicalize(folder)?;
            let file = folder.join(&name);
            if folder.starts_with("/proc") || fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
                return Err(no_file());
            }
            if let Ok(target) = fs::read_link(&file) {
                path = folder.join(target);
                continue;
            }
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}", std::process::id()));
            return Ok(WholeFile { successor: folder.join(hidden), file });
        }
        Err(no_file())
    }

    /// Proves that its folder takes files.
    ///
    /// # Errors
    /// As the kernel refuses.
    pub fn probe(&self) -> io::Result<()> {
        self.begin().and_then(|_| fs::remove_file(&self.successor))
    }

    /// Puts `bytes` in its place.
    ///
    /// # Errors
    /// As the kernel refuses; what was there stays.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace_by(bytes, |_| Ok(()))
    }

    /// As [`WholeFile::replace`], and outlives a power cut.
    ///
    /// # Errors
    /// As [`WholeFile::replace`].
    pub fn replace_durably(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace_by(bytes, File::sync_all)
    }

    fn replace_by(&self, bytes: &[u8], settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        let replaced = self.begin().and_then(|mut successor| {
            if let Ok(former) = fs::metadata(&self.file) {
                successor.set_permissions(former.permissions())?;
            }
            successor.write_all(bytes)?;
            settle(&successor)?;
            fs::rename(&self.successor, &self.file)
        });
        if replaced.is_err() {
            // A leftover would only confuse; the first error is the one that counts.
            let _ = fs::remove_file(&self.successor);
        }
        replaced
    }

    // Its name can be foreseen, and the folder may be one where others write: what they put there is not written through.
    fn begin(&self) -> io::Result<File> {
        let _ = fs::remove_file(&self.successor);
        OpenOptions::new().write(true).create_new(true).open(&self.successor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        (folder, file)
    }

    #[test]
    fn a_link_stays_and_the_file_that_it_leads_to_is_replaced_with_its_permissions() {
        let (folder, file) = folder();
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        symlink("file", &link).unwrap();
        WholeFile::at(&link).unwrap().replace_durably(b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
        fs::remove_file(&file).unwrap();
        WholeFile::at(&link).unwrap().replace(b"there again").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "there again");
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let (folder, file) = folder();
        let socket = std::os::unix::net::UnixListener::bind(&file).unwrap();
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        // Standard output may lead to a file, and is not to be taken from whoever writes it.
        let opened = File::create(folder.path().join("opened")).unwrap();
        let opened = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
        let others = ["/dev/null", "/dev/stdout", &opened, "/", ".."].map(Path::new);
        for path in others.into_iter().chain([file.as_path(), folder.path(), &circle]) {
            assert_eq!(WholeFile::at(path).unwrap_err().kind(), ErrorKind::InvalidInput, "{}", path.display());
        }
        drop(socket);
    }

    #[test]
    fn nothing_is_written_through_what_others_put_in_the_way() {
        let (folder, file) = folder();
        let theirs = folder.path().join("theirs");
        fs::write(&theirs, "theirs").unwrap();
        let whole = WholeFile::at(&file).unwrap();
        symlink(&theirs, &whole.successor).unwrap();
        whole.probe().unwrap();
        symlink(&theirs, &whole.successor).unwrap();
        whole.replace(b"ours").unwrap();
        assert_eq!(fs::read_to_string(theirs).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(file).unwrap(), "ours");
    }
}

//! Files that appear complete or not at all, with the right permissions from their first instant.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::Error;
use crate::names::fill_random;
use crate::terms::Existing;

/// Who may read a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// Its owner alone: 0600.
    Secret,
    /// Everybody: 0644.
    Public,
}

/// Writes `bytes` to `path` in one step: a temporary file beside it, made durable, then renamed.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access, existing: Existing) -> Result<(), Error> {
    let temporary = Temporary::create(path)?;
    temporary.fill(bytes, access)?;
    match existing {
        Existing::Replace => fs::rename(&temporary.path, path).map_err(Error::io("write", path))?,
        Existing::Keep => rename_without_replacing(&temporary.path, path)?,
    }
    std::mem::forget(temporary);
    make_entry_durable(path)
}

/// Refuses when `path` exists and may not be replaced, so that nothing is made in vain.
pub(crate) fn require_free(path: &Path, existing: Existing) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(_) if existing == Existing::Keep => Err(Error::Exists { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Reads a whole file of at most [`MAX_FILE_BYTES`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_opened(File::open(path).map_err(Error::io("read", path))?, path)
}

/// Like [`read()`], but a file that does not exist is `None`.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match File::open(path) {
        Ok(file) => read_opened(file, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Like [`read()`], and refuses a file that others than its owner may read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mode = file.metadata().map_err(Error::io("read", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), exposure: "read", mode, wanted: "600" });
    }
    read_opened(file, path)
}

/// Makes a folder with mode 0700, or accepts an existing one that nobody else may change.
pub(crate) fn create_private_folder(path: &Path) -> Result<(), Error> {
    // Folders above it are nobody's secret: the frontend's configuration may be to stand beside the authority.
    create_output_folder(path.parent().unwrap_or(Path::new("")))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("make", path)(error)),
        _ => require_private_folder(path),
    }
}

/// Refuses a folder in which others than its owner could put files.
pub(crate) fn require_private_folder(path: &Path) -> Result<(), Error> {
    let mode = fs::metadata(path).map_err(Error::io("read", path))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), exposure: "changed", mode, wanted: "700" });
    }
    Ok(())
}

/// Makes the folder for files that are handed out, with the permissions that are usual for this user.
pub(crate) fn create_output_folder(path: &Path) -> Result<(), Error> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(Error::io("make", path))
}

/// `path` with `extension` added after its whole name (`a.b` becomes `a.b.key`, unlike [`Path::with_extension`]).
pub(crate) fn beside(folder: &Path, stem: &str, extension: &str) -> PathBuf {
    folder.join(format!("{stem}.{extension}"))
}

/// A file under a name of its own that vanishes again unless it reaches its place.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(destination: &Path) -> Result<Self, Error> {
        let mut random = [0; 8];
        fill_random(&mut random)?;
        let name = destination.file_name().unwrap_or_default().to_string_lossy();
        let path = destination.with_file_name(format!(".{name}.{:016x}.tmp", u64::from_ne_bytes(random)));
        // O_EXCL with 0600: whatever the umask, no other user ever holds a descriptor of this file.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Temporary { file: file.map_err(Error::io("write", destination))?, path })
    }

    fn fill(&self, bytes: &[u8], access: Access) -> Result<(), Error> {
        let attempt = || {
            (&self.file).write_all(bytes)?;
            if access == Access::Public {
                self.file.set_permissions(fs::Permissions::from_mode(0o644))?;
            }
            self.file.sync_all()
        };
        attempt().map_err(Error::io("write", &self.path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a failure here, and the error that led here is the one to report.
        let _ = fs::remove_file(&self.path);
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> Result<(), Error> {
    let renamed = match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Network file systems do not know the flag; a hard link refuses to replace on all of them.
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to).and_then(|()| fs::remove_file(from)),
        other => other.map_err(io::Error::from),
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists { path: to.to_owned() }),
        other => other.map_err(Error::io("write", to)),
    }
}

fn make_entry_durable(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))
}

fn read_opened(file: File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::bad_file(path, "is larger than 64 MiB, which no file of an authority is"));
    }
    Ok(bytes)
}

/// Room for an index of more than a hundred thousand certificates.
const MAX_FILE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_left_alone_unless_its_replacement_was_asked_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bob.key");
        write(&path, b"first", Access::Secret, Existing::Keep).expect("new file");
        let refused = write(&path, b"second", Access::Secret, Existing::Keep);
        assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
        assert_eq!(fs::read(&path).expect("file"), b"first");
        write(&path, b"third", Access::Secret, Existing::Replace).expect("replacement");
        assert_eq!(fs::read(&path).expect("file"), b"third");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "a temporary file was left behind");
    }

    #[test]
    fn secrets_are_for_their_owner_and_the_rest_for_everybody() {
        let folder = tempfile::tempdir().expect("folder");
        for (name, access, mode) in [("s", Access::Secret, 0o600), ("p", Access::Public, 0o644)] {
            let path = folder.path().join(name);
            write(&path, b"x", access, Existing::Keep).expect("new file");
            assert_eq!(fs::metadata(&path).expect("file").mode() & 0o7777, mode);
        }
        let exposed = read_secret(&folder.path().join("p"));
        assert!(matches!(exposed, Err(Error::Exposed { mode: 0o644, .. })), "{exposed:?}");
        assert_eq!(read_secret(&folder.path().join("s")).expect("secret"), b"x");
    }

    #[test]
    fn a_dangling_link_counts_as_an_existing_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bob.crt");
        std::os::unix::fs::symlink("/nowhere/at/all", &path).expect("link");
        assert!(matches!(require_free(&path, Existing::Keep), Err(Error::Exists { .. })));
        assert!(matches!(write(&path, b"x", Access::Public, Existing::Keep), Err(Error::Exists { .. })));
    }
}

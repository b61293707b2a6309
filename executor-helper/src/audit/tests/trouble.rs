//! Power cuts and full disks.

use std::{fs::OpenOptions, io::Write};

use serde_json::json;

use super::{Audit, Trail, fs, verify};

#[test]
fn a_torn_last_line_is_cut_off_and_the_chain_goes_on() {
    let trail = Trail::of(2);
    let whole = trail.text();
    for torn in ["{", "{\"seq\":3,\"time\":\"2026", &whole.lines().next().unwrap()[..40]] {
        fs::write(trail.path(), format!("{whole}{torn}")).unwrap();
        let mut audit = trail.open();
        assert_eq!(trail.text(), whole);
        assert_eq!(audit.seq, 2);
        audit.write("started", &[]).unwrap();
        assert_eq!(trail.verify(None).unwrap().0, 3);
    }
}

#[test]
fn a_trail_of_one_torn_line_begins_anew() {
    let trail = Trail::new();
    fs::create_dir_all(trail.path().parent().unwrap()).unwrap();
    fs::write(trail.path(), "{\"seq\":1").unwrap();
    trail.open().write("started", &[]).unwrap();
    assert_eq!(trail.verify(None).unwrap().0, 1);
}

#[test]
fn a_file_that_is_no_trail_is_not_written_to() {
    let trail = Trail::new();
    fs::create_dir_all(trail.path().parent().unwrap()).unwrap();
    for text in ["something else\n", "{}\n", "{\"seq\":7}\n"] {
        fs::write(trail.path(), text).unwrap();
        assert!(Audit::open(&trail.path()).is_err(), "{text}");
        assert_eq!(trail.text(), text);
    }
}

/// A file system of 64 KiB, for as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    // None, and a line that says so, where none may be mounted.
    fn mounted() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("small", folder.path(), "tmpfs", flags, Some(c"size=64k")) {
            Ok(()) => Some(Self(folder)),
            Err(errno) => {
                let test = std::thread::current().name().unwrap_or_default().to_owned();
                eprintln!("skipped: {test}: no file system can be mounted here: {errno}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_line_that_finds_no_room_leaves_nothing_and_the_next_one_fits() {
    let Some(disk) = SmallDisk::mounted() else { return };
    let path = disk.0.path().join("audit.jsonl");
    let mut audit = Audit::open(&path).unwrap();
    audit.write("started", &[]).unwrap();
    let ballast = disk.0.path().join("ballast");
    let mut file = OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    // The last page of the trail has room until it is full: the write that fails has written a part.
    let mut written = 1;
    let error = loop {
        match audit.write("started", &[("argv", json!("x".repeat(1000)))]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk never fills");
    };
    assert_eq!(error.raw_os_error(), Some(28), "{error}");
    assert_eq!(audit.seq, written);
    assert!(fs::read_to_string(&path).unwrap().ends_with("}\n"), "a part of a line was left");
    assert_eq!(verify([path.as_path()], None).unwrap().0, written);

    drop(file);
    fs::remove_file(&ballast).unwrap();
    audit.write("started", &[("argv", json!("x".repeat(1000)))]).unwrap();
    assert_eq!(verify([path.as_path()], None).unwrap().0, written + 1);
}

#[test]
fn a_rotation_that_fails_loses_no_line_and_is_tried_again() {
    let trail = Trail::of(2);
    let mut audit = trail.open();
    audit.length = super::super::ROTATE_AT;
    // A folder of the name that the old file would get.
    let in_the_way = trail.path().with_file_name("audit.jsonl.2");
    fs::create_dir(&in_the_way).unwrap();
    fs::write(in_the_way.join("x"), "").unwrap();
    assert!(audit.write("started", &[]).is_err(), "no line, no start");
    assert_eq!(trail.verify(None).unwrap().0, 2);
    fs::remove_dir_all(&in_the_way).unwrap();
    audit.write("started", &[]).unwrap();
    assert_eq!(verify([in_the_way.as_path(), &trail.path()], None).unwrap().0, 4);
}

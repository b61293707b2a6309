use std::{path::Path, process::Command};

use ipc_protocol::Stream::Stdout;

use super::*;
use crate::output::OutputError;

/// A file system of one MiB; `None` (with the reason printed) where none can be mounted.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "airlock-test"]).arg(dir.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(dir))
        } else {
            println!("skipped: mounting a small tmpfs needs root");
            None
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_when_there_is_room_nothing_is_missing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 512 * 1024]).unwrap();
    let logs = OutputLogs::open(&disk.path().join("logs")).unwrap();
    let mut writer = logs.writer(JOB, AMPLE).unwrap();
    let all = noise(20, 700_000);
    let mut sent = 0;
    let error = loop {
        let to = (sent + 50_000).min(all.len());
        match writer.append(Stdout, sent as u64, 1, false, &all[sent..to]) {
            Ok(appended) => sent = appended.length as usize,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, OutputError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("free some space"));
    assert!(sent > 100_000 && sent < all.len());
    assert_eq!(writer.lengths()[0], sent as u64, "the failed append left nothing");

    // A writer that dies now leaves a log that can be opened.
    drop(writer);
    let logs = OutputLogs::open(&disk.path().join("logs")).unwrap();
    let mut writer = logs.writer(JOB, AMPLE).unwrap();
    assert_eq!(writer.lengths()[0], sent as u64);
    assert!(writer.append(Stdout, sent as u64, 1, false, &all[sent..]).is_err(), "still full");

    std::fs::remove_file(&ballast).unwrap();
    writer.append(Stdout, sent as u64, 2, false, &all[sent..]).unwrap();
    writer.finish(3, true).unwrap();
    let mut reader = logs.reader(JOB, ReadOptions::default()).await.unwrap();
    let found = Found::of(&mut reader).await;
    assert!(found.all == all && found.gaps.is_empty() && found.end.unwrap().complete);
}

#[tokio::test]
async fn closing_a_log_on_a_full_disk_can_be_tried_again() {
    let Some(disk) = SmallDisk::mount() else { return };
    let logs = OutputLogs::open(&disk.path().join("logs")).unwrap();
    let mut writer = logs.writer(JOB, AMPLE).unwrap();
    // An end record of 48 bytes needs a page of its own here.
    push(&mut writer, Stdout, 1, &noise(21, 4096 - 128 - 48));
    let ballast = disk.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 2 << 20]);
    let refused = writer.finish(2, true).expect_err("no room");
    assert!(matches!(refused.error, OutputError::DiskFull { .. }));
    std::fs::remove_file(&ballast).unwrap();
    let finished = refused.writer.finish(3, true).unwrap();
    assert!(finished.totals().complete);
}

#[tokio::test]
async fn a_log_of_a_later_release_is_refused_by_name() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"x");
    drop(writer);
    let path = &logs.segments()[0];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    let logs = logs.again();
    let refused = logs.logs.writer(JOB, AMPLE).expect_err("unknown format");
    assert!(matches!(&refused, OutputError::Version { version: 9, .. }), "{refused}");
}

#[tokio::test]
async fn a_segment_that_was_begun_and_not_written_is_set_aside() {
    let logs = Logs::new();
    let mut writer = logs.writer();
    push(&mut writer, Stdout, 1, b"kept");
    drop(writer);
    let torn = logs.dir.path().join(JOB.to_string()).join(format!("{:020}.seg", 4));
    std::fs::write(&torn, b"airl").unwrap();
    let logs = logs.again();
    let mut writer = logs.writer();
    assert_eq!(writer.lengths(), [4, 0]);
    push(&mut writer, Stdout, 2, b" on");
    writer.finish(3, true).unwrap();
    assert!(!torn.exists());
    let found = logs.again().read(ReadOptions::default()).await;
    assert_eq!(found.all, b"kept on");
    assert!(found.gaps.is_empty() && found.end.unwrap().complete);
}

//! Tests of the records.

mod changes;
mod creating;
mod finding;
mod groups;
mod listing;
mod mending;
mod opening;
mod retention;
mod trouble;

use ipc_protocol::{InputDigest, JobId, Limit, Limits, StopFact};
use tempfile::TempDir;

use super::*;
use crate::output::{OutputLimit, Totals, WhenFull};

/// Records in a folder that goes away.
pub(super) struct Records {
    pub dir: TempDir,
    pub store: Store,
}

impl Records {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("records.db")).unwrap();
        Self { dir, store }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("records.db")
    }

    /// The same database, opened by a new process.
    pub fn again(self) -> Self {
        drop(self.store);
        let store = Store::open(&self.dir.path().join("records.db")).unwrap();
        Self { dir: self.dir, store }
    }

    pub async fn create(&self, new: NewJob) -> Job {
        self.store.create(new).await.unwrap().job
    }

    pub async fn end(&self, id: JobId, ended: Ended) -> Job {
        self.store.update(id, Change::Ended(Box::new(ended))).await.unwrap()
    }
}

/// An id that is different for each number and shows it in its first digits.
pub(super) fn id(number: u32) -> JobId {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

/// A job of alice, created at `number` seconds.
pub(super) fn new_job(number: u32) -> NewJob {
    NewJob {
        id: id(number),
        owner: "alice".into(),
        name: None,
        request_id: format!("request-{number}"),
        fingerprint: [number as u8; 32],
        serial: "5e1f".into(),
        peer: "10.0.4.17:5511".into(),
        profile: "standard".into(),
        argv: vec![b"make".to_vec(), b"-j8".to_vec(), number.to_string().into_bytes()],
        env_names: vec!["CI".into()],
        cwd: None,
        merge: false,
        input: None,
        output_limit: OutputLimit::new(10 << 30, WhenFull::DropOldest),
        created_ns: u64::from(number) * 1_000_000_000,
    }
}

pub(super) fn limits() -> Limits {
    [
        (Limit::Cpu, 2000),
        (Limit::CpuWeight, 100),
        (Limit::Memory, 1 << 30),
        (Limit::Swap, 0),
        (Limit::Pids, 512),
        (Limit::IoWrite, 1 << 20),
        (Limit::IoWriteOps, 100),
        (Limit::Timeout, 86_400_000),
    ]
    .into_iter()
    .fold(Limits::default(), |limits, (limit, value)| limits.with(limit, value))
}

pub(super) fn started(number: u32) -> Change {
    Change::Started { pid: 4821, uid: 1_900_000_412, started_ns: u64::from(number), limits: limits() }
}

/// Exit code 0 at so many seconds.
pub(super) fn finished(seconds: u64) -> Ended {
    Ended {
        state: EndState::Finished,
        how: HowEnded::Exited(0),
        ended_ns: seconds * 1_000_000_000,
        oom_kills: 0,
        deadline_hit: false,
        stop: None,
        usage: Some(Usage { cpu_ns: 5, memory_peak: Some(6), ..Usage::default() }),
        output: Totals { bytes: 30, streams: [10, 20], first_offset: 4, missing: 3, complete: true, disk_bytes: 1000 },
    }
}

pub(super) fn stop(by: &str) -> StopFact {
    StopFact { by: by.into(), signal: 15, at_ns: 77 }
}

pub(super) fn input() -> InputDigest {
    InputDigest { bytes: 1234, sha256: [9; 32] }
}

pub(super) fn page(size: usize) -> Page {
    Page { size, after: None }
}

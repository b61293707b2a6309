//! What the writer of a log and its readers share.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use ipc_protocol::JobId;
use tokio::{runtime::Handle, sync::Notify};

use super::{
    file::Parts,
    record::GapReason,
    segment::{Scan, Segment},
};

/// With more waiting readers than this, the writer leaves waking them to another thread.
const WAKE_DIRECTLY: usize = 8;

/// What a log holds, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of both streams that the job wrote (as far as the log knows), the missing ones included.
    pub bytes: u64,
    /// The same by stream.
    pub streams: [u64; 2],
    /// The lowest offset from which everything is kept.
    pub first_offset: u64,
    /// Bytes that are gone.
    pub missing: u64,
    /// The log was closed, and holds the end of the output.
    pub complete: bool,
    /// Bytes on disk.
    pub disk_bytes: u64,
}

/// Where a log stands.
#[derive(Debug, Clone)]
pub(super) struct Now {
    /// Counts the changes.
    pub version: u64,
    /// All segments but the last, in the order of the log.
    pub sealed: Arc<Vec<Segment>>,
    /// The one that grows; everything up to its `size` is whole. Apart from the others, which would be copied at each change.
    pub last: Option<Segment>,
    /// The last segment's file, while the log has a writer.
    pub file: Option<Arc<File>>,
    /// Bytes of each stream.
    pub lengths: [u64; 2],
    /// Why the bytes after the last segment's end are not there, if some are missing there.
    pub gap: Option<GapReason>,
    /// No writer will add anything; whether the log then holds the end of the output.
    pub ended: Option<bool>,
    /// The files are gone.
    pub deleted: bool,
}

impl Now {
    /// The next offset.
    pub fn offset(&self) -> u64 {
        self.lengths[0] + self.lengths[1]
    }

    /// All segments in the order of the log.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.sealed.iter().chain(&self.last)
    }

    /// The log in figures.
    pub fn totals(&self) -> Totals {
        let mut first_offset = 0;
        let mut kept = 0;
        let mut end = 0;
        for segment in self.segments() {
            if segment.first_offset != end {
                first_offset = segment.first_offset;
            }
            kept += segment.payload();
            end = segment.end_offset;
        }
        if self.offset() != end {
            first_offset = self.offset();
        }
        Totals {
            bytes: self.offset(),
            streams: self.lengths,
            first_offset,
            missing: self.offset() - kept,
            complete: self.ended == Some(true),
            disk_bytes: self.segments().map(|s| s.size).sum(),
        }
    }
}

/// A log in use.
#[derive(Debug)]
pub(super) struct LogState {
    pub job: JobId,
    pub dir: PathBuf,
    now: Mutex<Now>,
    /// What readers share.
    pub parts: Parts,
    growth: Notify,
    waiting: AtomicUsize,
    followers: AtomicUsize,
    /// Somebody is about to wake all waiting readers; what happens until then needs no other waking.
    waking: AtomicBool,
    /// There is a writer.
    pub writing: AtomicBool,
    /// Where waking many readers is done; the writer's thread need not belong to it.
    runtime: Option<Handle>,
}

impl LogState {
    /// A log as found on disk. `ended` when it has no writer.
    pub fn new(
        job: JobId,
        dir: PathBuf,
        scan: Scan,
        ended: Option<bool>,
        parts: Parts,
        runtime: Option<Handle>,
    ) -> Arc<Self> {
        let lengths = scan.tail.lengths;
        let mut sealed = scan.segments;
        let last = sealed.pop();
        let sealed = Arc::new(sealed);
        let now = Now { version: 0, sealed, last, file: None, lengths, gap: None, ended, deleted: false };
        Arc::new(Self {
            job,
            dir,
            now: Mutex::new(now),
            parts,
            growth: Notify::new(),
            waiting: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
            waking: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            runtime,
        })
    }

    /// Changes what readers see and wakes those who wait for it. The cost to the caller does not grow with their number.
    pub fn publish(self: &Arc<Self>, change: impl FnOnce(&mut Now)) {
        {
            let mut now = self.lock();
            change(&mut now);
            now.version += 1;
        }
        let waiting = self.waiting.load(Ordering::SeqCst);
        if waiting == 0 {
            return;
        }
        match &self.runtime {
            Some(runtime) if waiting > WAKE_DIRECTLY => {
                if !self.waking.swap(true, Ordering::SeqCst) {
                    let state = Arc::clone(self);
                    runtime.spawn(async move {
                        state.waking.store(false, Ordering::SeqCst);
                        state.growth.notify_waiters();
                    });
                }
            }
            _ => self.growth.notify_waiters(),
        }
    }

    /// Somebody follows the log for as long as this lives.
    pub fn followed(self: &Arc<Self>) -> Following {
        self.followers.fetch_add(1, Ordering::SeqCst);
        Following(Arc::clone(self))
    }

    /// Whether anybody follows the log, and so will want what is written next.
    pub fn is_followed(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0
    }

    /// Where the log stands.
    pub fn now(&self) -> Now {
        self.lock().clone()
    }

    /// Looks at where the log stands without copying it.
    pub fn look<T>(&self, at: impl FnOnce(&Now) -> T) -> T {
        at(&self.lock())
    }

    /// Waits until the log stands elsewhere than at `version`. Dropping the future is harmless.
    pub async fn changed(&self, version: u64) {
        let growth = self.growth.notified();
        tokio::pin!(growth);
        growth.as_mut().enable();
        let _waiting = Waiting::new(&self.waiting);
        // Looked at after being counted and enabled, so a change before this line is seen here and one after it wakes us.
        if self.lock().version == version {
            growth.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // Nothing panics while it is held, and every change is a single assignment that leaves it whole.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A follower's mark on a log.
#[derive(Debug)]
pub(super) struct Following(Arc<LogState>);

impl Drop for Following {
    fn drop(&mut self) {
        if self.0.followers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.parts.forget_fresh();
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

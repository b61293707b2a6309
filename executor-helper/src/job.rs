//! A job that the executor holds: its keeper, its streams, and what is known of its life.

use std::{collections::VecDeque, path::PathBuf};

use ipc_protocol::{End, Facts, JobEntry, OUTPUT_BYTES_MAX, StopFact, Stream};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
    process::Pid,
};

use crate::{
    shared::{
        fd,
        status::{KeeperStatus, STOP_AT},
    },
    spool::{Spool, Taken},
};

/// Records of what was read when, kept until acknowledged; as many as this, and the job waits.
const CHUNKS_MAX: usize = 4096;

/// Bytes of one stream that were read together.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Which stream.
    pub stream: Stream,
    /// Of the first byte, in the stream.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
    /// Taken by a former executor.
    pub recovered: bool,
}

/// Where the job's life stands, as the executor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// The keeper has not yet told.
    Starting,
    /// The command runs.
    Running,
    /// It ended, or never ran; nothing of it lives.
    Ended(Box<(End, Facts, u64)>),
}

/// A request to stop that is under way.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Who and with what.
    pub fact: StopFact,
    /// When everything is killed, on the boot-time clock.
    pub kill_at_ns: u64,
}

/// A job.
#[derive(Debug)]
pub struct Job {
    /// What is told about it.
    pub entry: JobEntry,
    /// Its group.
    pub gid: u32,
    /// Whether its uid is the pool's.
    pub pooled: bool,
    /// Its fresh directory.
    pub directory: Option<PathBuf>,
    /// Of the request that made it.
    pub fingerprint: [u8; 32],
    /// The keeper's pid; `None` when it is known to be dead.
    pub keeper: Option<Pid>,
    /// Whether this executor has to wait for the keeper.
    pub is_child: bool,
    /// Read end of the event pipe; its end is the keeper's end.
    pub event: Option<OwnedFd>,
    /// By stream.
    pub spools: [Spool; 2],
    /// Where its life stands.
    pub life: Life,
    /// The stop under way.
    pub stopping: Option<Stopping>,
    /// The live connection has compared this job.
    pub resumed: bool,
    /// `Exited` was sent on the live connection.
    pub exit_told: bool,
    /// The pipes brought nothing after the end.
    pub drained: bool,
    /// It waits for its turn to send.
    pub queued: bool,
    chunks: VecDeque<Chunk>,
    next: usize,
    sent: [u64; 2],
}

impl Job {
    /// A job in its first moment, or one that is adopted.
    #[allow(clippy::too_many_arguments)] // one constructor, each value from another place
    pub fn new(
        entry: JobEntry,
        gid: u32,
        pooled: bool,
        directory: Option<PathBuf>,
        fingerprint: [u8; 32],
        keeper: Option<Pid>,
        event: Option<OwnedFd>,
        spools: [Spool; 2],
    ) -> Self {
        let mut job = Self {
            entry,
            gid,
            pooled,
            directory,
            fingerprint,
            keeper,
            is_child: false,
            event,
            spools,
            life: Life::Starting,
            stopping: None,
            resumed: false,
            exit_told: false,
            drained: false,
            queued: false,
            chunks: VecDeque::new(),
            next: 0,
            sent: [0, 0],
        };
        job.note_acked();
        job
    }

    /// Takes up what a former executor left in the spools.
    pub fn recover(&mut self, now_ns: u64) {
        for spool in &self.spools {
            let (stream, offset, length) = (spool.stream, spool.acked(), spool.in_flight());
            if length > 0 {
                self.chunks.push_back(Chunk { stream, offset, length, time_ns: now_ns, recovered: true });
            }
        }
    }

    /// The spool of a stream.
    pub fn spool(&mut self, stream: Stream) -> &mut Spool {
        let [stdout, stderr] = &mut self.spools;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    /// Bytes waiting for acknowledgement.
    pub fn in_flight(&self) -> u64 {
        self.spools.iter().map(Spool::in_flight).fold(0, u64::saturating_add)
    }

    /// Takes from a pipe into its spool and notes when. At most `room` bytes, and of a living job no more than the window.
    pub fn take(&mut self, stream: Stream, room: u64, now_ns: u64) -> Result<Taken, Errno> {
        let ended = matches!(self.life, Life::Ended(_));
        if self.chunks.len() >= CHUNKS_MAX && !ended {
            return Ok(Taken::Full);
        }
        let spool = self.spool(stream);
        let offset = spool.taken();
        let taken = if ended { spool.take_rest(room)? } else { spool.take(room)? };
        if let Taken::Bytes(length) = taken {
            let unsent = self.chunks.len() > self.next;
            match self.chunks.back_mut().filter(|last| unsent && last.stream == stream && !last.recovered) {
                // Still waiting to be sent: one record, with the time of its first byte.
                Some(last) if last.length.saturating_add(length) <= OUTPUT_BYTES_MAX as u64 => {
                    last.length = last.length.saturating_add(length);
                }
                _ => self.chunks.push_back(Chunk { stream, offset, length, time_ns: now_ns, recovered: false }),
            }
        }
        Ok(taken)
    }

    /// The next piece to send, in the order of reading; at most [`OUTPUT_BYTES_MAX`].
    pub fn next_piece(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.get_mut(self.next)?;
        let max = OUTPUT_BYTES_MAX as u64;
        if chunk.length <= max {
            let whole = *chunk;
            return Some(self.note_sent(whole));
        }
        // A long one, as adoption leaves it: split, so that acknowledgements find it.
        let piece = Chunk { length: max, ..*chunk };
        chunk.offset = chunk.offset.saturating_add(max);
        chunk.length = chunk.length.saturating_sub(max);
        self.chunks.insert(self.next, piece);
        Some(self.note_sent(piece))
    }

    /// Bytes taken from each stream.
    pub fn totals(&self) -> [u64; 2] {
        [self.spools[0].taken(), self.spools[1].taken()]
    }

    /// Whether something waits to be sent.
    pub fn has_piece(&self) -> bool {
        self.chunks.len() > self.next
    }

    /// The offset up to which each stream was sent on the live connection.
    pub fn sent(&self, stream: Stream) -> u64 {
        let [out, err] = self.sent;
        if stream == Stream::Stdout { out } else { err }
    }

    fn note_sent(&mut self, piece: Chunk) -> Chunk {
        let end = piece.offset.saturating_add(piece.length);
        match piece.stream {
            Stream::Stdout => self.sent[0] = end,
            Stream::Stderr => self.sent[1] = end,
        }
        self.next = self.next.saturating_add(1);
        piece
    }

    /// The frontend has everything of the stream below `offset`.
    pub fn ack(&mut self, stream: Stream, offset: u64) -> Result<(), crate::spool::AckBeyondTaken> {
        self.spool(stream).ack(offset)?;
        self.note_acked();
        let [out, err] = self.entry.acked;
        while let Some(first) = self.chunks.front() {
            let acked = if first.stream == Stream::Stdout { out } else { err };
            if first.offset.saturating_add(first.length) > acked {
                break;
            }
            self.chunks.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        Ok(())
    }

    /// A connection begins: everything that it does not have is sent again.
    pub fn begin_again(&mut self) {
        (self.resumed, self.exit_told, self.queued, self.next) = (false, false, false, 0);
        self.sent = self.entry.acked;
    }

    /// The comparison: sending begins at what the frontend has.
    pub fn resume(&mut self, have: [u64; 2]) -> Result<(), crate::spool::AckBeyondTaken> {
        for (stream, have) in Stream::BOTH.into_iter().zip(have) {
            self.ack(stream, have)?;
        }
        // What lies partly below is cut, what lies wholly below is gone.
        let acked = self.entry.acked;
        self.chunks.retain_mut(|chunk| {
            let from = if chunk.stream == Stream::Stdout { acked[0] } else { acked[1] };
            let cut = from.saturating_sub(chunk.offset).min(chunk.length);
            chunk.offset = chunk.offset.saturating_add(cut);
            chunk.length = chunk.length.saturating_sub(cut);
            chunk.length > 0
        });
        (self.resumed, self.next, self.sent) = (true, 0, acked);
        Ok(())
    }

    fn note_acked(&mut self) {
        self.entry.acked = [self.spools[0].acked(), self.spools[1].acked()];
    }

    /// Reads what the keeper has recorded; `None` when it is not the keeper at the other end of our event pipe.
    pub fn read_status(&self) -> Option<KeeperStatus> {
        let file = self.keeper_file(fd::STATUS, OFlags::RDONLY)?;
        let mut bytes = [0; 96];
        (rustix::io::pread(&file, &mut bytes, 0).ok()? == bytes.len()).then(|| KeeperStatus::from_bytes(&bytes))
    }

    /// Records a stop where a later executor finds it.
    pub fn record_stop(&self) -> Option<()> {
        let stopping = self.stopping.as_ref()?;
        let file = self.keeper_file(fd::STATUS, OFlags::RDWR)?;
        let name = stopping.fact.by.as_bytes();
        let name = name.get(..name.len().min(128)).unwrap_or_default();
        let mut bytes = Vec::new();
        for number in [1, stopping.fact.signal.into(), stopping.fact.at_ns, stopping.kill_at_ns, name.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(name);
        rustix::io::pwrite(&file, &bytes, STOP_AT).ok().map(drop)
    }

    /// The stop that a former executor recorded.
    pub fn recorded_stop(&self) -> Option<Stopping> {
        let file = self.keeper_file(fd::STATUS, OFlags::RDONLY)?;
        let mut bytes = [0; 168];
        rustix::io::pread(&file, &mut bytes, STOP_AT).ok()?;
        let mut words = bytes.chunks_exact(8).map(|c| c.try_into().map(u64::from_le_bytes).unwrap_or(0));
        let mut next = || words.next().unwrap_or(0);
        let (set, signal, at_ns, kill_at_ns, length) = (next(), next(), next(), next(), next());
        let name = bytes.get(40..)?.get(..usize::try_from(length).ok()?)?;
        let by = String::from_utf8_lossy(name).into_owned();
        (set == 1).then_some(Stopping { fact: StopFact { by, signal: signal as u8, at_ns }, kill_at_ns })
    }

    /// The command's process id on the host, while it is not waited for.
    pub fn command_pid(&self, status: &KeeperStatus) -> Option<u32> {
        let text =
            std::fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.keeper?.as_raw_nonzero(), status.pidfd)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
    }

    // A descriptor of the keeper, by way of /proc. Pids are reused: the process must hold the other end of our event pipe.
    fn keeper_file(&self, number: i32, flags: OFlags) -> Option<OwnedFd> {
        let keeper = self.keeper?;
        let event = rustix::fs::fstat(self.event.as_ref()?.as_fd()).ok()?;
        let theirs = rustix::fs::stat(keeper_path(keeper, fd::EVENT)).ok()?;
        if (theirs.st_ino, theirs.st_dev) != (event.st_ino, event.st_dev) {
            return None;
        }
        rustix::fs::open(keeper_path(keeper, number), flags | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

/// Where a keeper's descriptor is seen from outside.
pub fn keeper_path(keeper: Pid, number: i32) -> String {
    format!("/proc/{}/fd/{number}", keeper.as_raw_nonzero())
}

#[cfg(test)]
pub(crate) mod tests;

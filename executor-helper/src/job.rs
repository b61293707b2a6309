//! A job's life as the executor knows it: a pure state machine. Everything that happens to a job comes in as an [`Input`], everything
//! that is to be done about it goes out as [`Effect`]s; the loop does them, and nothing here touches the host.
//!
//! ```text
//! Starting ──Started──> Running ──Ended──┐
//!     └───────────Ended (failed, lost)───┴─> Ended ──Drained──> told ──Release──> forgotten
//! ```

use std::collections::VecDeque;

use ipc_protocol::{Answer, End, Facts, JobEntry, OUTPUT_BYTES_MAX, Phase, Stream};

use crate::plan::Stopping;

/// Bytes of one stream that may wait for their acknowledgement while the job lives.
pub const WINDOW: u64 = 1024 * 1024;
/// Records of what was read when, kept until acknowledged; as many as this, and the job waits.
const CHUNKS_MAX: usize = 4096;
const PIECE_MAX: u64 = OUTPUT_BYTES_MAX as u64;

/// What happens to a job. Times end in `_ns`: nanoseconds since 1970, or since boot where it says so.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The command's exec has succeeded; the deadline is on the boot-time clock, 0 for none.
    Started { pid: u32, started_ns: u64, deadline_ns: u64 },
    /// Nothing of it lives any more, and this is how it ended; or nobody will ever know.
    Ended { end: End, facts: Facts, ended_ns: u64 },
    /// Bytes were taken from a pipe.
    Took { stream: Stream, bytes: u64, at_ns: u64 },
    /// After the end: the pipes hold nothing more.
    Drained,
    /// The connection is gone or new: what was sent may not have arrived.
    Disconnected,
    /// A connection has compared the job: these bytes stand in the frontend's log, by stream.
    Resume([u64; 2]),
    /// These bytes stand in the frontend's log.
    Ack(Stream, u64),
    /// Its turn to send a piece of output.
    Turn,
    /// The request that made it came again.
    Repeated,
    /// Somebody asks it to stop.
    Stop(Stopping),
    /// A moment that was asked for, on the boot-time clock.
    Tick { boot_ns: u64 },
    /// The frontend has recorded the end.
    Release,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell the frontend.
    Tell(Box<Answer<'static>>),
    /// Send these bytes of the spool.
    Send(Chunk),
    /// It has a piece to send and waits for its turn.
    Ready,
    /// Bytes of a stream are needed no longer: below the first offset, of the second that were taken.
    Punch(Stream, u64, u64),
    /// Call again at this time of the boot-time clock.
    WakeAt(u64),
    /// Write the stop where a later executor finds it.
    RecordStop,
    /// Signal its process group.
    Signal(u8),
    /// Kill everything in its cgroup.
    KillGroup,
    /// Take what the pipes of the dead job still hold, then say `Drained`.
    Drain,
    /// Write the audit line of the end.
    AuditEnd,
    /// Let everything go that the executor has of it.
    Forget,
}

/// The frontend said what cannot be: an offset that was never taken or never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub &'static str);

/// Bytes of one stream that were read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Chunk {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    // Without its first bytes, up to an offset of the stream.
    fn from(self, offset: u64) -> Self {
        let cut = offset.saturating_sub(self.offset).min(self.length);
        Self { offset: self.offset.saturating_add(cut), length: self.length.saturating_sub(cut), ..self }
    }
}

/// Where the job's life stands, as the executor knows it.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// The keeper has not yet told.
    Starting,
    /// The command runs.
    Running,
    /// It ended, or never ran; nothing of it lives.
    Ended { end: End, facts: Box<Facts>, ended_ns: u64 },
}

/// How far a stream has come. `acked` ≤ `sent` ≤ `taken`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Offsets {
    taken: u64,
    sent: u64,
    acked: u64,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    entry: JobEntry,
    life: Life,
    stopping: Option<Stopping>,
    deadline_ns: u64,
    streams: [Offsets; 2],
    chunks: VecDeque<Chunk>,
    next: usize,
    resumed: bool,
    told: bool,
    drained: bool,
}

impl Job {
    /// A newborn job. It needs no comparison when the connection that asked for it is still there.
    pub fn new(entry: JobEntry, resumed: bool) -> Self {
        Self {
            entry,
            life: Life::Starting,
            stopping: None,
            deadline_ns: 0,
            streams: [Offsets::default(); 2],
            chunks: VecDeque::new(),
            next: 0,
            resumed,
            told: false,
            drained: false,
        }
    }

    /// One that a former executor started: bytes taken and acknowledged by stream, and the stop that was under way.
    pub fn adopted(entry: JobEntry, offsets: [(u64, u64); 2], stopping: Option<Stopping>, now_ns: u64) -> Self {
        let mut job = Self::new(entry, false);
        job.stopping = stopping;
        for (stream, (taken, acked)) in Stream::BOTH.into_iter().zip(offsets) {
            *stream.of(&mut job.streams) = Offsets { taken, sent: acked, acked };
            let chunk =
                Chunk { stream, offset: acked, length: taken.saturating_sub(acked), time_ns: now_ns, recovered: true };
            job.chunks.extend(Some(chunk).filter(|chunk| chunk.length > 0));
        }
        job
    }

    /// Its id.
    pub fn id(&self) -> ipc_protocol::JobId {
        self.entry.job
    }

    /// The user it runs as.
    pub fn uid(&self) -> u32 {
        self.entry.uid
    }

    /// What is told about it.
    pub fn entry(&self) -> JobEntry {
        JobEntry { acked: self.streams.map(|s| s.acked), ..self.entry.clone() }
    }

    /// Where its life stands.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Whether nothing of it lives.
    pub fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended { .. })
    }

    /// The stop under way.
    pub fn stopping(&self) -> Option<&Stopping> {
        self.stopping.as_ref()
    }

    /// The command's process, while signals may be sent to its group.
    pub fn running_pid(&self) -> Option<u32> {
        match (&self.life, self.entry.phase) {
            (Life::Running, Phase::Started { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    /// When it wants to be called again after this time of the boot-time clock.
    pub fn next_wake(&self, now_ns: u64) -> Option<u64> {
        let kill_at = self.stopping.as_ref().map(|stopping| stopping.kill_at_ns);
        [Some(self.deadline_ns), kill_at].into_iter().flatten().filter(|at| *at > now_ns && !self.has_ended()).min()
    }

    /// Bytes taken from each stream.
    pub fn totals(&self) -> [u64; 2] {
        self.streams.map(|s| s.taken)
    }

    /// Bytes waiting for acknowledgement.
    pub fn in_flight(&self) -> u64 {
        self.streams.iter().fold(0, |sum, s| sum.saturating_add(s.taken.saturating_sub(s.acked)))
    }

    /// Bytes that may be taken from a stream now. Of a dead job everything, for its pipe holds no more than a pipe can, and a log that
    /// takes no more would else keep its end from being known.
    pub fn room(&mut self, stream: Stream) -> u64 {
        let Offsets { taken, acked, .. } = *stream.of(&mut self.streams);
        match (self.has_ended(), self.chunks.len() >= CHUNKS_MAX) {
            (true, _) => WINDOW,
            (false, true) => 0,
            (false, false) => WINDOW.saturating_sub(taken.saturating_sub(acked)),
        }
    }

    /// The whole life cycle: what an input means in the state that the job is in.
    pub fn step(&mut self, input: Input) -> Result<Vec<Effect>, Violation> {
        let mut effects = Vec::new();
        match input {
            Input::Started { pid, started_ns, deadline_ns } if self.life == Life::Starting => {
                self.life = Life::Running;
                self.entry.phase = Phase::Started { pid, started_ns };
                self.deadline_ns = deadline_ns;
                effects.extend(self.start_told());
                effects.extend(Some(deadline_ns).filter(|at| *at > 0).map(Effect::WakeAt));
                // Asked for before it was born.
                if let Some(Stopping { fact, kill_at_ns }) = &self.stopping {
                    effects.extend([Effect::Signal(fact.signal), Effect::WakeAt(*kill_at_ns)]);
                }
            }
            Input::Ended { mut end, mut facts, ended_ns } if !self.has_ended() => {
                if let End::StartFailed(error) = &mut end {
                    error.uid = self.entry.uid;
                }
                if self.life == Life::Starting {
                    self.entry.phase = Phase::NeverStarted;
                }
                facts.stop = self.stopping.as_ref().map(|stopping| stopping.fact.clone());
                self.life = Life::Ended { end, facts: Box::new(facts), ended_ns };
                effects.push(Effect::Drain);
            }
            // The keeper tells a thing once; whoever looks again finds nothing new.
            Input::Started { .. } | Input::Ended { .. } => {}
            Input::Took { stream, bytes, at_ns } => self.took(stream, bytes, at_ns),
            Input::Drained if self.has_ended() && !self.drained => {
                self.drained = true;
                effects.push(Effect::AuditEnd);
            }
            Input::Drained => {}
            Input::Disconnected => {
                (self.resumed, self.told, self.next) = (false, false, 0);
                self.streams.iter_mut().for_each(|s| s.sent = s.acked);
            }
            Input::Resume(have) => {
                for (stream, have) in Stream::BOTH.into_iter().zip(have) {
                    effects.push(self.acknowledge(stream, have, |s| s.taken, "resume beyond what was taken")?);
                }
                let mut acked = self.streams.map(|s| s.acked);
                self.chunks.iter_mut().for_each(|chunk| *chunk = chunk.from(*chunk.stream.of(&mut acked)));
                self.chunks.retain(|chunk| chunk.length > 0);
                self.streams.iter_mut().for_each(|s| s.sent = s.acked);
                (self.resumed, self.next) = (true, 0);
            }
            Input::Ack(stream, offset) => {
                effects.push(self.acknowledge(stream, offset, |s| s.sent, "acknowledged what was never sent")?);
                // What had no room in the spool may have some now.
                effects.extend((self.has_ended() && !self.drained).then_some(Effect::Drain));
            }
            Input::Turn => effects.extend(self.next_piece().map(Effect::Send)),
            Input::Repeated => {
                self.told = false;
                effects.extend(self.start_told());
            }
            Input::Stop(asked) if !self.has_ended() => {
                // The first request is the one that is told; a later one may only bring the kill nearer.
                let kill_at_ns = asked.kill_at_ns.min(self.stopping.as_ref().map_or(u64::MAX, |s| s.kill_at_ns));
                self.stopping = Some(Stopping { kill_at_ns, ..self.stopping.take().unwrap_or(asked) });
                effects.extend([Effect::RecordStop, Effect::WakeAt(kill_at_ns)]);
            }
            Input::Tick { boot_ns } if !self.has_ended() => {
                // The keeper marks the deadline and kills a little later; a command that listens ends by itself.
                if self.deadline_ns > 0 && self.deadline_ns <= boot_ns {
                    self.deadline_ns = 0;
                    effects.push(Effect::Signal(15));
                }
                effects.extend(self.stopping.as_ref().filter(|s| s.kill_at_ns <= boot_ns).map(|_| Effect::KillGroup));
            }
            Input::Release if self.has_ended() => return Ok(vec![Effect::Forget]),
            // A live job is not let go, and a dead one neither stops nor has a deadline.
            Input::Stop(_) | Input::Tick { .. } | Input::Release => {}
        }
        if self.resumed && self.next < self.chunks.len() {
            effects.push(Effect::Ready);
        }
        effects.extend(self.end_told());
        Ok(effects)
    }

    fn took(&mut self, stream: Stream, bytes: u64, time_ns: u64) {
        let offsets = stream.of(&mut self.streams);
        let offset = offsets.taken;
        offsets.taken = offset.saturating_add(bytes);
        let unsent = self.next < self.chunks.len();
        match self.chunks.back_mut().filter(|last| unsent && last.stream == stream && !last.recovered) {
            // Still waiting to be sent: one record, with the time of its first byte.
            Some(last) if last.length.saturating_add(bytes) <= PIECE_MAX => {
                last.length = last.length.saturating_add(bytes)
            }
            _ => self.chunks.push_back(Chunk { stream, offset, length: bytes, time_ns, recovered: false }),
        }
    }

    fn acknowledge(
        &mut self,
        stream: Stream,
        offset: u64,
        most: impl Fn(&Offsets) -> u64,
        what: &'static str,
    ) -> Result<Effect, Violation> {
        // With its keeper a lost job's spools went too: what a former executor took is nowhere but in the frontend's log.
        let lost = matches!(self.life, Life::Ended { end: End::Lost(_), .. });
        let offsets = stream.of(&mut self.streams);
        if offset > most(offsets) && !lost {
            return Err(Violation(what));
        }
        offsets.acked = offsets.acked.max(offset.min(offsets.taken));
        let Offsets { acked, taken, .. } = *offsets;
        let mut streams = self.streams;
        while self.chunks.front().is_some_and(|first| first.end() <= first.stream.of(&mut streams).acked) {
            self.chunks.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        Ok(Effect::Punch(stream, acked, taken))
    }

    // In the order of reading. A long chunk, as adoption leaves it, is split so that acknowledgements find it.
    fn next_piece(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.get_mut(self.next).filter(|_| self.resumed)?;
        let piece = Chunk { length: chunk.length.min(PIECE_MAX), ..*chunk };
        let rest = chunk.from(piece.end());
        *chunk = piece;
        self.next = self.next.saturating_add(1);
        if rest.length > 0 {
            self.chunks.insert(self.next, rest);
        }
        piece.stream.of(&mut self.streams).sent = piece.end();
        Some(piece)
    }

    // Also to a connection that has not compared the job yet: the list, which came before, had it as starting.
    fn start_told(&self) -> Option<Effect> {
        let JobEntry { job, uid, limits, phase, .. } = self.entry;
        let Phase::Started { pid, started_ns } = phase else { return None };
        Some(Effect::Tell(Box::new(Answer::Spawned { job, pid, uid, started_ns, limits })))
    }

    // After the last byte of output, once per connection.
    fn end_told(&mut self) -> Option<Effect> {
        let Life::Ended { end, facts, ended_ns } = &self.life else { return None };
        if !self.drained || !self.resumed || self.told || self.next < self.chunks.len() {
            return None;
        }
        self.told = true;
        let (job, totals) = (self.entry.job, self.totals());
        let exited = Answer::Exited { job, end: end.clone(), facts: facts.clone(), totals, ended_ns: *ended_ns };
        Some(Effect::Tell(Box::new(exited)))
    }
}

#[cfg(test)]
pub(crate) mod tests;

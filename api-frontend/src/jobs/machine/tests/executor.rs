//! An executor as ipc-protocol describes it, small enough to be explored: it keeps what it bore until it is released, sends at
//! most a window ahead of the acknowledgements, and survives its own death by what its keepers hold.

use std::collections::VecDeque;

use ipc_protocol::Stream;

pub type Job = usize;

/// Bytes of one stream that may wait for their acknowledgement.
const WINDOW: u8 = 2;
/// Bytes of one stream that a pipe holds. A command that has more to write waits.
const PIPE: u8 = 1;
/// A new executor finds acknowledgements again by whole pages of so many bytes.
const PAGE: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    Exited,
    StartFailed,
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToExecutor {
    Resume { job: Job, have: [u8; 2] },
    SyncEnd,
    Spawn(Job),
    Ack { job: Job, stream: Stream, offset: u8 },
    Stop(Job),
    Release(Job),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ToFrontend {
    List { entries: Vec<Entry>, epoch_seen: u8 },
    Spawned(Job),
    NotStarted(Job),
    Refused(Job),
    Output { job: Job, stream: Stream, offset: u8 },
    Exited { job: Job, end: End, totals: [u8; 2] },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    pub job: Job,
    pub born: bool,
    pub acked: [u8; 2],
}

/// A connection, with what is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wire {
    pub number: u64,
    /// The executor has read the end of the frontend's answer to its list.
    pub synced: bool,
    pub to_executor: VecDeque<ToExecutor>,
    pub to_frontend: VecDeque<ToFrontend>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Starting,
    Started,
    NeverStarted,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Held {
    phase: Phase,
    end: Option<End>,
    /// What the command writes; it stands in the pipes from the birth on.
    writes: [u8; 2],
    taken: [u8; 2],
    acked: [u8; 2],
    sent: [u8; 2],
    /// Its keeper lives, or an executor that saw it die: there are spools to send from.
    spooled: bool,
    resumed: bool,
    exit_told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Executor {
    pub up: bool,
    pub epoch_seen: u8,
    jobs: Vec<Option<Held>>,
}

impl Executor {
    pub fn new(jobs: usize) -> Self {
        Self { up: true, epoch_seen: 0, jobs: vec![None; jobs] }
    }

    pub fn holds(&self, job: Job) -> bool {
        self.jobs[job].is_some()
    }

    pub fn is_starting(&self, job: Job) -> bool {
        self.jobs[job].as_ref().is_some_and(|held| held.phase == Phase::Starting && held.end.is_none())
    }

    pub fn runs(&self, job: Job) -> bool {
        self.jobs[job].as_ref().is_some_and(|held| held.phase == Phase::Started && held.end.is_none())
    }

    /// Whether the command is through with what it writes.
    pub fn has_written(&self, job: Job) -> bool {
        self.jobs[job].as_ref().is_some_and(|held| {
            Stream::BOTH.into_iter().all(|s| held.writes[s as usize] - held.taken[s as usize] <= PIPE)
        })
    }

    /// A hello: what is known goes out before anything else.
    pub fn connect(&mut self, number: u64, epoch: u8) -> Wire {
        let mut entries = Vec::new();
        for (job, held) in self.jobs.iter_mut().enumerate() {
            let Some(held) = held else { continue };
            (held.resumed, held.exit_told, held.sent) = (false, false, held.acked);
            entries.push(Entry { job, born: held.phase == Phase::Started, acked: held.acked });
        }
        let list = ToFrontend::List { entries, epoch_seen: self.epoch_seen };
        self.epoch_seen = self.epoch_seen.max(epoch);
        Wire { number, synced: false, to_executor: VecDeque::new(), to_frontend: [list].into() }
    }

    /// Reads one request. `Err` says which rule of the protocol it breaks.
    pub fn read(&mut self, wire: &mut Wire, writes: [u8; 2]) -> Result<(), String> {
        let Some(request) = wire.to_executor.pop_front() else { return Ok(()) };
        let permitted = match request {
            ToExecutor::Resume { .. } | ToExecutor::SyncEnd => !wire.synced,
            ToExecutor::Ack { .. } => true,
            ToExecutor::Spawn(_) | ToExecutor::Stop(_) | ToExecutor::Release(_) => wire.synced,
        };
        if !permitted {
            return Err(format!("{request:?} is not permitted now"));
        }
        match request {
            ToExecutor::Resume { job, have } => {
                let Some(held) = &mut self.jobs[job] else {
                    return Err("a job was resumed that was not listed".into());
                };
                let have = if held.spooled { have } else { [0; 2] };
                if have[0] > held.taken[0] || have[1] > held.taken[1] {
                    return Err("resume beyond what was taken".into());
                }
                held.acked = [held.acked[0].max(have[0]), held.acked[1].max(have[1])];
                (held.sent, held.resumed) = (held.acked, true);
                self.send(job, wire);
            }
            ToExecutor::SyncEnd => wire.synced = true,
            ToExecutor::Spawn(job) => match &mut self.jobs[job] {
                // It would be answered with what exists; but whoever heeds the lists never asks so.
                Some(_) => return Err("asked for a job that stands in the list".into()),
                none => {
                    *none = Some(Held {
                        phase: Phase::Starting,
                        end: None,
                        writes,
                        taken: [0; 2],
                        acked: [0; 2],
                        sent: [0; 2],
                        spooled: true,
                        resumed: true,
                        exit_told: false,
                    });
                }
            },
            ToExecutor::Ack { job, stream, offset } => {
                let Some(held) = &mut self.jobs[job] else { return Ok(()) };
                if offset > held.sent[stream as usize] {
                    return Err("acknowledged what was never sent".into());
                }
                held.acked[stream as usize] = held.acked[stream as usize].max(offset);
            }
            ToExecutor::Stop(_) => {}
            ToExecutor::Release(job) => match &self.jobs[job] {
                Some(held) if held.end.is_none() => return Err("a job was released that has not ended".into()),
                _ => self.jobs[job] = None,
            },
        }
        Ok(())
    }

    /// A refusal of the request that comes next.
    pub fn refuse(&mut self, wire: &mut Wire) {
        if let Some(ToExecutor::Spawn(job)) = wire.to_executor.pop_front() {
            wire.to_frontend.push_back(ToFrontend::Refused(job));
        }
    }

    pub fn birth(&mut self, job: Job, wire: &mut Option<Wire>) {
        let Some(held) = &mut self.jobs[job] else { return };
        held.phase = Phase::Started;
        if let (true, Some(wire)) = (self.up, wire) {
            wire.to_frontend.push_back(ToFrontend::Spawned(job));
        }
    }

    pub fn birth_fails(&mut self, job: Job, wire: &mut Option<Wire>) {
        let Some(held) = &mut self.jobs[job] else { return };
        (held.phase, held.end, held.writes) = (Phase::NeverStarted, Some(End::StartFailed), [0; 2]);
        let Some(wire) = wire else { return };
        if held.resumed && wire.synced {
            wire.to_frontend.push_back(ToFrontend::NotStarted(job));
            self.jobs[job] = None;
        } else {
            self.send(job, wire);
        }
    }

    pub fn can_take(&self, job: Job, stream: Stream) -> bool {
        let at = stream as usize;
        self.up
            && self.jobs[job].as_ref().is_some_and(|held| {
                held.phase == Phase::Started
                    && held.spooled
                    && held.taken[at] < held.writes[at]
                    && held.taken[at] - held.acked[at] < WINDOW
            })
    }

    pub fn take(&mut self, job: Job, stream: Stream, wire: &mut Option<Wire>) {
        if let Some(held) = &mut self.jobs[job] {
            held.taken[stream as usize] += 1;
        }
        if let Some(wire) = wire {
            self.send(job, wire);
        }
    }

    /// The command ends, or its keeper is killed.
    pub fn end(&mut self, job: Job, end: End, wire: &mut Option<Wire>) {
        let up = self.up;
        let Some(held) = &mut self.jobs[job] else { return };
        held.end = Some(end);
        match (end, up) {
            (_, true) => held.taken = held.writes,
            // Whoever looks next finds a group without a keeper, and nothing of its output. One in which nothing ever ran goes.
            (End::Lost, false) if held.phase == Phase::Starting => self.jobs[job] = None,
            (End::Lost, false) => {
                (held.phase, held.spooled, held.writes) = (Phase::NeverStarted, false, [0; 2]);
                (held.taken, held.acked) = ([0; 2], [0; 2]);
            }
            (_, false) => {}
        }
        if let Some(wire) = wire {
            self.send(job, wire);
        }
    }

    /// Sends what was taken and not sent on this connection, and the end behind it.
    fn send(&mut self, job: Job, wire: &mut Wire) {
        let Some(held) = self.jobs[job].as_mut().filter(|held| held.resumed) else { return };
        for stream in Stream::BOTH {
            let at = stream as usize;
            while held.sent[at] < held.taken[at] {
                wire.to_frontend.push_back(ToFrontend::Output { job, stream, offset: held.sent[at] });
                held.sent[at] += 1;
            }
        }
        if let (Some(end), false) = (held.end, held.exit_told) {
            held.exit_told = true;
            wire.to_frontend.push_back(ToFrontend::Exited { job, end, totals: held.taken });
        }
    }

    /// `unborn_go` when it dies before the keepers of starting jobs exist.
    pub fn kill(&mut self, unborn_go: bool) {
        self.up = false;
        for job in &mut self.jobs {
            if unborn_go && job.as_ref().is_some_and(|held| held.phase == Phase::Starting && held.end.is_none()) {
                *job = None;
            }
            let Some(held) = job else { continue };
            (held.resumed, held.exit_told) = (false, false);
            held.acked = held.acked.map(|acked| acked - acked % PAGE);
            if held.end == Some(End::Lost) {
                (held.phase, held.spooled, held.writes) = (Phase::NeverStarted, false, [0; 2]);
                (held.taken, held.acked) = ([0; 2], [0; 2]);
            }
        }
    }

    pub fn start(&mut self) {
        self.up = true;
        for held in self.jobs.iter_mut().flatten().filter(|held| held.end.is_some()) {
            held.taken = held.writes;
        }
    }

    /// The host goes down: nothing is left.
    pub fn vanish(&mut self) {
        self.up = false;
        self.jobs.fill(None);
    }
}

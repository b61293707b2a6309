//! A job of the executor, and a plain account of it that is kept beside.

use executor_helper::job::{Chunk, Effect, Input as Happening, Job, WINDOW};
use ipc_protocol::{Answer, End, JobEntry, JobId, OUTPUT_BYTES_MAX, Phase, Stream};

/// Bytes that a dead job's pipe may still hold, by stream.
const IN_PIPE: u64 = 3000;

/// The job, and what is known of it without asking.
pub struct Account {
    job: Job,
    /// As it is when a new executor finds it.
    sealed: JobEntry,
    /// By stream: acknowledged, sent on this connection, taken.
    offsets: [[u64; 3]; 2],
    /// Everything below was taken by a former executor.
    recovered: [u64; 2],
    /// In the pipes at the end.
    left: [u64; 2],
    lost: bool,
    /// Compared on this connection, or born on it.
    resumed: bool,
    told: bool,
    drained: bool,
    audited: bool,
}

/// What came of something that happened.
#[derive(Default)]
pub struct Outcome {
    /// Said to the frontend.
    pub told: Vec<Answer<'static>>,
    /// The executor let the job go.
    pub forgotten: bool,
}

impl Account {
    /// A job that this connection asked for.
    pub fn newborn(entry: JobEntry) -> Self {
        Self {
            job: Job::new(entry.clone(), true),
            sealed: entry,
            offsets: [[0; 3]; 2],
            recovered: [0; 2],
            left: [IN_PIPE, 0],
            lost: false,
            resumed: true,
            told: false,
            drained: false,
            audited: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> JobId {
        self.sealed.job
    }

    /// What the list says of it.
    pub fn entry(&self) -> JobEntry {
        self.job.entry()
    }

    /// Acknowledged, sent, taken.
    pub fn offsets(&self, stream: Stream) -> [u64; 3] {
        self.offsets[stream as usize]
    }

    /// Bytes that may be taken now.
    pub fn room(&mut self, stream: Stream) -> u64 {
        let room = self.job.room(stream);
        let [acked, _, taken] = self.offsets(stream);
        assert!(self.job.has_ended() || taken - acked + room <= WINDOW.max(taken - acked), "more room than a window");
        room
    }

    /// With its keeper everything of it is gone.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Nothing more can be taken: its pipes were let go.
    pub fn is_drained(&self) -> bool {
        self.drained
    }

    /// A new executor finds it; its life is told again by what its keeper recorded.
    pub fn adopted(&mut self) {
        let offsets = self.offsets.map(|[acked, _, taken]| (taken, acked));
        let stopping = self.job.stopping().cloned();
        self.job = Job::adopted(self.sealed.clone(), offsets, stopping, 11);
        self.recovered = offsets.map(|(taken, _)| taken);
        self.offsets = offsets.map(|(taken, acked)| [acked, acked, taken]);
        (self.resumed, self.told, self.drained, self.audited) = (false, false, false, false);
    }

    /// One input and its effects, each held against the account. `None` when the frontend said what cannot be.
    pub fn happen(&mut self, happening: Happening, boot_ns: u64) -> Option<Outcome> {
        let fits = self.fits(&happening);
        let before = self.job.has_ended();
        let stepped = self.job.step(happening.clone());
        assert_eq!(stepped.is_ok(), fits, "{happening:?} with {:?}", self.offsets);
        let Ok(effects) = stepped else {
            self.account_of_violation(&happening);
            return None;
        };
        self.account(&happening, before);
        let mut outcome = Outcome::default();
        for effect in effects {
            self.effect(effect, boot_ns, &mut outcome)?;
        }
        self.holds();
        Some(outcome)
    }

    // Only what was never taken or never sent is a violation; of a lost job nothing is known.
    fn fits(&self, happening: &Happening) -> bool {
        match happening {
            Happening::Resume(have) => {
                self.lost || Stream::BOTH.iter().all(|s| have[*s as usize] <= self.offsets(*s)[2])
            }
            Happening::Ack(stream, offset) => self.lost || *offset <= self.offsets(*stream)[1],
            _ => true,
        }
    }

    fn account(&mut self, happening: &Happening, had_ended: bool) {
        match happening {
            Happening::Took { stream, bytes, .. } => self.offsets[*stream as usize][2] += bytes,
            Happening::Ended { end, .. } if !had_ended => self.lost = matches!(end, End::Lost(_)),
            Happening::Repeated => self.told = false,
            Happening::Drained => self.drained |= self.job.has_ended(),
            Happening::Disconnected => {
                (self.resumed, self.told) = (false, false);
                self.offsets.iter_mut().for_each(|[acked, sent, _]| *sent = *acked);
            }
            Happening::Resume(have) => {
                for ([acked, sent, taken], have) in self.offsets.iter_mut().zip(have) {
                    *acked = (*acked).max(*have.min(taken));
                    *sent = *acked;
                }
                self.resumed = true;
            }
            Happening::Ack(stream, offset) => {
                let [acked, sent, taken] = &mut self.offsets[*stream as usize];
                *acked = (*acked).max((*offset).min(*taken));
                // Of a lost job the frontend may have more than was sent here.
                *sent = (*sent).max(*acked);
            }
            _ => {}
        }
    }

    // The first stream of a comparison counts, though the second cannot be.
    fn account_of_violation(&mut self, happening: &Happening) {
        let [acked, sent, taken] = &mut self.offsets[0];
        if let Happening::Resume([have, _]) = happening
            && have <= taken
        {
            *acked = (*acked).max(*have);
            *sent = (*sent).max(*acked);
        }
    }

    fn effect(&mut self, effect: Effect, boot_ns: u64, outcome: &mut Outcome) -> Option<()> {
        match effect {
            Effect::Tell(answer) => {
                self.may_tell(&answer);
                outcome.told.push(*answer);
            }
            Effect::Send(chunk) => self.sends(chunk),
            Effect::Ready => assert!(self.resumed, "output for somebody who has not compared"),
            Effect::Punch(stream, acked, taken) => {
                assert_eq!(
                    [acked, taken],
                    [self.offsets(stream)[0], self.offsets(stream)[2]],
                    "a hole where bytes are"
                );
            }
            Effect::WakeAt(at) => assert!(at > 0),
            Effect::RecordStop => assert!(self.job.stopping().is_some()),
            Effect::Signal(_) => assert!(self.job.running_pid().is_some(), "a signal to nobody"),
            Effect::KillGroup => {
                let due = self.job.stopping().is_some_and(|stopping| stopping.kill_at_ns <= boot_ns);
                assert!(due && !self.job.has_ended(), "a kill before its time");
            }
            Effect::Drain => return self.drain(boot_ns, outcome),
            Effect::AuditEnd => {
                assert!(self.job.has_ended() && !std::mem::replace(&mut self.audited, true), "two ends in the trail");
            }
            Effect::Forget => {
                assert!(self.job.has_ended(), "a live job was forgotten");
                outcome.forgotten = true;
            }
        }
        Some(())
    }

    // As the executor: everything the pipes still hold, then the end of it.
    fn drain(&mut self, boot_ns: u64, outcome: &mut Outcome) -> Option<()> {
        assert!(self.job.has_ended(), "a live job's pipes are left to the job");
        for stream in Stream::BOTH {
            let bytes = std::mem::take(&mut self.left[stream as usize]).min(self.room(stream));
            if bytes > 0 && !self.lost {
                let more = self.happen(Happening::Took { stream, bytes, at_ns: 8 }, boot_ns)?;
                outcome.told.extend(more.told);
            }
        }
        let more = self.happen(Happening::Drained, boot_ns)?;
        outcome.told.extend(more.told);
        Some(())
    }

    fn sends(&mut self, Chunk { stream, offset, length, recovered, .. }: Chunk) {
        assert!(self.resumed, "output for somebody who has not compared");
        assert!((1..=OUTPUT_BYTES_MAX as u64).contains(&length));
        let recovered_to = self.recovered[stream as usize];
        let [_, sent, taken] = &mut self.offsets[stream as usize];
        let end = offset + length;
        assert!(end <= *taken, "bytes that were never taken");
        assert_eq!(recovered, end <= recovered_to, "who took it is told wrongly");
        // Of a lost job the frontend may have said that it has more than was sent.
        assert!(self.lost || offset == *sent, "bytes are left out or sent twice");
        *sent = (*sent).max(end);
    }

    fn may_tell(&mut self, answer: &Answer<'_>) {
        match answer {
            Answer::Spawned { .. } => {
                assert!(matches!(self.job.entry().phase, Phase::Started { .. }), "a start that was none");
            }
            Answer::Exited { totals, .. } => {
                assert!(self.job.has_ended() && self.drained && self.resumed, "an end before its time");
                assert!(!std::mem::replace(&mut self.told, true), "an end that was told before");
                assert!(
                    self.lost || self.offsets.iter().all(|[_, sent, taken]| sent == taken),
                    "an end before the last byte"
                );
                assert_eq!(*totals, self.offsets.map(|[.., taken]| taken));
            }
            other => panic!("a job says {other:?}"),
        }
    }

    fn holds(&self) {
        let in_flight: u64 = self.offsets.iter().map(|[acked, _, taken]| taken - acked).sum();
        assert_eq!(self.job.in_flight(), in_flight);
        assert_eq!(self.job.totals(), self.offsets.map(|[.., taken]| taken));
        assert!(self.offsets.iter().all(|[acked, sent, taken]| acked <= sent && sent <= taken));
        assert_eq!(self.job.entry().acked, self.offsets.map(|[acked, ..]| acked));
    }
}

//! Whatever happens in whatever order: a small frontend, which only knows what it was told, finds every byte once and the end once.

use ipc_protocol::{Answer, End, LostReason, OUTPUT_BYTES_MAX, StopFact, Stream};
use proptest::{collection::vec, prelude::*};

use super::{Lived, STARTED, ended};
use crate::{
    job::{Chunk, Effect, Input, WINDOW},
    plan::Stopping,
};

#[derive(Debug, Clone)]
enum Act {
    Start,
    Write(usize, u64),
    End(bool),
    Drain(u64),
    Turn,
    Ack(usize, u64),
    AckTooMuch(usize, u64),
    // The frontend is killed, and its log ends anywhere above what it acknowledged.
    Break([u64; 2]),
    Resume,
    ResumeTooMuch(usize, u64),
    Repeat,
    Stop(u64),
    Tick(u64),
    Release,
}

fn act() -> impl Strategy<Value = Act> {
    use Act::*;
    let some = || prop_oneof![3 => 1u64..2000, 1 => 1u64..700_000];
    prop_oneof![
        2 => Just(Start),
        8 => (0usize..2, some()).prop_map(|(at, n)| Write(at, n)),
        1 => any::<bool>().prop_map(End),
        2 => (0u64..3000).prop_map(Drain),
        8 => Just(Turn),
        5 => (0usize..2, any::<u64>()).prop_map(|(at, n)| Ack(at, n)),
        1 => (0usize..2, 1u64..99).prop_map(|(at, n)| AckTooMuch(at, n)),
        1 => any::<[u64; 2]>().prop_map(Break),
        3 => Just(Resume),
        1 => (0usize..2, 1u64..99).prop_map(|(at, n)| ResumeTooMuch(at, n)),
        1 => Just(Repeat),
        1 => (1u64..2000).prop_map(Stop),
        1 => (1u64..2000).prop_map(Tick),
        1 => Just(Release),
    ]
}

/// The frontend and the host around a job.
#[derive(Debug)]
struct World {
    lived: Lived,
    /// Bytes in the frontend's log, by stream; it acknowledges no more than that.
    log: [u64; 2],
    acked: [u64; 2],
    taken: [u64; 2],
    /// What was read, in its order: stream and end.
    read: Vec<(usize, u64)>,
    connected: bool,
    ready: bool,
    told: bool,
    started: u32,
    ended: bool,
    lost: bool,
    drain_wanted: bool,
    drained: bool,
    done: [u32; 2], // Drain at the end, AuditEnd
}

impl World {
    fn new() -> Self {
        Self {
            lived: Lived::newborn(),
            log: [0, 0],
            acked: [0, 0],
            taken: [0, 0],
            read: Vec::new(),
            connected: true,
            ready: false,
            told: false,
            started: 0,
            ended: false,
            lost: false,
            drain_wanted: false,
            drained: false,
            done: [0; 2],
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start => self.happens(STARTED),
            Act::Write(at, bytes) if !self.ended => {
                let room = self.lived.job.room(Stream::BOTH[at]);
                assert!(room <= WINDOW - (self.taken[at] - self.acked[at]));
                self.write(at, bytes.min(room));
            }
            Act::End(lost) if !self.ended => {
                (self.ended, self.lost) = (true, lost);
                self.happens(ended(if lost { End::Lost(LostReason::KeeperDied) } else { End::Exited(0) }));
                assert!(self.drain_wanted);
            }
            Act::End(_) => self.happens(ended(End::Exited(77))),
            // What the executor does when it is asked to drain: everything, or nothing where memory lacks.
            Act::Drain(rest) if self.drain_wanted && rest % 3 > 0 => {
                self.write(0, rest);
                self.write(1, rest / 2);
                (self.drain_wanted, self.drained) = (false, true);
                self.happens(Input::Drained);
            }
            Act::Drain(_) if !self.drain_wanted => self.happens(Input::Drained),
            Act::Turn => {
                self.ready = false;
                self.happens(Input::Turn);
            }
            Act::Ack(at, n) if self.connected => {
                let offset = n % (self.log[at] + 1);
                self.acked[at] = self.acked[at].max(offset);
                self.happens(Input::Ack(Stream::BOTH[at], offset));
            }
            Act::Break(n) => {
                for ((log, acked), n) in self.log.iter_mut().zip(self.acked).zip(n) {
                    *log = acked + n % (*log - acked + 1);
                }
                (self.connected, self.ready, self.told) = (false, false, false);
                self.happens(Input::Disconnected);
            }
            Act::Resume if !self.connected => {
                (self.connected, self.acked) = (true, self.log);
                self.happens(Input::Resume(self.log));
            }
            Act::AckTooMuch(at, n) if self.connected && !self.lost => {
                let too_much = Input::Ack(Stream::BOTH[at], self.log[at] + n);
                assert!(self.lived.job.clone().step(too_much).is_err());
            }
            Act::ResumeTooMuch(at, n) if !self.connected && !self.lost => {
                let mut have = self.log;
                have[at] = self.taken[at] + n;
                assert!(self.lived.job.clone().step(Input::Resume(have)).is_err());
            }
            Act::Repeat if self.connected => {
                self.told = false;
                self.happens(Input::Repeated);
            }
            Act::Stop(kill_at_ns) => {
                let fact = StopFact { by: "eve".into(), signal: 15, at_ns: 1 };
                self.happens(Input::Stop(Stopping { fact, kill_at_ns }));
            }
            Act::Tick(boot_ns) => self.happens(Input::Tick { boot_ns }),
            Act::Release if !self.ended => self.happens(Input::Release),
            _ => {}
        }
    }

    fn write(&mut self, at: usize, bytes: u64) {
        if bytes > 0 {
            self.taken[at] += bytes;
            self.read.push((at, self.taken[at]));
            self.happens(Input::Took { stream: Stream::BOTH[at], bytes, at_ns: 1 });
        }
    }

    fn happens(&mut self, input: Input) {
        let first_drain = matches!(input, Input::Ended { .. });
        let effects = match self.lived.job.step(input.clone()) {
            Ok(effects) => effects,
            Err(violation) => panic!("{violation:?} for {input:?}"),
        };
        for effect in effects {
            match effect {
                Effect::Send(piece) => self.arrives(piece),
                Effect::Ready => self.ready = true,
                Effect::Tell(answer) => self.hears(*answer),
                Effect::Punch(stream, acked, taken) => {
                    let at = stream as usize;
                    assert_eq!((acked, taken), (self.acked[at], self.taken[at]));
                }
                Effect::Drain => {
                    assert!(self.ended && !self.drained);
                    self.drain_wanted = true;
                    self.done[0] += u32::from(first_drain);
                }
                Effect::AuditEnd => self.done[1] += 1,
                Effect::RecordStop | Effect::WakeAt(_) => {}
                Effect::Signal(_) | Effect::KillGroup => assert!(!self.ended, "something dead was signalled"),
                Effect::Forget => panic!("a job was forgotten that nobody let go"),
            }
        }
        self.holds();
    }

    // Bytes come in the order of reading, each once, and never from beyond what was taken.
    fn arrives(&mut self, Chunk { stream, offset, length, recovered, .. }: Chunk) {
        let at = stream as usize;
        assert!(self.connected && !recovered && (1..=OUTPUT_BYTES_MAX as u64).contains(&length));
        assert_eq!(offset, self.log[at], "a byte of {stream:?} was sent twice or left out");
        self.log[at] += length;
        assert!(self.log[at] <= self.taken[at]);
        let before = self.read.iter().take_while(|(of, end)| *of != at || *end < self.log[at]);
        for (of, end) in before {
            assert!(*end <= self.log[*of], "{stream:?} overtook what was read before it");
        }
    }

    fn hears(&mut self, answer: Answer<'static>) {
        match answer {
            Answer::Spawned { pid: 70, .. } => self.started += 1,
            Answer::Exited { totals, .. } => {
                assert!(self.connected && self.ended && self.drained && !self.told, "an end told too early or twice");
                assert_eq!((totals, self.log), (self.taken, self.taken), "an end before the last byte");
                self.told = true;
            }
            other => panic!("{other:?}"),
        }
    }

    fn holds(&self) {
        let job = &self.lived.job;
        for (at, offsets) in job.streams.iter().enumerate() {
            assert!(offsets.acked <= offsets.sent && offsets.sent <= offsets.taken, "{offsets:?}");
            assert_eq!((offsets.acked, offsets.taken), (self.acked[at], self.taken[at]));
            assert!(!self.connected || offsets.sent == self.log[at]);
        }
        assert_eq!(job.entry().acked, self.acked);
        assert_eq!(job.in_flight(), self.taken.iter().sum::<u64>() - self.acked.iter().sum::<u64>());
        let waits = self.connected && self.log != self.taken;
        assert!(self.ready || !waits, "something waits to be sent and nobody was told");
        let over = self.connected && self.drained && self.log == self.taken;
        assert_eq!(self.told, over, "the end is told exactly when everything was sent");
    }

    fn finishes(&mut self) {
        self.act(Act::End(false));
        while !self.drained {
            self.act(Act::Drain(1));
        }
        self.act(Act::Resume);
        while self.ready {
            self.act(Act::Turn);
        }
        assert_eq!((self.log, self.told), (self.taken, true));
        assert_eq!(self.done, [1, 1], "drained and audited once each");
        assert_eq!(self.lived.step(Input::Release), [Effect::Forget]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_and_then_the_end(acts in vec(act(), 1..120)) {
        let mut world = World::new();
        acts.into_iter().for_each(|act| world.act(act));
        world.finishes();
    }
}

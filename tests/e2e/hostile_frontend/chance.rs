//! Well-formed requests in an order that nobody would think of.

use airlock_e2e::scale;
use ipc_protocol::{Claimed, InputDigest, JobId, Request, Spawn, Stream};

use super::{
    EPOCH, Executor, attack,
    peer::{Peer, fresh_id, spawn},
};

struct Chance(u64);

impl Chance {
    // xorshift: the same order on every run.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    fn spawn(&mut self, job: JobId) -> Spawn {
        let words: [&[&str]; 9] = [
            &["true"],
            &["false"],
            &["sleep", "1000"],
            &["sh", "-c", "head -c 3000000 /dev/zero; echo e >&2"],
            &["sh", "-c", "sleep 1000 & echo left"],
            &["cat"],
            &["/nonexistent"],
            &["sh", "-c", "touch a b c; kill -9 $$"],
            &[],
        ];
        let input = (self.below(4) == 0).then(|| InputDigest { bytes: self.below(3), sha256: [1; 32] });
        Spawn { job, input, merge: self.below(2) == 0, ..spawn(words[self.below(9) as usize]) }
    }

    fn request(&mut self, jobs: &[JobId]) -> Request {
        let (job, by) = (*self.of(jobs), Claimed::default());
        let stream = *self.of(&Stream::BOTH);
        match self.below(24) {
            0 => Request::Resume { job, have: [self.below(9), 0] },
            1 => Request::SyncEnd,
            2..=3 => Request::Input { job, offset: self.below(3), bytes: vec![0; self.below(3) as usize] },
            4..=11 => Request::Spawn(Box::new(self.spawn(job))),
            12..=14 => Request::Ack { job, stream, offset: *self.of(&[0, 0, 0, 1, 4096, 65_536, u64::MAX]) },
            15..=17 => {
                Request::Stop { job, signal: self.below(70) as u8, grace_ms: *self.of(&[0, 10, 1000, u64::MAX]), by }
            }
            18..=19 => Request::Signal { job, signal: self.below(70) as u8, by },
            _ => Request::Release { job },
        }
    }
}

#[track_caller]
fn comes_back(executor: &Executor, chance: &mut Chance) -> Peer {
    match chance.below(4) {
        0 => {
            let mut peer = executor.connect();
            peer.is_heard(EPOCH);
            peer
        }
        _ => executor.live(),
    }
}

#[track_caller]
fn by_chance(seed: u64) {
    attack(|executor| {
        let mut chance = Chance(seed);
        let jobs: Vec<JobId> = (0..6).map(|_| fresh_id()).collect();
        let mut peer = comes_back(executor, &mut chance);
        for _ in 0..3000 / scale::factor() {
            let request = chance.request(&jobs);
            if !peer.say(&request) || chance.below(50) == 0 {
                peer = comes_back(executor, &mut chance);
            }
            if chance.below(5) == 0 {
                peer.reads_a_little();
            }
        }
    });
}

#[test]
fn requests_in_any_order_leave_the_executor_as_it_was() {
    by_chance(0x9e37_79b9_7f4a_7c15);
}

#[test]
fn requests_in_another_order_leave_the_executor_as_it_was() {
    by_chance(0x2545_f491_4f6c_dd1d);
}

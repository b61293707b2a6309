//! Kills between two chosen steps: strace ends the process when it enters the nth call of one kind.

use crate::rng::Rng;

/// Where one of the two processes is killed, start by start.
#[derive(Debug)]
pub struct Points {
    rng: Rng,
    chance: u64,
    calls: &'static [&'static str],
    threads: bool,
}

// Every call of theirs that leaves something behind, and some around them.
const OF_EXECUTOR: [&str; 26] = [
    "mkdir", "mkdirat", "chown", "openat", "write", "pwrite64", "memfd_create", "ftruncate", "fcntl", "pipe2", "dup2",
    "clone3", "close", "epoll_ctl", "splice", "fallocate", "sendfile", "sendto", "pread64", "read", "pidfd_open",
    "pidfd_send_signal", "waitid", "unlinkat", "kill", "epoll_pwait",
];
const OF_FRONTEND: [&str; 17] = [
    "openat", "mkdir", "write", "writev", "pwrite64", "pwritev", "fsync", "ftruncate", "sendto", "recvfrom", "read",
    "preadv2", "close", "fcntl", "accept4", "epoll_wait", "unlink",
];

impl Points {
    /// Of the executor, at so many of a hundred starts.
    pub fn of_executor(seed: u64, chance: u64) -> Self {
        Self { rng: Rng::part(seed, u64::MAX - 1), chance, calls: &OF_EXECUTOR, threads: false }
    }

    /// Of the frontend.
    pub fn of_frontend(seed: u64, chance: u64) -> Self {
        Self { rng: Rng::part(seed, u64::MAX - 2), chance, calls: &OF_FRONTEND, threads: true }
    }

    /// The words for the next start, and the call at which it is to be killed, if it is.
    pub fn next(&mut self, words: &[String], calm: bool) -> (Vec<String>, Option<&'static str>) {
        if calm || !self.rng.percent(self.chance) {
            return (words.to_vec(), None);
        }
        let at = self.rng.between(0, self.calls.len() as u64);
        let call = usize::try_from(at).ok().and_then(|at| self.calls.get(at)).copied().unwrap_or("write");
        // The first ones belong to the start of the program, where an executor finds its jobs again.
        let most = 1 << self.rng.between(1, 9);
        let nth = self.rng.between(1, most);
        let inject = format!("inject={call}:signal=KILL:when={nth}");
        // Detached, so that the pid is the program's own.
        let mut strace = vec!["strace".to_owned(), "-D".into(), "-q".into(), "-o".into(), "/dev/null".into()];
        if self.threads {
            strace.push("-f".into());
        }
        strace.extend(["-e".into(), format!("trace={call}"), "-e".into(), inject, "--".into()]);
        strace.extend_from_slice(words);
        (strace, Some(call))
    }
}

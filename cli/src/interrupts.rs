//! What the user or the system says to us by signal while a job runs.

use std::{collections::VecDeque, fs, io};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A signal that means something to `run` and `attach`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C: end the job, then die of it.
    Int,
    /// End the job.
    Term,
    /// Ctrl-\: leave the job running.
    Quit,
    /// The terminal is gone: leave the job running.
    Hangup,
}

/// The signals, caught from the moment this exists.
pub struct Interrupts {
    int: Option<Signal>,
    term: Option<Signal>,
    quit: Option<Signal>,
    hangup: Option<Signal>,
    /// Seen while nobody could act on them.
    earlier: VecDeque<Interrupt>,
}

impl Interrupt {
    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Interrupt::Int => 2,
            Interrupt::Term => 15,
            Interrupt::Quit => 3,
            Interrupt::Hangup => 1,
        }
    }
}

impl Interrupts {
    /// Catches the four signals. What our parent told us to ignore (`nohup`, background jobs of scripts) stays ignored.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn catch() -> io::Result<Self> {
        let ignored = ignored_signals();
        let one = |interrupt: Interrupt, kind: SignalKind| match ignored & (1 << (interrupt.number() - 1)) {
            0 => signal(kind).map(Some),
            _ => Ok(None),
        };
        Ok(Interrupts {
            int: one(Interrupt::Int, SignalKind::interrupt())?,
            term: one(Interrupt::Term, SignalKind::terminate())?,
            quit: one(Interrupt::Quit, SignalKind::quit())?,
            hangup: one(Interrupt::Hangup, SignalKind::hangup())?,
            earlier: VecDeque::new(),
        })
    }

    /// The next one. May be cancelled.
    pub async fn next(&mut self) -> Interrupt {
        if let Some(interrupt) = self.earlier.pop_front() {
            return interrupt;
        }
        tokio::select! {
            () = received(&mut self.quit) => Interrupt::Quit,
            () = received(&mut self.int) => Interrupt::Int,
            () = received(&mut self.term) => Interrupt::Term,
            () = received(&mut self.hangup) => Interrupt::Hangup,
        }
    }

    /// Gives one back, to be acted upon when there is a job to act upon.
    pub fn keep(&mut self, interrupt: Interrupt) {
        self.earlier.push_back(interrupt);
    }
}

/// Ends this process by `signal`, with its default action.
pub fn die_by(signal: i32) -> ! {
    // Returns only when the signal's default is not to die, or is blocked; the shell's number is the next best thing.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

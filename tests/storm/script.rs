//! What a job of the storm does: a pure function of its kind and seed, so that the storm knows every byte and the end without
//! asking Airlock.

use std::path::Path;

use crate::rng::Rng;

/// The kinds of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A few lines, then 0.
    Short,
    /// Many small writes on both streams with short pauses.
    Chatty,
    /// Nothing for seconds.
    Silent,
    /// Seconds, and a line now and then.
    Long,
    /// MiBs of any bytes, as fast as they go.
    Binary,
    /// Children write, one after the other; one is left behind.
    Forking,
    /// Ends with another code than 0.
    Failing,
    /// Ends itself with a signal.
    Signalled,
    /// Takes more memory than it may.
    OutOfMemory,
    /// Goes on until its deadline.
    TimedOut,
    /// The same, deaf to SIGTERM.
    DeafTimedOut,
    /// Leaves a process behind that holds its output open.
    Daemonising,
    /// Goes on until it is stopped.
    Stopped,
    /// The same, deaf to SIGTERM.
    DeafStopped,
    /// Names a program that does not exist.
    NotFound,
    /// Writes until its keeper is killed.
    Victim,
    /// Writes what it reads from standard input.
    Fed,
    /// Writes more than its log keeps; the oldest goes.
    Overfull,
    /// The same, and is stopped for it.
    Capped,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Short,
        Self::Chatty,
        Self::Silent,
        Self::Long,
        Self::Binary,
        Self::Forking,
        Self::Failing,
        Self::Signalled,
        Self::OutOfMemory,
        Self::TimedOut,
        Self::DeafTimedOut,
        Self::Daemonising,
        Self::Stopped,
        Self::DeafStopped,
        Self::NotFound,
        Self::Victim,
        Self::Fed,
        Self::Overfull,
        Self::Capped,
    ];

    /// The word for the command line and the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Chatty => "chatty",
            Self::Silent => "silent",
            Self::Long => "long",
            Self::Binary => "binary",
            Self::Forking => "forking",
            Self::Failing => "failing",
            Self::Signalled => "signalled",
            Self::OutOfMemory => "out-of-memory",
            Self::TimedOut => "timed-out",
            Self::DeafTimedOut => "deaf-timed-out",
            Self::Daemonising => "daemonising",
            Self::Stopped => "stopped",
            Self::DeafStopped => "deaf-stopped",
            Self::NotFound => "not-found",
            Self::Victim => "victim",
            Self::Fed => "fed",
            Self::Overfull => "overfull",
            Self::Capped => "capped",
        }
    }

    /// The kind of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether somebody stops it.
    pub fn is_stopped(self) -> bool {
        matches!(self, Self::Stopped | Self::DeafStopped)
    }

    /// Whether it ignores SIGTERM.
    pub fn is_deaf(self) -> bool {
        matches!(self, Self::DeafTimedOut | Self::DeafStopped)
    }

    /// The state and the exit status with which such a job ends, if it ends.
    pub fn end(self, last: Last) -> Option<(&'static str, Option<i32>)> {
        match (self, last) {
            (Self::Victim, _) => Some(("lost", None)),
            (Self::NotFound, _) => Some(("error", Some(127))),
            (Self::OutOfMemory, _) => Some(("out-of-memory", Some(137))),
            (Self::TimedOut | Self::DeafTimedOut, _) => Some(("timed-out", Some(124))),
            (Self::Stopped | Self::Capped, _) => Some(("stopped", Some(143))),
            (Self::DeafStopped, _) => Some(("stopped", Some(137))),
            (_, Last::Exit(0)) => Some(("finished", Some(0))),
            (_, Last::Exit(code)) => Some(("failed", Some(code))),
            (_, Last::Signal(signal)) => Some(("failed", Some(128 + signal))),
            (_, Last::Wait) => None,
        }
    }

    /// What is kept of its output, where that is not everything.
    pub fn kept(self) -> Option<Kept> {
        match self {
            Self::Overfull => Some(Kept::Ends),
            Self::Capped => Some(Kept::Beginning),
            _ => None,
        }
    }

    /// The words of its command: `program` acts, and tells in the folder `truth` that it began.
    pub fn command(self, program: &Path, seed: u64, truth: &Path) -> Vec<String> {
        if self == Self::NotFound {
            return vec!["no-such-program".to_owned()];
        }
        let deaf: &[&str] = if self.is_deaf() { &["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"] } else { &[] };
        let (program, seed, truth) = (program.display().to_string(), seed.to_string(), truth.display().to_string());
        deaf.iter().copied().chain([&*program, "act", "job", self.word(), &*seed, &*truth]).map(str::to_owned).collect()
    }

    /// Options of `start` that this kind needs.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::OutOfMemory => &["--memory", "32M"],
            Self::TimedOut | Self::DeafTimedOut => &["--memory", "64M", "--timeout", "3s"],
            _ => &["--memory", "64M"],
        }
    }
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes to be written at once.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Where.
    pub to: To,
    /// What they are made from.
    pub seed: u64,
    /// How many.
    pub length: u64,
    /// Lines, or any bytes.
    pub text: bool,
}

/// One step of a job.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Writes.
    Write(Piece),
    /// Has a child write, and waits for it.
    WriteByChild(Piece),
    /// Copies standard input, which holds this, to standard output.
    Copy(Piece),
    /// So many milliseconds.
    Pause(u64),
    /// Starts a process that outlives it and holds its streams.
    LeaveBehind,
    /// Takes memory until it is killed.
    TakeMemory,
}

/// How much is kept of output that outgrows its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The beginning and the newest.
    Ends,
    /// The beginning.
    Beginning,
}

impl Kept {
    /// Of both streams together.
    pub const BYTES: u64 = 64 << 10;
}

/// How the steps end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// With this code.
    Exit(i32),
    /// With this signal to itself.
    Signal(i32),
    /// Not by itself.
    Wait,
}

/// All that a job does.
#[derive(Debug, Clone)]
pub struct Script {
    /// In order. A victim's are without end.
    pub steps: Vec<Step>,
    /// Afterwards.
    pub last: Last,
}

impl Script {
    /// What a job of this kind and seed does.
    pub fn of(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut steps = Vec::new();
        let mut last = Last::Exit(0);
        match kind {
            Kind::Short => lines(&mut steps, &mut rng, 1, 6, 0),
            Kind::Chatty => lines(&mut steps, &mut rng, 100, 600, 12),
            Kind::Silent => steps.push(Step::Pause(rng.between(1000, 8000))),
            Kind::Long => lines(&mut steps, &mut rng, 20, 60, 300),
            Kind::Binary => blocks(&mut steps, &mut rng),
            Kind::Forking => {
                for _ in 0..rng.between(3, 10) {
                    let piece = line(&mut rng);
                    steps.push(Step::WriteByChild(piece));
                }
                steps.push(Step::LeaveBehind);
                lines(&mut steps, &mut rng, 1, 10, 30);
            }
            Kind::Failing => {
                lines(&mut steps, &mut rng, 1, 40, 50);
                last = Last::Exit(1 + (rng.next() % 100) as i32);
            }
            Kind::Signalled => {
                lines(&mut steps, &mut rng, 1, 40, 50);
                // Not those that the runtime of this program handles or ignores: 11 and 13.
                last = Last::Signal(rng.weighted(&[(9, 3), (15, 3), (6, 1), (10, 1), (12, 1), (14, 1)]));
            }
            Kind::OutOfMemory => {
                lines(&mut steps, &mut rng, 1, 40, 20);
                steps.push(Step::TakeMemory);
                last = Last::Wait;
            }
            Kind::TimedOut | Kind::DeafTimedOut | Kind::Stopped | Kind::DeafStopped => {
                lines(&mut steps, &mut rng, 1, 30, 10);
                last = Last::Wait;
            }
            Kind::Daemonising => {
                lines(&mut steps, &mut rng, 1, 10, 100);
                steps.push(Step::LeaveBehind);
            }
            Kind::NotFound => {}
            Kind::Victim => last = Last::Wait,
            Kind::Fed => {
                let length = rng.between(0, 200_000);
                steps.push(Step::Copy(Piece { to: To::Stdout, seed: rng.next(), length, text: false }));
            }
            Kind::Overfull => more_than(&mut steps, &mut rng, Kept::BYTES),
            Kind::Capped => {
                more_than(&mut steps, &mut rng, Kept::BYTES);
                last = Last::Wait;
            }
        }
        Self { steps, last }
    }

    /// The `n`th step of a victim, which goes on for ever.
    pub fn of_victim(seed: u64, n: u64) -> [Step; 2] {
        let mut rng = Rng::part(seed, n);
        let piece = if rng.percent(5) { block(&mut rng) } else { line(&mut rng) };
        [Step::Write(piece), Step::Pause(rng.between(0, 60))]
    }

    /// What stands on its standard input, if it has one.
    pub fn input(&self) -> Option<Vec<u8>> {
        self.steps.iter().find_map(|step| if let Step::Copy(piece) = step { Some(piece.bytes()) } else { None })
    }

    /// Every byte that the job writes to each stream.
    pub fn streams(&self) -> [Vec<u8>; 2] {
        let mut streams = [Vec::new(), Vec::new()];
        self.steps.iter().for_each(|step| add(&mut streams, *step));
        streams
    }

    /// The beginning of what a victim writes, at least so many bytes of each stream.
    pub fn streams_of_victim(seed: u64, at_least: [usize; 2]) -> [Vec<u8>; 2] {
        let mut streams = [Vec::new(), Vec::new()];
        let mut n = 0;
        while streams.iter().zip(at_least).any(|(stream, least)| stream.len() < least) {
            Self::of_victim(seed, n).into_iter().for_each(|step| add(&mut streams, step));
            n += 1;
        }
        streams
    }
}

impl Piece {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut rng = Rng::new(self.seed);
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            if self.text {
                bytes.extend_from_slice(format!("{:016x}", rng.next()).as_bytes());
            } else {
                bytes.extend_from_slice(&rng.next().to_le_bytes());
            }
        }
        bytes.truncate(length);
        if let (true, Some(last)) = (self.text, bytes.last_mut()) {
            *last = b'\n';
        }
        bytes
    }
}

fn add(streams: &mut [Vec<u8>; 2], step: Step) {
    if let Step::Write(piece) | Step::WriteByChild(piece) | Step::Copy(piece) = step {
        streams[piece.to as usize].extend(piece.bytes());
    }
}

fn line(rng: &mut Rng) -> Piece {
    let to = if rng.percent(70) { To::Stdout } else { To::Stderr };
    Piece { to, seed: rng.next(), length: rng.between(1, 160), text: true }
}

fn block(rng: &mut Rng) -> Piece {
    let to = if rng.percent(80) { To::Stdout } else { To::Stderr };
    Piece { to, seed: rng.next(), length: rng.between(1, 300_000), text: false }
}

fn lines(steps: &mut Vec<Step>, rng: &mut Rng, least: u64, most: u64, pause_ms: u64) {
    for _ in 0..rng.between(least, most) {
        let piece = line(rng);
        steps.push(Step::Write(piece));
        if pause_ms > 0 {
            steps.push(Step::Pause(rng.between(0, pause_ms)));
        }
    }
}

fn blocks(steps: &mut Vec<Step>, rng: &mut Rng) {
    for _ in 0..rng.between(4, 50) {
        let piece = block(rng);
        steps.push(Step::Write(piece));
        if rng.percent(30) {
            steps.push(Step::Pause(rng.between(0, 80)));
        }
    }
}

// Several times as much.
fn more_than(steps: &mut Vec<Step>, rng: &mut Rng, bytes: u64) {
    let mut left = bytes * rng.between(3, 6);
    while left > 0 {
        let to = if rng.percent(60) { To::Stdout } else { To::Stderr };
        let length = rng.between(1, 12_000).min(left);
        left -= length;
        steps.push(Step::Write(Piece { to, seed: rng.next(), length, text: false }));
        if rng.percent(20) {
            steps.push(Step::Pause(rng.between(0, 10)));
        }
    }
}

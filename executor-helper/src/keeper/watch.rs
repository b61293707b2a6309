//! The keeper's wait: for the report of the start, for the command's end, for the deadline, and then to be released.

use core::convert::Infallible;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use crate::{
    Made, child,
    shared::{
        DEADLINE_GRACE_MS,
        plan::{Number, PlanView},
        steps::Step,
    },
    status::{Record, boot_ns, now_ns},
    sys::process,
};

/// Two files of the job's cgroup.
pub struct Cgroup {
    /// Ends everything in it, whatever its user.
    pub kill: OwnedFd,
    /// Tells whether something lives in it.
    pub events: OwnedFd,
}

impl Cgroup {
    fn kill(&self) -> Result<(), Errno> {
        rustix::io::write(&self.kill, b"1").map(drop)
    }

    fn is_empty(&self) -> Result<bool, Errno> {
        let mut text = [0u8; 256];
        let length = rustix::io::pread(&self.events, &mut text, 0)?;
        Ok(text.get(..length).unwrap_or_default().windows(11).any(|w| w == b"populated 0"))
    }

    // Whatever else the job left running ends with its command; only then has everything been written.
    fn end_the_rest(&self) -> Result<(), Errno> {
        self.kill()?;
        while !self.is_empty()? {
            let mut changed = [PollFd::new(&self.events, PollFlags::PRI)];
            ignore_interrupt(poll(&mut changed, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })))?;
        }
        Ok(())
    }
}

/// Follows the command to its end and stays until the executor ends the keeper.
///
/// An error here ends the keeper, and with it the job: it is then lost, and its cgroup is killed by the executor.
pub fn run(plan: PlanView<'_>, made: Made, record: &mut Record) -> Result<Infallible, Errno> {
    let timeout = plan.number(Number::TimeoutMs).saturating_mul(1_000_000);
    let deadline = (timeout > 0).then(|| boot_ns().saturating_add(timeout));
    record.born(made.child.pidfd.as_raw_fd(), deadline.unwrap_or(0));
    let kill_at = deadline.map(|d| d.saturating_add(DEADLINE_GRACE_MS.saturating_mul(1_000_000)));
    let (mut wake_at, mut late) = (deadline, false);
    let mut report = Report::default();
    loop {
        let begun = report.open;
        let none = PollFlags::empty();
        let mut wait = [
            PollFd::new(&made.report, if begun { PollFlags::IN } else { none }),
            PollFd::new(&made.child.pidfd, if begun { none } else { PollFlags::IN }),
            PollFd::new(
                made.orphans.as_ref().unwrap_or(&made.child.pidfd),
                if made.orphans.is_some() { PollFlags::IN } else { none },
            ),
        ];
        // A pipe that has ended, like a process that has, reports so even when nothing is asked: leave out what is done with.
        let waiting = if begun { &mut wait[..] } else { wait.get_mut(1..).unwrap_or_default() };
        let timeout = wake_at.map(|at| timespec(at.saturating_sub(boot_ns())));
        ignore_interrupt(poll(waiting, timeout.as_ref()))?;
        if begun && report.read(&made.report)? {
            match report.outcome() {
                Outcome::Started => record.started(now_ns())?,
                Outcome::Failed { step, errno, mode, owner } => {
                    made.cgroup.end_the_rest()?;
                    record.failed(step, errno, mode, owner)?;
                    until_released()
                }
            }
        }
        if let Some(orphans) = &made.orphans {
            reap(orphans, made.child.pid)?;
        }
        // First it is only noted: the executor asks the command to stop. Then it is the keeper that ends it.
        if wake_at.is_some_and(|at| at <= boot_ns()) {
            record.deadline_hit();
            if late {
                made.cgroup.kill()?;
            }
            (wake_at, late) = (kill_at.filter(|_| !late), true);
        }
        // WNOWAIT: the process id stays taken until the executor has let go, so a signal of its never meets a stranger.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let (false, Some(end)) = (report.open, waitid(WaitId::PidFd(made.child.pidfd.as_fd()), options)?) {
            let at = now_ns();
            made.cgroup.end_the_rest()?;
            let code = if end.exited() {
                1
            } else if end.dumped() {
                3
            } else {
                2
            };
            let status = end.exit_status().or(end.terminating_signal()).unwrap_or(0);
            record.ended(code, status.unsigned_abs().into(), at)?;
            until_released()
        }
    }
}

/// Waits for the SIGKILL with which the executor lets go.
pub fn until_released() -> ! {
    loop {
        let _ = poll(&mut [], None);
    }
}

fn timespec(ns: u64) -> Timespec {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: (ns % 1_000_000_000) as _ }
}

fn ignore_interrupt(polled: Result<usize, Errno>) -> Result<(), Errno> {
    match polled {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

// Waits for every ended orphan and never for the command: when that is the one found, the end has come and the rest is killed.
fn reap(orphans: &OwnedFd, command: Pid) -> Result<(), Errno> {
    let mut signals = [0u8; 128];
    match rustix::io::read(orphans, &mut signals) {
        Ok(_) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    while let Ok(Some(pid)) = process::ended_child() {
        if pid == command {
            break;
        }
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    }
    Ok(())
}

/// What the child wrote before its exec.
struct Report {
    bytes: [u8; 18],
    length: usize,
    open: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self { bytes: [0; 18], length: 0, open: true }
    }
}

enum Outcome {
    Started,
    Failed { step: Step, errno: u32, mode: u32, owner: u32 },
}

impl Report {
    // Whether the report has come to its end.
    fn read(&mut self, pipe: &OwnedFd) -> Result<bool, Errno> {
        let mut readable = [PollFd::new(pipe, PollFlags::IN)];
        if poll(&mut readable, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0) {
            return Ok(false);
        }
        let read = rustix::io::read(pipe, self.bytes.get_mut(self.length..).unwrap_or_default())?;
        self.length = self.length.saturating_add(read);
        self.open = read > 0;
        Ok(!self.open)
    }

    // An end without the hot byte is a death before the exec; taking it for success is the classic mistake.
    fn outcome(&self) -> Outcome {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        let after_hot = bytes.strip_prefix(&[child::HOT]);
        match after_hot.unwrap_or(bytes) {
            [] if after_hot.is_some() => Outcome::Started,
            [child::FAILED, fields @ ..] => {
                let mut fields = fields.chunks_exact(4).map(|c| c.try_into().map(u32::from_le_bytes).unwrap_or(0));
                let mut next = || fields.next().unwrap_or(0);
                Outcome::Failed {
                    step: u8::try_from(next()).ok().and_then(Step::from_number).unwrap_or(Step::Birth),
                    errno: next(),
                    mode: next(),
                    owner: next(),
                }
            }
            _ => Outcome::Failed { step: Step::Birth, errno: 0, mode: 0, owner: 0 },
        }
    }
}

//! The keeper's wait: for the report of the start, for the command's end, for the deadline, and then to be released. No heap: its
//! filter has no system calls for one.

use std::convert::Infallible;

use ipc_protocol::{End, StartError, Step};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use super::{Made, Records, child};
use crate::{
    plan::{DEADLINE_GRACE_MS, boot_ns, decode, now_ns, timespec},
    sys,
};

/// Follows the command to its end and stays until the executor ends the keeper.
///
/// An error here ends the keeper, and with it the job: it is then lost, and its cgroup is killed by the executor.
pub fn run(timeout_ms: Option<u64>, made: &Made, records: &mut Records) -> Result<Infallible, Errno> {
    let after = |ms: u64| ms.saturating_mul(1_000_000);
    let deadline = timeout_ms.map(|ms| boot_ns().saturating_add(after(ms)));
    records.record.pidfd = made.child.pidfd.as_raw_fd();
    records.record.deadline_ns = deadline.unwrap_or(0);
    let mut wake_at = deadline;
    let mut more = false;
    loop {
        // The end of the report first, then the command; a pipe that has ended would else be reported for ever.
        let (command, started) = (&made.child.pidfd, records.record.started_ns > 0);
        let (first, what) = if started { (command, PollFlags::IN) } else { (&made.report, PollFlags::empty()) };
        let orphans = PollFd::new(made.orphans.as_ref().unwrap_or(command), PollFlags::IN);
        let left = if more { Some(0) } else { wake_at.map(|at| at.saturating_sub(boot_ns())) };
        let mut polled = [PollFd::new(first, what), orphans];
        match poll(&mut polled, left.map(timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let [first, _] = &polled;
        if !started && first.revents().contains(PollFlags::HUP) {
            // Whole, for nobody writes any more.
            let mut bytes = [0; 64];
            let length = rustix::io::read(&made.report, &mut bytes)?;
            match outcome(bytes.get(..length).unwrap_or_default()) {
                Ok(()) => {
                    records.record.started_ns = now_ns();
                    records.publish()?;
                }
                Err(error) => {
                    end_the_rest(made)?;
                    return records.end(End::StartFailed(error), now_ns());
                }
            }
        }
        if let Some(orphans) = &made.orphans {
            more = reap(orphans, made.child.pid)?;
        }
        // First it is only noted: the executor asks the command to stop. Then it is the keeper that ends it.
        if wake_at.is_some_and(|at| at <= boot_ns()) {
            if records.record.deadline_hit {
                kill(made)?;
            }
            let first = !std::mem::replace(&mut records.record.deadline_hit, true);
            wake_at = deadline.filter(|_| first).map(|at| at.saturating_add(after(DEADLINE_GRACE_MS)));
        }
        // WNOWAIT: the process id stays taken until the executor has let go, so a signal of its never meets a stranger.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let end = waitid(WaitId::PidFd(command.as_fd()), options)?;
        if let Some(end) = end.filter(|_| records.record.started_ns > 0) {
            let at = now_ns();
            end_the_rest(made)?;
            let signal = end.terminating_signal().unwrap_or(0);
            let signaled = End::Signaled { signal: signal.unsigned_abs() as u8, core: end.dumped() };
            return records.end(end.exit_status().map_or(signaled, End::Exited), at);
        }
    }
}

/// Waits for the SIGKILL with which the executor lets go.
pub fn until_released<T>() -> T {
    loop {
        let _ = poll(&mut [], None);
    }
}

fn kill(made: &Made) -> Result<(), Errno> {
    rustix::io::write(&made.kill, b"1").map(drop)
}

// Whatever else the job left running ends with its command; only then has everything been written.
fn end_the_rest(made: &Made) -> Result<(), Errno> {
    kill(made)?;
    loop {
        let mut text = [0u8; 256];
        let length = rustix::io::pread(&made.events, &mut text, 0)?;
        if text.get(..length).unwrap_or_default().windows(11).any(|w| w == b"populated 0") {
            return Ok(());
        }
        let mut changed = [PollFd::new(&made.events, PollFlags::PRI)];
        let _ = poll(&mut changed, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
    }
}

// Waits for ended orphans and never for the command: when that is the one found, the end has come and the rest is killed. Whether there
// may be more: of a job that makes them faster than they go, only so many at a turn, or it would keep the deadline away.
fn reap(orphans: &OwnedFd, command: Pid) -> Result<bool, Errno> {
    let _ = rustix::io::read(orphans, &mut [0u8; 128]);
    for _ in 0..64 {
        let Some(pid) = sys::ended_child().unwrap_or(None).filter(|pid| *pid != command) else { return Ok(false) };
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
    }
    Ok(true)
}

// What the child wrote before its exec. An end without the hot byte is a death before the exec; taking it for success is the classic
// mistake.
fn outcome(report: &[u8]) -> Result<(), StartError> {
    match report.strip_prefix(&[child::HOT]) {
        Some([]) => Ok(()),
        hot => Err(decode(hot.unwrap_or(report)).unwrap_or(StartError::new(Step::Birth, 0))),
    }
}

#[cfg(test)]
mod tests;

//! What interruptions mean, as a state machine without any I/O.

use crate::{failure::Ending, interrupts::Interrupt};
use airlock_client::api;
use std::time::Duration;

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;

/// What to do about an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the job to end.
    Stop {
        /// With this signal.
        signal: i32,
        /// Kill it after this.
        grace: Duration,
    },
    /// Let the job run on without us.
    Leave,
}

/// What was asked for so far.
#[derive(Debug)]
pub struct Steering {
    grace: Duration,
    first: Option<Reason>,
    killed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Interrupt(Interrupt),
    ReaderGone,
}

impl Steering {
    /// Nothing was asked for yet.
    pub fn new(grace: Duration) -> Self {
        Steering { grace, first: None, killed: false }
    }

    /// A signal came. The first stops, the second kills, and one more leaves: a server that cannot be reached must not
    /// hold the user.
    pub fn interrupted(&mut self, interrupt: Interrupt) -> Step {
        match interrupt {
            Interrupt::Quit | Interrupt::Hangup => Step::Leave,
            Interrupt::Int | Interrupt::Term if self.first.is_none() => {
                self.first = Some(Reason::Interrupt(interrupt));
                Step::Stop { signal: interrupt.number(), grace: self.grace }
            }
            Interrupt::Int | Interrupt::Term if !self.killed => {
                self.killed = true;
                Step::Stop { signal: SIGKILL, grace: Duration::ZERO }
            }
            Interrupt::Int | Interrupt::Term => Step::Leave,
        }
    }

    /// The reader of our output is gone. The second descriptor to lose its reader changes nothing.
    pub fn reader_gone(&mut self) -> Option<Step> {
        if self.first.is_some() {
            return None;
        }
        self.first = Some(Reason::ReaderGone);
        Some(Step::Stop { signal: SIGPIPE, grace: self.grace })
    }

    /// True when this client asked the job to stop.
    pub fn has_asked(&self) -> bool {
        self.first.is_some()
    }

    /// How we end after the job has ended with `status`.
    pub fn ending(&self, job: &api::Job, status: u8) -> Ending {
        let killed = self.killed && job.exit.as_ref().and_then(|exit| exit.signal) == Some(SIGKILL);
        match self.first {
            _ if killed => Ending::Status(137),
            Some(Reason::Interrupt(Interrupt::Int)) => Ending::Signal(SIGINT),
            Some(Reason::ReaderGone) => Ending::Status(141),
            _ => Ending::Status(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn ended_by(signal: i32) -> api::Job {
        api::Job { exit: Some(api::Exit { signal: Some(signal), ..Default::default() }), ..Default::default() }
    }

    #[test]
    fn the_first_ctrl_c_asks_the_second_kills_and_the_third_leaves() {
        let mut steering = Steering::new(GRACE);
        assert_eq!(steering.interrupted(Interrupt::Int), Step::Stop { signal: 2, grace: GRACE });
        assert_eq!(steering.interrupted(Interrupt::Int), Step::Stop { signal: 9, grace: Duration::ZERO });
        assert_eq!(steering.interrupted(Interrupt::Int), Step::Leave);
    }

    #[test]
    fn after_ctrl_c_we_die_of_it_and_after_a_kill_the_status_is_137() {
        let mut steering = Steering::new(GRACE);
        steering.interrupted(Interrupt::Int);
        assert_eq!(steering.ending(&ended_by(2), 130), Ending::Signal(2));
        assert_eq!(steering.ending(&ended_by(9), 137), Ending::Signal(2));
        steering.interrupted(Interrupt::Term);
        assert_eq!(steering.ending(&ended_by(9), 137), Ending::Status(137));
    }

    #[test]
    fn after_sigterm_the_status_is_the_jobs() {
        let mut steering = Steering::new(GRACE);
        assert_eq!(steering.interrupted(Interrupt::Term), Step::Stop { signal: 15, grace: GRACE });
        assert_eq!(steering.ending(&ended_by(15), 143), Ending::Status(143));
    }

    #[test]
    fn a_gone_reader_stops_the_job_once_and_ends_with_141() {
        let mut steering = Steering::new(GRACE);
        assert_eq!(steering.reader_gone(), Some(Step::Stop { signal: 13, grace: GRACE }));
        assert_eq!(steering.reader_gone(), None);
        assert_eq!(steering.ending(&ended_by(13), 141), Ending::Status(141));
    }

    #[test]
    fn ctrl_backslash_and_hangup_leave_at_once() {
        assert_eq!(Steering::new(GRACE).interrupted(Interrupt::Quit), Step::Leave);
        assert_eq!(Steering::new(GRACE).interrupted(Interrupt::Hangup), Step::Leave);
    }

    #[test]
    fn without_interruption_the_status_is_the_jobs() {
        assert_eq!(Steering::new(GRACE).ending(&ended_by(9), 137), Ending::Status(137));
    }
}

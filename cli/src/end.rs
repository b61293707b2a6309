//! How a job ended, as an exit status; states and signals by name.

use crate::api::{self, JobState};

/// What a job's end means for who waited for it. Only made from a terminal record, so 0 is never a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It ran, and this is its status: its exit code, or 128 + signal.
    Status(u8),
    /// Its deadline ended it.
    TimedOut,
    /// It never ran because its command does not exist (127), is not executable (126), or for another reason (125).
    NotStarted(u8),
    /// How it ended is not known.
    Lost,
}

impl JobEnd {
    /// How a job ended; `None` while it lives.
    pub fn of(job: &api::Job) -> Option<Self> {
        let recorded = job.exit_status.and_then(|status| u8::try_from(status).ok());
        let nonzero = |status: Option<u8>| status.filter(|status| *status != 0);
        let raw = job.exit.as_ref().and_then(raw_status);
        Some(match job.state() {
            JobState::Unspecified | JobState::Queued | JobState::Running | JobState::Stopping => return None,
            // A record that says "finished" and also something else than 0 contradicts itself; nobody may read it as 0.
            JobState::Finished => JobEnd::Status(recorded.or(raw).unwrap_or(0)),
            JobState::Failed => nonzero(recorded).or(nonzero(raw)).map_or(JobEnd::Lost, JobEnd::Status),
            JobState::Stopped => {
                let asked =
                    job.stop.as_ref().and_then(|stop| u8::try_from(stop.signal).ok()).filter(|signal| *signal != 0);
                JobEnd::Status(nonzero(recorded).or(nonzero(raw)).unwrap_or(128 + asked.unwrap_or(15).min(127)))
            }
            JobState::OutOfMemory => JobEnd::Status(nonzero(recorded).or(nonzero(raw)).unwrap_or(137)),
            JobState::TimedOut => JobEnd::TimedOut,
            JobState::Error => JobEnd::NotStarted(recorded.filter(|status| matches!(status, 126 | 127)).unwrap_or(125)),
            JobState::Lost => JobEnd::Lost,
        })
    }

    /// What a process that stands for the job ends with.
    pub fn exit_status(self) -> u8 {
        match self {
            JobEnd::Status(status) | JobEnd::NotStarted(status) => status,
            JobEnd::TimedOut => 124,
            JobEnd::Lost => 125,
        }
    }
}

fn raw_status(exit: &api::Exit) -> Option<u8> {
    match (exit.code, exit.signal) {
        (Some(code), _) => u8::try_from(code).ok(),
        (None, Some(signal)) => u8::try_from(signal).ok()?.checked_add(128),
        (None, None) => None,
    }
}

/// True while a job has not ended. An unknown state counts as live: nothing is known of its end.
pub fn is_live(job: &api::Job) -> bool {
    matches!(job.state(), JobState::Unspecified | JobState::Queued | JobState::Running | JobState::Stopping)
}

const STATES: [(JobState, &str); 10] = [
    (JobState::Queued, "queued"),
    (JobState::Running, "running"),
    (JobState::Stopping, "stopping"),
    (JobState::Finished, "finished"),
    (JobState::Failed, "failed"),
    (JobState::Stopped, "stopped"),
    (JobState::TimedOut, "timed-out"),
    (JobState::OutOfMemory, "out-of-memory"),
    (JobState::Error, "error"),
    (JobState::Lost, "lost"),
];

/// A state's word in text, JSON and filters.
pub fn state_word(state: JobState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("unknown", |(_, word)| word)
}

/// The state that a word names.
pub fn state_from_word(word: &str) -> Option<JobState> {
    STATES.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
}

/// The first eight characters of a job id, enough to name it to people.
pub fn short_id(job_id: &str) -> &str {
    job_id.get(..8).unwrap_or(job_id)
}

const SIGNALS: [(i32, &str); 31] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

/// A Linux signal's name with `SIG`; numbers without one are written `signal 42`.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// The number of `HUP`, `SIGHUP`, `sighup` or `1`; `None` for what is no Linux signal (1 to 64).
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.iter().find(|(_, name)| *name == bare).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_every_usual_spelling() {
        for text in ["HUP", "SIGHUP", "sighup", "hup", "1"] {
            assert_eq!(signal_number(text), Some(1), "{text}");
        }
        for text in ["", "0", "65", "-1", "NOPE", "SIG", "SIGSIGHUP"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
        assert_eq!((signal_name(9), signal_name(40)), ("SIGKILL".to_owned(), "signal 40".to_owned()));
        assert!((1..=31).all(|number| signal_number(&signal_name(number)) == Some(number)));
    }

    #[test]
    fn every_state_has_a_word_and_every_word_its_state() {
        for number in 1..=10 {
            let state = JobState::try_from(number).unwrap();
            assert_eq!(state_from_word(state_word(state)), Some(state));
        }
        assert_eq!(state_from_word("unknown"), None);
    }

    #[test]
    fn a_job_in_a_state_that_this_client_does_not_know_counts_as_live() {
        let job = api::Job { state: 99, exit_status: Some(0), ..Default::default() };
        assert!(is_live(&job) && JobEnd::of(&job).is_none());
    }
}

//! How an end is called: from what the executor knows to the state and the exit status that people see. Pure.

use ipc_protocol::{End, Facts, LostReason, StopFact};

use crate::store::{EndState, HowEnded};

/// The state of an ended job. The first cause wins: a stop that was asked for before the deadline makes a stopped job whatever
/// followed, a deadline before the stop a timed-out one, and memory counts only where neither of them ended the job.
pub fn verdict(end: &End, facts: &Facts, started_ns: Option<u64>, timeout_ms: Option<u64>) -> EndState {
    let well = match end {
        End::Lost(_) => return EndState::Lost,
        End::StartFailed(_) => return EndState::Error,
        End::Exited(code) => *code == 0,
        End::Signaled { .. } => false,
    };
    let deadline_ns = started_ns.zip(timeout_ms).map(|(s, t)| s.saturating_add(t.saturating_mul(1_000_000)));
    let stop_first = |stop: &StopFact| !facts.deadline_hit || deadline_ns.is_some_and(|d| stop.at_ns < d);
    match &facts.stop {
        Some(stop) if stop_first(stop) => EndState::Stopped,
        _ if facts.deadline_hit => EndState::TimedOut,
        _ if well => EndState::Finished,
        _ if facts.oom_kills > 0 => EndState::OutOfMemory,
        _ => EndState::Failed,
    }
}

/// What `airlock run` ends with for an ended job; `None` when nobody knows. A job that was stopped and then ended well counts
/// as ended by the signal that was asked for; one that never ran has the status that shells give it where exec refused, and
/// Airlock's own otherwise.
pub fn exit_status(state: EndState, how: &HowEnded, stop: Option<&StopFact>) -> Option<i32> {
    Some(match (state, how) {
        (EndState::Lost, _) | (_, HowEnded::Lost { .. }) => return None,
        (EndState::TimedOut, _) => DEADLINE_STATUS,
        (EndState::Stopped, HowEnded::Exited(0)) => stop.map_or(0, |stop| 128 + i32::from(stop.signal)),
        (_, HowEnded::Exited(code)) => *code,
        (_, HowEnded::Signaled { signal, .. }) => 128 + i32::from(*signal),
        (_, HowEnded::NotStarted { step, errno, .. }) => match (step.as_str(), *errno) {
            ("exec", ENOENT) => 127,
            ("exec", _) => 126,
            _ => 125,
        },
    })
}

/// How the command ended, as it is recorded; one that never ran, with the reason in words.
pub(super) fn recorded(end: End, why_not_started: String) -> HowEnded {
    match end {
        End::Exited(code) => HowEnded::Exited(code),
        End::Signaled { signal, core } => HowEnded::Signaled { signal, core },
        End::StartFailed(error) => {
            HowEnded::NotStarted { step: error.step.name().to_owned(), errno: error.errno, message: why_not_started }
        }
        End::Lost(reason) => HowEnded::Lost { reason: lost_words(reason).to_owned() },
    }
}

/// The reason why nobody knows, for people.
fn lost_words(reason: LostReason) -> &'static str {
    match reason {
        LostReason::KeeperDied => "keeper died",
        LostReason::JobsUnitStopped => "airlock-jobs.service stopped",
        LostReason::Untrusted => "its keeper could not be trusted and everything was killed",
    }
}

const DEADLINE_STATUS: i32 = 124;
const ENOENT: i32 = 2;

#[cfg(test)]
mod tests {
    use ipc_protocol::{StartError, Step};

    use super::*;

    const START: u64 = 1_000_000_000;
    const TIMEOUT_MS: u64 = 10_000;
    const DEADLINE: u64 = START + TIMEOUT_MS * 1_000_000;

    fn facts(oom_kills: u64, deadline_hit: bool, stop_at: Option<u64>) -> Facts {
        let stop = stop_at.map(|at_ns| StopFact { by: "alice".into(), signal: 15, at_ns });
        Facts { oom_kills, deadline_hit, stop, ..Facts::default() }
    }

    fn killed(signal: u8) -> End {
        End::Signaled { signal, core: false }
    }

    #[test]
    fn the_first_cause_of_an_end_wins() {
        use EndState::{Failed, Finished, OutOfMemory, Stopped, TimedOut};
        let before = Some(DEADLINE - 1);
        let after = Some(DEADLINE + 1);
        let table = [
            (End::Exited(0), facts(0, false, None), Finished, 0),
            (End::Exited(3), facts(0, false, None), Failed, 3),
            (killed(9), facts(0, false, None), Failed, 137),
            (End::Exited(0), facts(2, false, None), Finished, 0),
            (killed(9), facts(1, false, None), OutOfMemory, 137),
            (End::Exited(1), facts(1, false, None), OutOfMemory, 1),
            (killed(15), facts(0, false, before), Stopped, 143),
            (killed(9), facts(0, false, before), Stopped, 137),
            (End::Exited(0), facts(0, false, before), Stopped, 143),
            (End::Exited(3), facts(0, false, before), Stopped, 3),
            (killed(9), facts(1, false, before), Stopped, 137),
            (killed(15), facts(0, true, None), TimedOut, 124),
            (End::Exited(0), facts(0, true, None), TimedOut, 124),
            (killed(9), facts(1, true, None), TimedOut, 124),
            (killed(15), facts(0, true, before), Stopped, 143),
            (killed(15), facts(0, true, after), TimedOut, 124),
        ];
        for (end, facts, state, status) in table {
            let found = verdict(&end, &facts, Some(START), Some(TIMEOUT_MS));
            assert_eq!(found, state, "{end:?} with {facts:?}");
            let how = recorded(end.clone(), String::new());
            assert_eq!(exit_status(found, &how, facts.stop.as_ref()), Some(status), "{end:?} with {facts:?}");
        }
    }

    #[test]
    fn unknown_is_lost_and_has_no_status_whatever_else_is_known() {
        for reason in [LostReason::KeeperDied, LostReason::JobsUnitStopped, LostReason::Untrusted] {
            let end = End::Lost(reason);
            assert_eq!(verdict(&end, &facts(1, true, Some(1)), Some(START), None), EndState::Lost);
            assert_eq!(exit_status(EndState::Lost, &recorded(end, String::new()), None), None);
        }
    }

    #[test]
    fn a_command_that_never_ran_has_the_status_that_shells_give_it() {
        let table = [
            (Step::Exec, 2, 127),
            (Step::Exec, 13, 126),
            (Step::Exec, 8, 126),
            (Step::Chdir, 2, 125),
            (Step::Limits, 0, 125),
        ];
        for (step, errno, status) in table {
            let error = StartError::new(step, errno);
            let end = End::StartFailed(error);
            assert_eq!(verdict(&end, &Facts::default(), None, None), EndState::Error);
            assert_eq!(
                exit_status(EndState::Error, &recorded(end, String::new()), None),
                Some(status),
                "{step:?} {errno}"
            );
        }
    }
}

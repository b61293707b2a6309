use super::*;
use airlock_client::api::{Exit, Gap, Job, JobState, Output, StartError, Stop};

fn job(state: JobState) -> Job {
    Job { job_id: "3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05".into(), state: state.into(), ..Default::default() }
}

fn judged(job: &Job) -> Verdict {
    judge(job, Circumstances::default()).unwrap()
}

fn code(code: i32) -> Option<Exit> {
    Some(Exit { code: Some(code), ..Default::default() })
}

fn signal(signal: i32) -> Option<Exit> {
    Some(Exit { signal: Some(signal), ..Default::default() })
}

#[test]
fn a_job_that_lives_has_no_verdict_whatever_its_record_says() {
    for state in [JobState::Unspecified, JobState::Queued, JobState::Running, JobState::Stopping] {
        let job = Job { exit_status: Some(0), exit: code(0), ..job(state) };
        assert!(judge(&job, Circumstances::default()).is_none(), "{state:?}");
    }
}

#[test]
fn every_ended_state_has_the_published_exit_status() {
    for (state, recorded, exit, expected) in [
        (JobState::Finished, Some(0), code(0), 0),
        (JobState::Failed, Some(3), code(3), 3),
        (JobState::Failed, None, code(255), 255),
        (JobState::Failed, Some(139), signal(11), 139),
        (JobState::Failed, None, signal(11), 139),
        (JobState::Stopped, Some(143), signal(15), 143),
        (JobState::TimedOut, Some(0), code(0), 124),
        (JobState::TimedOut, Some(137), signal(9), 124),
        (JobState::OutOfMemory, Some(137), signal(9), 137),
        (JobState::OutOfMemory, Some(1), code(1), 1),
        (JobState::Error, Some(127), None, 127),
        (JobState::Error, Some(126), None, 126),
        (JobState::Error, Some(0), None, 125),
        (JobState::Error, None, None, 125),
        (JobState::Lost, None, None, 125),
    ] {
        let job = Job { exit_status: recorded, exit, ..job(state) };
        assert_eq!(judged(&job).status, expected, "{state:?} {recorded:?}");
    }
}

#[test]
fn a_stopped_job_that_exits_0_counts_as_the_signal_asked_for() {
    let stop = Some(Stop { by: "alice".into(), signal: 2, at: None });
    let job = Job { exit_status: Some(0), exit: code(0), stop, ..job(JobState::Stopped) };
    assert_eq!(judged(&job).status, 130);
}

#[test]
fn a_failed_job_is_never_0_even_when_its_record_contradicts_itself() {
    assert_eq!(judged(&Job { exit_status: Some(0), exit: code(0), ..job(JobState::Failed) }).status, 125);
    assert_eq!(judged(&Job { exit_status: Some(4), ..job(JobState::Finished) }).status, 4);
}

#[test]
fn missing_output_turns_0_into_123_and_leaves_other_statuses() {
    let gaps = [Gap { from: 1_048_576, to: 3_437_021_184, reason: "output limit 10G".into() }];
    let circumstances = Circumstances { gaps: &gaps, stopped_by_us: false };
    let verdict = judge(&Job { exit_status: Some(0), ..job(JobState::Finished) }, circumstances).unwrap();
    assert_eq!(verdict.status, 123);
    assert_eq!(
        verdict.troubles[0].to_string(),
        "3.2 GiB of the output are gone (offsets 1048576 to 3437021184: output limit 10G); the rest is complete"
    );
    assert_eq!(judge(&Job { exit_status: Some(7), ..job(JobState::Failed) }, circumstances).unwrap().status, 7);
}

#[test]
fn several_gaps_are_summed_up_and_counted() {
    let gap = |from| Gap { from, to: from + 1, reason: "output limit".into() };
    let said = |gaps: &[Gap]| {
        let circumstances = Circumstances { gaps, stopped_by_us: false };
        judge(&job(JobState::Finished), circumstances).unwrap().troubles[0].to_string()
    };
    assert_eq!(said(&[gap(4)]), "1 byte of the output is gone (offsets 4 to 5: output limit); the rest is complete");
    assert!(said(&[gap(4), gap(9)]).contains("output limit and 1 more place)"));
    assert!(said(&[gap(4), gap(9), gap(20)]).contains("output limit and 2 more places)"));
}

#[test]
fn a_log_that_was_cut_short_is_not_called_complete_beside_its_gap() {
    let gaps = [Gap { from: 86_016, to: 300_000, reason: "log damaged".into() }];
    let started_at = Some(prost_types::Timestamp::default());
    let output = Some(Output { bytes: 300_000, missing_bytes: 213_984, complete: false, ..Default::default() });
    let cut = Job { exit_status: Some(0), started_at, output, ..job(JobState::Finished) };
    let verdict = judge(&cut, Circumstances { gaps: &gaps, stopped_by_us: false }).unwrap();
    assert_eq!(verdict.status, 123);
    assert_eq!(
        verdict.troubles[0].to_string(),
        "209 KiB of the output are gone (offsets 86016 to 300000: log damaged)"
    );
}

#[test]
fn a_log_that_may_lack_its_end_is_not_a_success() {
    let started_at = Some(prost_types::Timestamp::default());
    let output = Some(Output { complete: false, ..Default::default() });
    assert_eq!(judged(&Job { exit_status: Some(0), started_at, output, ..job(JobState::Finished) }).status, 123);
}

#[test]
fn a_command_that_looks_like_a_shell_line_is_answered_with_the_way_to_run_one() {
    let start_error =
        Some(StartError { step: "exec".into(), errno: 2, message: "no program 'mkae test' in /usr/bin".into() });
    let job = Job { exit_status: Some(127), start_error, command: vec!["mkae test".into()], ..job(JobState::Error) };
    let verdict = judged(&job);
    assert_eq!(verdict.status, 127);
    assert_eq!(
        verdict.troubles[0].to_string(),
        "no program 'mkae test' in /usr/bin; for a shell line use: airlock run -- sh -c 'mkae test'"
    );
}

#[test]
fn who_stopped_a_job_is_said_unless_it_was_this_client() {
    let stop = Some(Stop { by: "alice".into(), signal: 15, at: None });
    let job = Job { exit_status: Some(143), stop, ..job(JobState::Stopped) };
    assert!(judged(&job).troubles[0].to_string().contains("stopped by alice"));
    let ours = Circumstances { stopped_by_us: true, ..Default::default() };
    assert!(judge(&job, ours).unwrap().troubles.is_empty());
}

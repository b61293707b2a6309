use super::*;

fn job() -> api::Job {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    api::Job {
        job_id: "3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05".into(),
        name: "nightly".into(),
        owner: "alice".into(),
        profile: "standard".into(),
        state: api::JobState::OutOfMemory.into(),
        exit_status: Some(137),
        exit: Some(api::Exit { signal: Some(9), signal_name: "SIGKILL".into(), ..Default::default() }),
        oom_kills: 1,
        command: ["make", "-j8", "test"].map(String::from).to_vec(),
        pid: Some(48211),
        uid: Some(1_900_000_412),
        created_at: at(1_000_000),
        started_at: at(1_000_000),
        ended_at: at(1_000_252),
        limits: Some(api::Limits {
            cpu_cores: Some(4.0),
            memory_bytes: Some(536_870_912),
            swap_bytes: Some(0),
            pids: Some(512),
            timeout_seconds: Some(86400.0),
            ..Default::default()
        }),
        usage: Some(api::Usage {
            cpu_seconds: 903.2,
            memory_peak_bytes: Some(536_870_912),
            pids_peak: Some(97),
            ..Default::default()
        }),
        output: Some(api::Output {
            bytes: 19_293_798,
            stdout_bytes: 18_769_510,
            stderr_bytes: 524_288,
            complete: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn text(job: &api::Job) -> String {
    card(job, Timestamp::from_second(1_000_372).unwrap(), Paint::plain())
}

#[test]
fn a_card_says_how_a_job_ended_and_what_to_do_next() {
    let text = text(&job());
    for line in [
        "● 3f9a1c2e  nightly · make -j8 test",
        "       exit  killed by SIGKILL (status 137): memory limit 512M, peak 512M, 1 process killed",
        "      owner  alice · profile standard · uid 1900000412 · pid 48211 (ended)",
        "     limits  cpu 4 · memory 512M · swap 0 · pids 512 · io – · timeout 24h",
        "      usage  memory peak 512M · pids peak 97",
        "     output  18.4 MiB (stdout 17.9 MiB, stderr 512 KiB), complete",
        "     job id  3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05",
        "       next  airlock logs 3f9a1c2e --tail 50 · airlock run --memory 1G …",
    ] {
        assert!(text.lines().any(|shown| shown == line), "missing: {line}\n{text}");
    }
    assert!(text.contains("ran 4m12s, cpu 15m03s") && text.contains("2 min ago"), "{text}");
}

#[test]
fn a_live_job_shows_no_exit() {
    let live = api::Job {
        state: api::JobState::Running.into(),
        ended_at: None,
        exit: None,
        usage: None,
        oom_kills: 0,
        ..job()
    };
    let text = text(&live);
    assert!(!text.contains("exit  "), "{text}");
    assert!(text.contains("airlock stop 3f9a1c2e") && text.contains("runs for 6m12s"), "{text}");
}

#[test]
fn data_cannot_steer_the_terminal() {
    let evil = "\x1b]0;owned\x07";
    let job = api::Job {
        name: evil.into(),
        command: vec![evil.into()],
        owner: evil.into(),
        lost_reason: evil.into(),
        cwd: evil.into(),
        start_error: Some(api::StartError { step: evil.into(), errno: 0, message: evil.into() }),
        ..job()
    };
    assert!(!text(&job).chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn a_job_of_a_profile_with_a_command_of_its_own_is_called_by_the_profile() {
    let fixed = api::Job { name: String::new(), command: Vec::new(), profile: "deploy-web".into(), ..job() };
    let text = card(&fixed, Timestamp::from_second(1_000_372).unwrap(), Paint::plain());
    assert_eq!(text.lines().next(), Some("● 3f9a1c2e  the command of profile deploy-web"));
}

#[test]
fn a_job_that_never_ran_says_at_which_step_and_ends_with_what_to_do() {
    let message = "no program './x' in the job's directory; airlock help files says how files get there";
    let never = api::Job {
        state: api::JobState::Error.into(),
        exit_status: Some(127),
        exit: None,
        oom_kills: 0,
        start_error: Some(api::StartError { step: "exec".into(), errno: 2, message: message.into() }),
        ..job()
    };
    let text = text(&never);
    assert!(
        text.lines().any(|line| line == format!("       exit  never ran (status 127, step exec): {message}")),
        "{text}"
    );
}

use super::*;
use airlock_client::api;

fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn out_of_memory() -> api::Job {
    api::Job {
        job_id: "3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05".into(),
        name: "nightly".into(),
        owner: "alice".into(),
        host: "build1".into(),
        profile: "standard".into(),
        state: api::JobState::OutOfMemory.into(),
        exit_status: Some(137),
        exit: Some(api::Exit { code: None, signal: Some(9), signal_name: "SIGKILL".into(), core_dumped: false }),
        oom_kills: 1,
        command: ["make", "-j8", "test"].map(String::from).to_vec(),
        env_names: vec!["CI".into()],
        pid: Some(48211),
        uid: Some(1_900_000_412),
        created_at: at(1_795_162_172, 104_512_345),
        started_at: at(1_795_162_172, 106_001_120),
        ended_at: at(1_795_162_424, 551_200_987),
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
            io_read_bytes: Some(1_288_490_188),
            io_written_bytes: Some(325_058_560),
            throttled_seconds: None,
        }),
        output: Some(api::Output {
            bytes: 19_293_798,
            stdout_bytes: 18_769_510,
            stderr_bytes: 524_288,
            first_offset: 0,
            missing_bytes: 0,
            complete: true,
        }),
        ..Default::default()
    }
}

#[test]
fn the_object_of_an_ended_job_has_exactly_the_published_form() {
    let expected = concat!(
        r#"{"job_id":"3f9a1c2e-5b7d-4c1a-9f60-2d8e4b7a1c05","name":"nightly","owner":"alice","host":"build1","profile":"standard","#,
        r#""state":"out-of-memory","exit_status":137,"exit":{"signal":9,"signal_name":"SIGKILL","core_dumped":false},"oom_kills":1,"#,
        r#""command":["make","-j8","test"],"env_names":["CI"],"cwd":"","pid":48211,"uid":1900000412,"#,
        r#""created_at":"2026-11-20T08:09:32.104512345Z","started_at":"2026-11-20T08:09:32.106001120Z","ended_at":"2026-11-20T08:13:44.551200987Z","#,
        r#""limits":{"cpu_cores":4,"memory_bytes":536870912,"swap_bytes":0,"pids":512,"timeout_seconds":86400},"#,
        r#""usage":{"cpu_seconds":903.2,"memory_peak_bytes":536870912,"pids_peak":97,"io_read_bytes":1288490188,"io_written_bytes":325058560},"#,
        r#""output":{"bytes":19293798,"stdout_bytes":18769510,"stderr_bytes":524288,"first_offset":0,"missing_bytes":0,"complete":true}}"#,
    );
    assert_eq!(job_line(&out_of_memory()), expected);
}

#[test]
fn what_does_not_apply_is_left_out_and_never_null() {
    let job = api::Job { job_id: "a".into(), state: api::JobState::Queued.into(), ..Default::default() };
    assert_eq!(job_line(&job), r#"{"job_id":"a","state":"queued","command":[],"cwd":""}"#);
}

#[test]
fn a_live_job_shows_no_exit_status_whatever_the_record_holds() {
    let job = api::Job {
        job_id: "a".into(),
        state: api::JobState::Running.into(),
        exit_status: Some(0),
        ..Default::default()
    };
    assert!(!job_line(&job).contains("exit_status"));
}

#[test]
fn an_exit_code_comes_without_the_facts_of_a_signal() {
    let mut job = out_of_memory();
    job.exit = Some(api::Exit { code: Some(0), ..Default::default() });
    assert!(job_line(&job).contains(r#""exit":{"code":0},"#));
}

#[test]
fn bytes_that_are_not_utf8_come_as_base64() {
    assert_eq!(text_or_base64(b"ok\n"), (Some("ok\n"), None));
    assert_eq!(text_or_base64(&[0xff, 0x00]), (None, Some("/wA=".into())));
}

#[test]
fn whole_numbers_have_no_point_and_large_ones_stay_exact() {
    let limits = api::Limits { cpu_cores: Some(0.5), memory_bytes: Some(u64::MAX), ..Default::default() };
    assert_eq!(line(&LimitsObject::of(&limits)), r#"{"cpu_cores":0.5,"memory_bytes":18446744073709551615}"#);
}

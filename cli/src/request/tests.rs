use super::*;

fn args() -> JobArgs {
    JobArgs { command: vec!["make".into(), "test".into()], ..Default::default() }
}

#[test]
fn what_is_not_said_is_not_sent() {
    let request = build(&args()).unwrap();
    assert_eq!(request.command, ["make", "test"]);
    assert!(request.command_bytes.is_empty() && request.env.is_empty() && request.limits.is_none());
    assert_eq!(request.output_limit_bytes, None);
    assert_eq!(request.request_id.len(), 36);
    assert_ne!(request.request_id, build(&args()).unwrap().request_id);
}

#[test]
fn limits_are_understood_in_their_units() {
    let limits = build(&JobArgs {
        cpu: Some("150%".into()),
        memory: Some("1.5G".into()),
        swap: Some("0".into()),
        timeout: Some("1h30m".into()),
        ..args()
    });
    let limits = limits.unwrap().limits.unwrap();
    assert_eq!((limits.cpu_cores, limits.memory_bytes), (Some(1.5), Some(3 << 29)));
    assert_eq!((limits.swap_bytes, limits.timeout_seconds, limits.pids), (Some(0), Some(5400.0), None));
}

#[test]
fn a_bad_value_is_answered_with_one_sentence_that_names_it() {
    let failure = build(&JobArgs { memory: Some("lots".into()), ..args() }).unwrap_err();
    assert_eq!(failure.to_string(), "memory 'lots' is not a size; use a number with K, M or G, such as 512M");
    assert_eq!(
        failure.to_json(),
        r#"{"error":{"code":"INVALID_ARGUMENT","field":"limits.memory","message":"memory 'lots' is not a size","hint":"use a number with K, M or G, such as 512M"}}"#
    );
    assert_eq!(failure.exit_status(), 125);
    for bad in [
        JobArgs { cpu: Some("0".into()), ..args() },
        JobArgs { cpu_weight: Some("0".into()), ..args() },
        JobArgs { cpu_weight: Some("99999999999".into()), ..args() },
        JobArgs { pids: Some("-1".into()), ..args() },
        JobArgs { pids: Some("99999999999999999999".into()), ..args() },
        JobArgs { timeout: Some("soon".into()), ..args() },
        JobArgs { output_limit: Some("5GB".into()), ..args() },
        JobArgs { output_full: Some("explode".into()), ..args() },
        JobArgs { env: vec!["=x".into()], ..args() },
        JobArgs { env: vec!["AIRLOCK_TEST_CERTAINLY_UNSET".into()], ..args() },
        JobArgs { env_file: vec!["/nonexistent/env".into()], ..args() },
    ] {
        assert!(build(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_options_of_other_tools_are_answered_with_what_to_write() {
    let answer = |after, interactive, terminal| {
        let refused = refuse_options_of_other_tools(after, &JobArgs { interactive, terminal, ..args() });
        refused.err().map(|failure| failure.to_string())
    };
    assert_eq!(
        answer("run", 1, 0).unwrap(),
        "-i after 'run' is not an option here; for standard input use --stdin, for an identity write airlock -i NAME run …"
    );
    assert!(answer("start", 1, 1).unwrap().starts_with("-it after 'start'"));
    assert!(answer("run", 0, 1).is_some());
    assert_eq!(answer("run", 0, 0), None);
}

#[test]
fn words_that_are_not_utf8_travel_as_bytes_all_of_them() {
    let command = vec!["echo".into(), OsString::from_vec(vec![0xff, 0x41])];
    let request = build(&JobArgs { command, ..args() }).unwrap();
    assert!(request.command.is_empty());
    assert_eq!(request.command_bytes, [b"echo".to_vec(), vec![0xff, 0x41]]);
}

#[test]
fn variables_come_from_files_and_options_and_the_last_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    std::fs::write(&file, "# comment\nA=1\r\n\nB=two words = x\nC=\n").unwrap();
    let env = vec!["A=over".into(), "D=a=b".into()];
    let variables = build(&JobArgs { env, env_file: vec![file], ..args() }).unwrap().env;
    let shown: Vec<(String, String)> = variables
        .iter()
        .map(|variable| (variable.name.clone(), String::from_utf8(variable.value.to_vec()).unwrap()))
        .collect();
    let expected =
        [("A", "over"), ("B", "two words = x"), ("C", ""), ("D", "a=b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(shown, expected);
}

//! What monitoring systems read, with a program that knows nothing of Airlock.

use airlock_e2e::{Outcome, Stack, Tool, scale, wait_until};

/// What curl gets with somebody's certificate; its status code comes last, on a line of its own.
fn metrics(stack: &Stack, identity: &str) -> Outcome {
    let file = |name: String| stack.certs().join(name).display().to_string();
    let files = [
        ("--cacert", file("ca.crt".into())),
        ("--cert", file(format!("{identity}.crt"))),
        ("--key", file(format!("{identity}.key"))),
    ];
    let url = format!("https://{}/metrics", stack.address());
    let words = ["--silent", "--show-error", "--write-out", "%{http_code}\n"];
    let curl = files.iter().fold(Tool::new("curl").args(words), |curl, (option, file)| curl.args([*option, file]));
    curl.args([&url]).run().ends_with(0)
}

#[test]
fn a_readers_certificate_and_curl_are_all_that_it_takes_to_read_what_was_counted() {
    let stack = Stack::start();
    stack.job_sh("echo four; exit 3").end();
    stack.job_sh("echo fives").end();
    wait_until("both ends in the metrics", scale::seconds(30), || {
        let all = metrics(&stack, "rita").out().to_owned();
        let is_there = |line: &str| all.lines().any(|found| found == line);
        let counted = is_there(r#"airlock_jobs_ended_total{state="finished"} 1"#)
            && is_there(r#"airlock_jobs_ended_total{state="failed"} 1"#)
            && is_there("airlock_output_bytes_total 11");
        assert!(is_there("airlock_executor_connected 1") && all.ends_with("# EOF\n200"), "{all}");
        counted.then_some(())
    });
    let refused = metrics(&stack, "alice").out().to_owned();
    assert!(
        refused.starts_with("alice is a user on ") && refused.ends_with(" and may not read metrics\n403"),
        "{refused}"
    );
}

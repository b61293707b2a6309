//! Kept output: any place of it, either stream, as bytes, lines or JSON.

use std::time::Instant;

use airlock_e2e::{Job, Outcome, Process, Stack, StackOptions, scale, wait_until};

fn logs(job: &Job<'_>, words: &[&str]) -> Outcome {
    job.airlock("logs").arg(job.id()).args(words).run().ends_with(0)
}

/// Ten bytes on stdout, then ten on stderr, then ten on stdout, each surely kept before the next is written.
fn three_parts(stack: &Stack) -> Job<'_> {
    // Without a child that the signal could end too, of which the shell would then speak.
    let told = |times: u32| format!("until [ $told -ge {times} ]; do :; done");
    let script = format!(
        "told=0; trap 'told=$((told+1))' USR1; echo 123456789; {}; echo abcdefghi >&2; {}; echo 987654321",
        told(1),
        told(2)
    );
    let job = stack.job_sh(&script);
    for bytes in [10, 20] {
        job.has_written(bytes, scale::seconds(30));
        job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    }
    assert_eq!(job.end()["output"]["bytes"], 30);
    job
}

#[test]
fn an_offset_names_a_place_in_both_streams_together() {
    let stack = Stack::shared();
    let job = three_parts(&stack);
    let from = logs(&job, &["--from", "5"]);
    assert_eq!((from.out().as_str(), from.err().as_str()), ("6789\n987654321", "abcdefghi"), "{from}");
    assert_eq!(logs(&job, &["--from", "15", "--stdout"]).out(), "987654321", "skipped, never renumbered");
    assert_eq!(logs(&job, &["--from", "15", "--stderr"]).out(), "fghi");
    assert!(logs(&job, &["--from", "30"]).stdout().is_empty(), "the end is a place too");
    let beyond = job.airlock("logs").args([job.id(), "--from", "31"]).run();
    beyond.says(125, &["31"]);
    let attach = job.airlock("attach").args([job.id(), "--from", "25"]).run().ends_with(0);
    assert_eq!(attach.out(), "4321");
}

#[test]
fn tail_shows_the_last_lines_of_what_is_selected() {
    let stack = Stack::shared();
    let job = stack.job_sh("seq 1000; seq 2000 2010 >&2; printf unfinished");
    job.end();
    assert_eq!(logs(&job, &["--stdout", "-n", "3"]).out(), "999\n1000\nunfinished");
    assert_eq!(logs(&job, &["--stderr", "--tail", "2"]).out(), "2009\n2010");
    assert_eq!(logs(&job, &["--stdout", "--tail", "100000"]).out().lines().count(), 1001);
    assert!(logs(&job, &["--tail", "0"]).stdout().is_empty());
}

#[test]
fn following_ends_with_the_job_and_without_following_at_what_is_there() {
    let stack = Stack::shared();
    let job = stack.job_sh("trap 'echo last; exit 3' USR1; echo first; while :; do sleep 0.1; done");
    job.has_said("first");
    assert_eq!(logs(&job, &[]).out(), "first");
    let mut follower = job.airlock("logs").args(["-f", job.id()]).start();
    follower.wait_for_out("first");
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    let follower = follower.finish().ends_with(0);
    assert_eq!(follower.out(), "first\nlast", "logs looks: its status is its own\n{follower}");
}

#[test]
fn timestamps_name_time_and_stream_of_each_line() {
    let stack = Stack::shared();
    let job = three_parts(&stack);
    let shown = logs(&job, &["--timestamps"]);
    let all = shown.out() + "\n" + &shown.err();
    for (letter, text) in [("O", "123456789"), ("E", "abcdefghi"), ("O", "987654321")] {
        let line = all.lines().find(|line| line.ends_with(&format!(" {letter} {text}")));
        let time = line.and_then(|line| line.split(' ').next()).unwrap_or_default();
        assert!(time.ends_with('Z') && time.contains('T') && time.starts_with("20"), "{letter} {text} in\n{shown}");
    }
}

#[test]
fn json_lines_carry_stream_offset_and_time_and_base64_where_it_is_no_text() {
    let stack = Stack::shared();
    let job = three_parts(&stack);
    let lines = logs(&job, &["--format", "json"]).json_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, (stream, offset, text)) in
        lines.iter().zip([("stdout", 0, "123456789\n"), ("stderr", 10, "abcdefghi\n"), ("stdout", 20, "987654321\n")])
    {
        assert_eq!(
            (&line["stream"], &line["offset"], &line["text"]),
            (&stream.into(), &offset.into(), &text.into()),
            "{line}"
        );
        assert_eq!(line["job_id"], job.id(), "{line}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')) && line["seq"].is_number(), "{line}");
    }
    let binary = stack.job_sh(r"printf '\377\000\001'");
    binary.end();
    let lines = logs(&binary, &["--format", "json"]).json_lines();
    assert_eq!(lines[0]["base64"], "/wAB", "{lines:?}");
    assert!(lines[0].get("text").is_none(), "{lines:?}");
}

#[test]
fn times_select_what_was_written_then() {
    let stack = Stack::shared();
    let job = three_parts(&stack);
    let second = logs(&job, &["--format", "json"]).json_lines()[1]["time"].as_str().expect("a time").to_owned();
    let since = logs(&job, &["--since", &second]);
    assert_eq!((since.out().as_str(), since.err().as_str()), ("987654321", "abcdefghi"), "{since}");
    let until = logs(&job, &["--until", &second]);
    assert_eq!((until.out().as_str(), until.err().as_str()), ("123456789", ""), "{until}");
    assert_eq!(logs(&job, &["--since", "1h"]).out().lines().count(), 2);
}

#[test]
fn above_its_limit_the_oldest_goes_the_first_mebibyte_stays_and_the_gap_is_marked() {
    let stack = Stack::shared();
    let size: u64 = 24 << 20;
    let job = stack.job(&["--output-limit", "4M", "--", "sh", "-c", &format!("seq -w 1 99999999 | head -c {size}")]);
    let end = job.end();
    assert_eq!(end["output"]["bytes"], size, "{end}");
    let missing = end["output"]["missing_bytes"].as_u64().expect("a count");
    let first = end["output"]["first_offset"].as_u64().expect("an offset");
    assert!(missing > 0 && first >= 1 << 20, "{end}");
    let kept = job.airlock("logs").arg(job.id()).run();
    assert_eq!(kept.stdout().len() as u64, size - missing, "{end}");
    assert!(kept.err().contains("gone") && kept.err().contains("output limit"), "{kept}");
    assert!(kept.stdout().starts_with(b"00000001\n00000002\n"), "the first MiB stays");
    // Nine bytes a line: what follows the gap is what stands at that offset.
    let tail = &kept.stdout()[usize::try_from(size - missing - 90).expect("fits")..];
    let line = (size - size % 9) / 9;
    assert!(String::from_utf8_lossy(tail).contains(&format!("{line:08}\n")), "the newest stays");
    let json = job.airlock("logs").args([job.id(), "--format", "json"]).limit_seconds(120).run().out();
    let gap = json.lines().find(|line| line.contains("\"gap\"")).expect("a gap").to_owned();
    let gap: serde_json::Value = serde_json::from_str(&gap).expect("JSON");
    assert_eq!(gap["gap"]["reason"], "output limit", "{gap}");
    assert_eq!(gap["gap"]["to"].as_u64().expect("to") - gap["gap"]["from"].as_u64().expect("from"), missing, "{gap}");
}

#[test]
fn with_stop_a_job_that_writes_too_much_is_stopped_and_with_wait_it_waits() {
    let stack = Stack::shared();
    let stopped = stack.job(&["--output-limit", "2M", "--output-full", "stop", "--", "cat", "/dev/zero"]);
    let end = stopped.end();
    assert_eq!(end["state"], "stopped", "{end}");
    let waiting = stack.job(&["--output-limit", "2M", "--output-full", "wait", "--", "cat", "/dev/zero"]);
    waiting.has_written(2 << 20, scale::seconds(30));
    let settled = wait_until("the writer to stand still", scale::seconds(30), || {
        let before = waiting.group().cpu_seconds();
        std::thread::sleep(std::time::Duration::from_millis(300));
        ((waiting.group().cpu_seconds() - before).abs() < 0.001).then(|| waiting.status())
    });
    assert_eq!(settled["state"], "running", "{settled}");
    assert!(settled["output"]["missing_bytes"].as_u64().unwrap_or(0) == 0, "{settled}");
    waiting.kill();
}

#[test]
fn output_of_one_job_never_shows_in_another() {
    let stack = Stack::shared();
    let jobs: Vec<_> =
        (0..10).map(|number| (number, stack.job_sh(&format!("yes job-{number} | head -n 20000")))).collect();
    for (number, job) in &jobs {
        assert_eq!(job.end()["state"], "finished");
        let word = format!("job-{number}");
        let out = String::from_utf8(job.stdout()).expect("text");
        assert_eq!(out.lines().filter(|line| *line == word).count(), 20_000);
        assert_eq!(out.lines().count(), 20_000);
    }
}

#[test]
fn below_the_disk_reserve_nothing_new_starts_and_running_jobs_go_on() {
    let stack = StackOptions::new().start();
    let job = stack.job_sh("trap 'echo still here; exit 0' USR1; echo ready; while :; do sleep 0.1; done");
    job.has_said("ready");
    stack.edit("policy.toml", "reserve = \"256M\"", "reserve = \"900000G\"");
    stack.signal("frontend", airlock_e2e::Signal::HUP);
    wait_until("the new reserve", scale::seconds(30), || {
        let refused = stack.airlock("alice").args(["run", "--format", "json", "--", "true"]).run();
        (refused.code() == Some(125)).then(|| {
            assert!(refused.err().contains("RESOURCE_EXHAUSTED") && refused.err().contains("reserve"), "{refused}");
        })
    });
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    assert_eq!(job.end()["state"], "finished");
    assert_eq!(job.stdout(), b"ready\nstill here\n");
}

#[test]
fn threads_that_serve_followers_give_way_to_the_one_that_takes_in_output() {
    let stack = Stack::shared();
    // What is served by threads that come later, too.
    stack.job_sh("echo served").end();
    // A thread that was born a moment ago has neither its name nor its niceness yet.
    let mut niceness = Vec::new();
    let begin = Instant::now();
    while !gives_way(&niceness) {
        assert!(begin.elapsed() < scale::seconds(10), "{niceness:?}");
        niceness = Process::new(stack.pid("frontend")).niceness();
    }
}

fn gives_way(niceness: &[(String, i32)]) -> bool {
    let of =
        |name: &str| niceness.iter().filter(|(thread, _)| thread == name).map(|(_, nice)| *nice).collect::<Vec<_>>();
    let [own] = of("airlock-fronten")[..] else { return false };
    let serving = of("tokio-rt-worker");
    ["executor", "executor-send", "records"].iter().all(|name| of(name) == [own])
        && serving.len() >= 2
        && serving.iter().all(|nice| *nice == own + 10)
}

//! Output arrives exactly: every byte, on its own descriptor, at every follower.

use std::time::Duration;

use airlock_e2e::{Outcome, Sha256Reader, Stack, scale, sha256, wait_until};

const MEBIBYTE: u64 = 1 << 20;

/// The job makes the bytes, tells their digest on stderr, and writes them to stdout.
fn random_bytes(count: u64) -> String {
    format!("head -c {count} /dev/urandom > data && sha256sum < data >&2 && cat data")
}

fn told_digest(outcome: &Outcome) -> String {
    outcome.err().split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_quarter_of_a_gibibyte_of_random_bytes_is_the_same_through_run_and_logs() {
    let stack = Stack::shared();
    let size = scale::bytes(256 * MEBIBYTE);
    let run = stack.airlock("alice").args(["run", "--name", "quarter-gibibyte"]).limit_seconds(120);
    let run = run.sh(&random_bytes(size)).run().ends_with(0);
    assert_eq!(run.stdout().len() as u64, size);
    assert_eq!(sha256(run.stdout()), told_digest(&run), "through run");

    let mut logs = stack.airlock("alice").args(["logs", "quarter-gibibyte", "--stdout"]).start_unread();
    let (count, digest) = Sha256Reader::new(logs.stdout.take().expect("piped")).finish(|_| ());
    assert!(logs.wait().expect("airlock logs").success());
    assert_eq!((count, digest), (size, told_digest(&run)), "through logs");
}

#[test]
fn twenty_followers_of_which_five_are_slow_all_get_every_byte() {
    let stack = Stack::quiet();
    let size = scale::bytes(256 * MEBIBYTE);
    // The followers are there before the first byte: the job waits until it is told to go.
    let wait = "trap 'touch go' USR1; echo ready >&2; until [ -e go ]; do sleep 0.05; done";
    let job = stack.job_sh(&format!("{wait}; {}", random_bytes(size)));
    wait_until("the job's trap", scale::seconds(30), || lines_on_stderr(&stack, job.id()).first().map(drop));

    let followers: Vec<_> = (0..20)
        .map(|number| {
            let slow = number % 4 == 3;
            let mut follower = stack.airlock("alice").args(["logs", "-f", "--stdout", job.id()]).start_unread();
            std::thread::spawn(move || {
                let stream = Sha256Reader::new(follower.stdout.take().expect("piped"));
                // About 60 MiB a second at most: far behind the others, who must not notice.
                let result = stream.finish(|_| {
                    if slow {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
                (result, follower.wait().expect("airlock logs").code())
            })
        })
        .collect();
    job.airlock("signal").args([job.id(), "USR1"]).run().ends_with(0);
    let end = job.end_within(300);
    assert_eq!(end["state"], "finished", "{end}");
    let digest = lines_on_stderr(&stack, job.id()).iter().find_map(|line| line.strip_suffix("  -").map(str::to_owned));
    let digest = digest.expect("sha256sum's line");
    for (number, follower) in followers.into_iter().enumerate() {
        let (result, code) = follower.join().expect("a follower's thread");
        assert_eq!((result, code), ((size, digest.clone()), Some(0)), "follower {number}");
    }
}

fn lines_on_stderr(stack: &Stack, job: &str) -> Vec<String> {
    let said = stack.airlock("alice").args(["logs", "--stderr", job]).run().ends_with(0);
    said.out().lines().map(str::to_owned).collect()
}

#[test]
fn stdout_and_stderr_arrive_byte_exact_each_on_its_own_descriptor() {
    let stack = Stack::shared();
    let lines = scale::bytes(4 * MEBIBYTE) / 64;
    // Both streams at once, from two writers, so that they interleave at any place.
    let script = format!(
        "seq -f 'out %.0f' {lines} & seq -f 'err %.0f' {lines} >&2 & wait; head -c 100000 /dev/zero; printf 'no line feed' >&2"
    );
    let run = stack.run_sh(&script).ends_with(0);
    let sequence = |word: &str| (1..=lines).map(|number| format!("{word} {number}\n")).collect::<String>().into_bytes();
    let mut out = sequence("out");
    out.extend_from_slice(&[0; 100_000]);
    let mut err = sequence("err");
    err.extend_from_slice(b"no line feed");
    assert!(run.stdout() == out, "stdout differs: {} bytes for {}", run.stdout().len(), out.len());
    assert!(run.stderr() == err, "stderr differs: {} bytes for {}", run.stderr().len(), err.len());
}

#[test]
fn nul_and_bytes_that_are_no_utf8_pass_unchanged() {
    let stack = Stack::shared();
    let every_byte: String = (0..=255).map(|byte| format!("\\{byte:03o}")).collect();
    let run =
        stack.airlock("alice").args(["run", "--name", "every-byte", "--", "printf", &every_byte]).run().ends_with(0);
    let expected: Vec<u8> = (0..=255).collect();
    assert_eq!(run.stdout(), expected, "through run");
    let logs = stack.airlock("alice").args(["logs", "every-byte"]).run().ends_with(0);
    assert_eq!(logs.stdout(), expected, "through logs");
}

#[test]
fn merge_brings_both_streams_in_the_order_of_writing_on_stdout() {
    let stack = Stack::shared();
    let script = "for i in $(seq 500); do echo out $i; echo err $i >&2; done";
    let run = stack.airlock("alice").args(["run", "--merge"]).sh(script).run().ends_with(0);
    let expected: String = (1..=500).map(|number| format!("out {number}\nerr {number}\n")).collect();
    assert_eq!(run.out() + "\n", expected);
    assert!(run.stderr().is_empty(), "{run}");
}

#[test]
fn run_adds_nothing_of_its_own_when_stderr_is_no_terminal() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "--", "true"]).run().ends_with(0);
    assert!(run.stdout().is_empty() && run.stderr().is_empty(), "{run}");
    let failing = stack.airlock("alice").args(["run", "--", "false"]).run().ends_with(1);
    assert!(failing.stdout().is_empty() && failing.stderr().is_empty(), "{failing}");
}

#[test]
fn a_job_may_open_its_own_streams_by_name() {
    let stack = Stack::shared();
    let run = stack.run_sh("echo one > /dev/stdout; echo two > /dev/stderr; echo three > /proc/self/fd/1").ends_with(0);
    assert_eq!((run.out().as_str(), run.err().as_str()), ("one\nthree", "two"), "{run}");
}

#[test]
fn arguments_are_never_joined_or_split_again() {
    let stack = Stack::shared();
    let words = ["", " ", "two words", "$HOME", "a'b", "\"", "*", "line\nfeed", "--", "-x", "ünï"];
    let run = stack.airlock("alice").args(["run", "--", "printf", "<%s>"]).args(words).run().ends_with(0);
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(run.out(), expected);
}

#[test]
fn options_end_at_the_first_word_without_a_dash() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "printf", "%s|", "--name", "x", "-m", "1G"]).run().ends_with(0);
    assert_eq!(run.out(), "--name|x|-m|1G|");
}

#[test]
fn output_written_at_the_very_end_and_by_a_process_left_behind_is_kept() {
    let stack = Stack::shared();
    // The command ends while its child still holds the pipe; the child is killed, and what both wrote is there.
    let run =
        stack.run_sh("(echo child; exec sleep 1000) & until [ -n \"$(pgrep -P $$ sleep)\" ]; do :; done; echo parent");
    let run = run.ends_with(0);
    assert_eq!(run.out(), "child\nparent", "{run}");
}

#[test]
fn a_fast_writer_in_small_pieces_loses_nothing() {
    let stack = Stack::shared();
    let lines = scale::bytes(MEBIBYTE) / 8;
    let run = stack.run_sh(&format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; done")).ends_with(0);
    let expected: String = (1..=lines).map(|number| format!("{number}\n")).collect();
    assert!(run.stdout() == expected.as_bytes(), "{} bytes for {}", run.stdout().len(), expected.len());
}

//! Standard input: whole, before the start, only when asked for.

use airlock_e2e::{Stack, StackOptions, Tool, scale, sha256};

#[test]
fn the_first_example_of_the_readme_brings_files_in_and_results_out() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let src = folder.path().join("src");
    std::fs::create_dir(&src).expect("src");
    std::fs::write(src.join("main.c"), "#include <stdio.h>\nint main(void) { puts(\"built there\"); return 0; }\n")
        .expect("main.c");
    std::fs::write(src.join("Makefile"), "out/hello: main.c\n\tmkdir -p out\n\t$(CC) -o $@ $<\n").expect("Makefile");
    let line = "set -o pipefail; tar c src | airlock run --stdin -- sh -c 'tar x && make -C src >&2 && tar c -C src out' > out.tar";
    let shell = Tool::new("bash").args(["-c", line]).within_folder(folder.path()).limit_seconds(120);
    let shell = shell
        .env("AIRLOCK_SERVER", stack.address())
        .env("AIRLOCK_CERTS", stack.certs())
        .env("AIRLOCK_IDENTITY", "alice");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", stack.path("bin").display());
    shell.env("PATH", path).env("HOME", "/nonexistent").run().ends_with(0);
    Tool::new("tar").args(["x", "-f", "out.tar"]).within_folder(folder.path()).run().ends_with(0);
    let built = Tool::new(folder.path().join("out/hello")).run().ends_with(0);
    assert_eq!(built.out(), "built there");
}

#[test]
fn input_of_any_bytes_arrives_whole_and_its_digest_is_on_record() {
    let stack = Stack::shared();
    let size = usize::try_from(scale::bytes(48 << 20)).expect("fits");
    let input: Vec<u8> = (0..size).map(|index| ((index * 2_654_435_761) >> 13) as u8).collect();
    let run = stack
        .airlock("alice")
        .args(["run", "--stdin", "--name", "large-input", "--", "sha256sum"])
        .stdin(input.clone());
    let run = run.run().ends_with(0);
    assert_eq!(run.out(), format!("{}  -", sha256(&input)));
    let job = stack.airlock("alice").args(["status", "large-input", "--format", "json"]).run().json();
    assert_eq!(job["input"]["bytes"], size, "{job}");
    assert_eq!(job["input"]["sha256"], sha256(&input), "{job}");
}

#[test]
fn input_is_a_read_only_file_that_can_be_read_again() {
    let stack = Stack::shared();
    let script = "cat; [ -f /dev/stdin ] && echo file; (echo x >&0) 2>/dev/null && echo written; \
                  (echo x > /proc/self/fd/0) 2>/dev/null && echo opened; cat /proc/self/fd/0";
    let run = stack.airlock("alice").args(["run", "--stdin"]).sh(script).stdin("text\n").run().ends_with(0);
    assert_eq!(run.out(), "text\nfile\ntext", "{run}");
}

#[test]
fn empty_input_ends_at_once() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").args(["run", "--stdin", "--", "wc", "-c"]).run().ends_with(0);
    assert_eq!(run.out(), "0", "{run}");
}

#[test]
fn without_the_option_input_is_left_for_the_rest_of_the_script() {
    let stack = Stack::shared();
    let line = "while read -r word; do airlock run -- cat; echo \"$word\"; done";
    let shell = Tool::new("bash").args(["-c", line]).stdin("one\ntwo\nthree\n");
    let shell = shell
        .env("AIRLOCK_SERVER", stack.address())
        .env("AIRLOCK_CERTS", stack.certs())
        .env("AIRLOCK_IDENTITY", "alice");
    let path = format!("{}:/usr/bin:/bin", stack.path("bin").display());
    let shell = shell.env("PATH", path).env("HOME", "/nonexistent").run().ends_with(0);
    assert_eq!((shell.out().as_str(), shell.err().as_str()), ("one\ntwo\nthree", ""), "{shell}");
}

#[test]
fn a_local_script_runs_there_with_its_arguments() {
    let stack = Stack::shared();
    let run = stack
        .airlock("alice")
        .args(["run", "--stdin", "--", "bash", "-s", "--", "arg1"])
        .stdin("echo \"got $1\"\nexit 6\n");
    assert_eq!(run.run().ends_with(6).out(), "got arg1");
}

#[test]
fn input_above_the_profiles_bound_is_refused_and_nothing_starts() {
    let stack = StackOptions::new().edit("executor.toml", "{ max = \"256M\" }", "{ max = \"1M\" }").start();
    let fits =
        stack.airlock("alice").args(["run", "--stdin", "--", "wc", "-c"]).stdin(vec![0; 1 << 20]).run().ends_with(0);
    assert_eq!(fits.out(), (1 << 20).to_string());
    let above = stack
        .airlock("alice")
        .args(["run", "--stdin", "--name", "too-much", "--", "wc", "-c"])
        .stdin(vec![0; (1 << 20) + 1]);
    above.run().says(125, &["input", "profile", "1"]);
    assert_eq!(stack.airlock("alice").args(["list", "--name", "too-much", "-q"]).run().ends_with(0).out(), "");
}

#[test]
fn a_request_repeated_with_other_input_is_another_request() {
    let stack = Stack::shared();
    let ask = |input: &str| {
        let run = stack
            .airlock("alice")
            .args(["start", "--format", "json", "--request-id", "input-twice", "--stdin", "--", "cat"]);
        run.stdin(input).run()
    };
    let first = ask("one").ends_with(0).json();
    assert_eq!(ask("one").ends_with(0).json()["job_id"], first["job_id"]);
    let other = ask("two").ends_with(125);
    assert!(other.err().contains("ALREADY_EXISTS"), "{other}");
}

#[test]
fn interactive_options_of_other_tools_are_answered_with_what_to_write() {
    let stack = Stack::shared();
    for option in ["-i", "-t", "-it"] {
        let run = stack.airlock("alice").args(["run", option, "--", "bash"]).run();
        assert_eq!(run.code(), Some(125), "{run}");
        assert!(run.err().contains("--stdin") || run.err().contains("terminal"), "{run}");
    }
}

#[test]
fn on_a_terminal_input_that_is_not_sent_is_pointed_out() {
    let stack = Stack::shared();
    let airlock = stack.path("bin/airlock");
    // A file: a pipe's other end may not have written yet when the client looks.
    let line = format!("{} -i alice run -- cat < {}", airlock.display(), stack.path("env").display());
    let shell = Tool::new("sh").args(["-c", &line]);
    let shell =
        shell.env("AIRLOCK_SERVER", stack.address()).env("AIRLOCK_CERTS", stack.certs()).env("HOME", "/nonexistent");
    let shell = shell.on_a_terminal().run().ends_with(0);
    assert!(shell.out().contains("standard input is not sent; use --stdin"), "{shell}");
}

//! The job's side: this program again, started by Airlock as some user of the pool.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, getpid, getuid, kill_process, setsid};

use crate::script::{Kind, Last, Piece, Script, Step, To};

/// `job KIND SEED TRUTH`, `write STREAM SEED LENGTH text|bytes` or `linger`. Returns the exit code.
pub fn act(words: &[String]) -> i32 {
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["job", kind, seed, truth] => match (Kind::of(kind), seed.parse()) {
            (Some(kind), Ok(seed)) => job(kind, seed, Path::new(truth)),
            _ => Err(format!("no kind '{kind}' or no seed '{seed}'")),
        },
        ["write", stream, seed, length, form] => match (seed.parse(), length.parse()) {
            (Ok(seed), Ok(length)) => {
                let to = if stream == "stdout" { To::Stdout } else { To::Stderr };
                write(&Piece { to, seed, length, text: form == "text" }).map(|()| 0)
            }
            _ => Err(format!("no numbers: {seed} {length}")),
        },
        ["linger"] => linger(),
        _ => Err(format!("unknown words {words:?}")),
    };
    match result {
        Ok(code) => code,
        Err(why) => {
            note(Path::new("/dev/stderr"), &why);
            250
        }
    }
}

fn job(kind: Kind, seed: u64, truth: &Path) -> Result<i32, String> {
    // A name of its own for every start: a second one is another user, who could not write to the file of the first.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let began = truth.join(format!("{seed:016x}.began.{}.{now}", getuid().as_raw()));
    OpenOptions::new().write(true).create_new(true).open(&began).map_err(|e| format!("{}: {e}", began.display()))?;
    if seed.is_multiple_of(2) {
        leave_in_directory()?;
    }
    if kind == Kind::Victim {
        for n in 0.. {
            Script::of_victim(seed, n).into_iter().try_for_each(step)?;
        }
    }
    let script = Script::of(kind, seed);
    for one in script.steps {
        if matches!(one, Step::TakeMemory) {
            mark_written(truth, seed)?;
        }
        step(one)?;
    }
    mark_written(truth, seed)?;
    match script.last {
        Last::Exit(code) => Ok(code),
        Last::Signal(number) => {
            let signal = Signal::from_named_raw(number).ok_or("no such signal")?;
            kill_process(getpid(), signal).map_err(|e| e.to_string())?;
            wait_for_ever()
        }
        Last::Wait => wait_for_ever(),
    }
}

// For whoever empties the job's directory.
fn leave_in_directory() -> Result<(), String> {
    let made = std::fs::create_dir_all("left/behind").and_then(|()| std::fs::write("left/behind/file", "by a job"));
    made.map_err(|error| format!("the job's directory: {error}"))
}

fn mark_written(truth: &Path, seed: u64) -> Result<(), String> {
    let written = truth.join(format!("{seed:016x}.written"));
    OpenOptions::new().write(true).create(true).truncate(false).open(&written).map(drop).map_err(|e| e.to_string())
}

fn step(step: Step) -> Result<(), String> {
    match step {
        Step::Write(piece) => write(&piece),
        Step::WriteByChild(Piece { to, seed, length, text }) => {
            let stream = if to == To::Stdout { "stdout" } else { "stderr" };
            let form = if text { "text" } else { "bytes" };
            let mut child = myself()?;
            let status = child.args(["write", stream, &seed.to_string(), &length.to_string(), form]).status();
            match status {
                Ok(status) if status.success() => Ok(()),
                other => Err(format!("the child that writes: {other:?}")),
            }
        }
        Step::Copy(_) => {
            let mut out = std::io::stdout().lock();
            let copied = std::io::copy(&mut std::io::stdin().lock(), &mut out).and_then(|_| out.flush());
            copied.map_err(|e| format!("copying standard input: {e}"))
        }
        Step::Pause(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        }
        Step::LeaveBehind => myself()?.arg("linger").spawn().map(drop).map_err(|e| e.to_string()),
        Step::TakeMemory => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
    }
}

fn myself() -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.arg("act");
    Ok(command)
}

fn write(piece: &Piece) -> Result<(), String> {
    let bytes = piece.bytes();
    match piece.to {
        To::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        }
        To::Stderr => std::io::stderr().lock().write_all(&bytes),
    }
    .map_err(|e| format!("writing {} bytes: {e}", bytes.len()))
}

fn linger() -> Result<i32, String> {
    setsid().map_err(|e| e.to_string())?;
    wait_for_ever()
}

fn wait_for_ever() -> Result<i32, String> {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn note(file: &Path, why: &str) {
    // It may be the streams that are in trouble; the exit code says so all the same.
    drop(OpenOptions::new().write(true).open(file).and_then(|mut file| writeln!(file, "storm: {why}")));
}

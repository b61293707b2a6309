//! Why a command never ran, as a sentence. The executor sends numbers and facts; what they mean to people is said here.

use std::io;

use ipc_protocol::{StartError, Step};

use crate::echo::shown;

// Errors of exec, by their numbers on Linux.
const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;
// What a file's mode says of its kind.
const TYPE: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;

/// What was asked for, as far as a sentence names it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    /// The command's first word.
    pub program: &'a str,
    /// Name of the profile.
    pub profile: &'a str,
    /// Where the profile looks up a bare word.
    pub path: &'a str,
    /// Somebody asked the job to stop.
    pub stopped: bool,
}

/// One sentence: what failed, with which value, what to do.
pub(super) fn sentence(error: &StartError, asked: Asked<'_>) -> String {
    let Asked { program, profile, path, stopped } = asked;
    // A word of a command may be as long as all of them together, and the sentence is kept with the record.
    let program = shown(program);
    let StartError { step, errno, mode, owner, uid, ref detail } = *error;
    let why = || io::Error::from_raw_os_error(errno).to_string();
    let (name, found) = (step.name(), mode != 0);
    match (step, errno) {
        (_, 0) if stopped => "the job was stopped before its command ran".into(),
        _ if !detail.is_empty() => format!("the job could not be started: step {name}: {detail}"),
        (_, 0) => {
            format!("the command's process was killed at step {name} before it ran; is its memory limit too small?")
        }
        (Step::Exec, ENOENT | ENOTDIR) if found => {
            format!("{program} exists, but the interpreter that it names does not; its first line says which")
        }
        (Step::Exec, ENOENT | ENOTDIR) if program.starts_with('/') => {
            format!("no program '{program}' (profile {profile})")
        }
        (Step::Exec, ENOENT | ENOTDIR) if program.contains('/') => {
            format!("no program '{program}' in the job's directory; airlock help files says how files get there")
        }
        (Step::Exec, ENOENT | ENOTDIR) => {
            let line = format!("; for a shell line use: airlock run -- sh -c '{program}'");
            let line = if program.contains(' ') { line.as_str() } else { "" };
            format!("no program '{program}' in {path} (profile {profile}){line}")
        }
        (Step::Exec, EACCES) if mode & TYPE == FOLDER => format!("{program} is a directory and no program"),
        (Step::Exec, EACCES) if found => {
            let mode = mode & 0o7777;
            let owner = if owner == 0 { "root".to_owned() } else { format!("uid {owner}") };
            format!("{program} exists but is not executable for uid {uid} (mode {mode:04o}, owner {owner})")
        }
        (Step::Exec, EACCES) => {
            format!(
                "{program} cannot be executed by uid {uid}: permission denied on the way to it; its directories must let that \
                 user through"
            )
        }
        (Step::Exec, ENOEXEC) => {
            format!("{program} is not a program for this host; a script needs a first line such as #!/bin/sh")
        }
        (Step::Exec, _) => format!("{program} cannot be executed: {}", why()),
        (Step::Chdir, _) => {
            format!(
                "the job's directory cannot be entered by uid {uid}: {}; name another (--cwd) or ask its owner",
                why()
            )
        }
        _ => format!("the job could not be started: step {} ({name}): {}", step.number(), why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { program: "mkae test", profile: "standard", path: "/usr/bin:/bin", stopped: false };

    fn said(step: Step, errno: i32, mode: u32, asked: Asked<'_>) -> String {
        sentence(&StartError { mode, owner: 1000, uid: 1_900_000_412, ..StartError::new(step, errno) }, asked)
    }

    #[test]
    fn a_shell_line_in_one_word_is_recognised() {
        assert_eq!(
            said(Step::Exec, ENOENT, 0, ASKED),
            "no program 'mkae test' in /usr/bin:/bin (profile standard); for a shell line use: airlock run -- sh -c 'mkae test'"
        );
    }

    #[test]
    fn not_there_not_executable_and_no_interpreter_are_told_apart() {
        let asked = Asked { program: "/srv/run.sh", ..ASKED };
        assert_eq!(said(Step::Exec, ENOENT, 0, asked), "no program '/srv/run.sh' (profile standard)");
        assert_eq!(
            said(Step::Exec, ENOENT, 0, Asked { program: "./run.sh", ..ASKED }),
            "no program './run.sh' in the job's directory; airlock help files says how files get there"
        );
        assert_eq!(
            said(Step::Exec, EACCES, 0o100_640, asked),
            "/srv/run.sh exists but is not executable for uid 1900000412 (mode 0640, owner uid 1000)"
        );
        assert_eq!(said(Step::Exec, EACCES, 0o040_755, asked), "/srv/run.sh is a directory and no program");
        assert_eq!(
            said(Step::Exec, EACCES, 0, asked),
            "/srv/run.sh cannot be executed by uid 1900000412: permission denied on the way to it; its directories must let \
             that user through"
        );
        assert_eq!(
            said(Step::Exec, ENOENT, 0o100_755, asked),
            "/srv/run.sh exists, but the interpreter that it names does not; its first line says which"
        );
        assert!(said(Step::Exec, ENOEXEC, 0o100_755, asked).contains("#!/bin/sh"));
    }

    #[test]
    fn a_death_before_the_exec_is_a_stop_only_when_somebody_asked_for_one() {
        assert!(said(Step::Birth, 0, 0, ASKED).contains("memory limit too small"));
        let stopped = Asked { stopped: true, ..ASKED };
        assert_eq!(said(Step::Birth, 0, 0, stopped), "the job was stopped before its command ran");
    }

    #[test]
    fn every_step_is_named_and_what_is_known_of_it_is_said() {
        assert!(said(Step::OomScore, EACCES, 0, ASKED).contains("step 13 (oom-score): "));
        let detail = "memory.max does not read back as '4096'".to_owned();
        let error = StartError { detail, ..StartError::new(Step::Limits, 0) };
        assert_eq!(
            sentence(&error, ASKED),
            "the job could not be started: step limits: memory.max does not read back as '4096'"
        );
    }
}

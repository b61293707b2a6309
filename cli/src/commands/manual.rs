//! `airlock help`, `completions` and `man`: what the program says about itself.

use crate::{
    args::{Cli, CompletionsArgs, HelpArgs, ManArgs},
    failure::{DONE, Ending, Failure},
    sentences::plain,
    talk::data,
};
use clap::CommandFactory;
use std::fs;

const FILES: &str = "\
Files in, results out, no shared disk

A job runs in a fresh and empty directory of its own, which is removed when the job has ended. Files travel as
standard input and output:

    tar c src | airlock run --stdin -- sh -c 'tar x && make -C src >&2 && tar c -C src out' > out.tar

The input is read to its end before the job starts (the profile bounds it: airlock whoami), and the job gets it as a
read-only file. What the job writes to its standard output comes back byte by byte; here the compiler's messages go to
standard error, so that they do not get between the bytes of the archive.

A local script, run there:

    airlock run --stdin -- bash -s -- arg1 < build.sh

A line for a shell is said openly:

    airlock run -- sh -c 'make && make install'

Where the operator allows a directory of the host to your profile: airlock run --cwd /srv/src make
Variables: --env NAME=VALUE, --env NAME (its value here), --env-file FILE
";

const JSON: &str = r#"Answers for programs: --format json, or AIRLOCK_FORMAT=json

Answers are on standard output, one object a line, and so is each error on standard error:

    {"error":{"code":"INVALID_ARGUMENT","field":"limits.memory","message":"…","hint":"…","request_id":"…"}}

code is that of gRPC, message says what failed, hint what to do; field, hint and request_id may be absent.
Exit statuses are those of text (airlock --help).

    status, list, wait, stop, signal, archive    the job, as message Job of airlock/v1/airlock.proto names it
    run, attach                                  the job's own bytes; the job itself: --result FILE
    start, run -d                                {"job_id":"…"}
    delete                                       {"job_id":"…","deleted":true}; false with --dry-run
    logs                                         {"job_id":"…","stream":"stdout","seq":0,"offset":0,"time":"…","text":"…"}
                                                 with "base64" instead of "text" where the bytes are not UTF-8,
                                                 or {"job_id":"…","gap":{"from":0,"to":9,"reason":"…"}}
    whoami                                       as message WhoAmIResponse; "default" marks the profile you get unasked
    doctor                                       {"failed":0,"warnings":0,"checks":[{"verdict":"ok","check":"…","message":"…"}]}
                                                 verdict is ok, warn or FAIL; "hint" is what to do
    context                                      {"name":"…","current":true,"server":"…"}; remove: {"name":"…","removed":true}
    certs                                        the certificate, request, authority or list that was made, with its "file"
    -v, on standard error                        {"settings":{"server":{"value":"…","source":"…"},…}}

Numbers are numbers, also 64-bit ones. Times are RFC 3339 in UTC. What does not apply is left out, never null.
A job's state is one of: queued running stopping finished failed stopped timed-out out-of-memory error lost.
A field once published keeps its name and meaning; new ones may come.
"#;

const TOPICS: [(&str, &str); 2] = [("files", FILES), ("json", JSON)];

/// Explains a command or a topic.
///
/// # Errors
/// A topic that there is not.
pub fn help(args: &HelpArgs) -> Result<Ending, Failure> {
    if let [word] = args.topic.as_slice()
        && let Some((_, text)) = TOPICS.iter().find(|(topic, _)| topic == word)
    {
        data(text.trim_end())?;
        return Ok(DONE);
    }
    let mut command = Cli::command();
    command.build();
    let mut chosen = &mut command;
    for word in &args.topic {
        chosen = chosen.find_subcommand_mut(word).ok_or_else(|| {
            Failure::usage(format!("no help on '{}'", args.topic.join(" ")))
                .hint("airlock --help lists the commands; other topics are: files, json")
        })?;
    }
    data(chosen.render_long_help().to_string().trim_end())?;
    Ok(DONE)
}

/// Prints completions for a shell.
///
/// # Errors
/// When they cannot be written.
pub fn completions(args: &CompletionsArgs) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "airlock", &mut script);
    data(String::from_utf8_lossy(&script).trim_end())?;
    Ok(DONE)
}

/// Writes manual pages, one for each command.
///
/// # Errors
/// A folder that cannot be made or written.
pub fn man(args: &ManArgs) -> Result<Ending, Failure> {
    let written =
        fs::create_dir_all(&args.folder).and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder));
    written.map_err(|error| {
        Failure::new("FAILED_PRECONDITION", format!("cannot write into {}: {}", args.folder.display(), plain(&error)))
    })?;
    Ok(DONE)
}

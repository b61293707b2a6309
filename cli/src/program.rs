//! From the words of the command line to an ending.

use crate::{
    args::{Cli, Command, Format},
    commands::{
        archive, attach, certs, context, delete, doctor, list, logs, manual, run, signal, status, stop, wait, whoami,
    },
    failure::{DONE, Ending, Failure, OWN_TROUBLE},
    request::refuse_options_of_other_tools,
    sentences::plain,
    session::Session,
    settings, talk, usage,
};
use clap::{Parser, error::ErrorKind};
use std::env;

/// Does what the command line says.
pub fn run() -> Ending {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let verbose = cli.global.verbose;
    let format = match settings::format(cli.global.format) {
        Ok(format) => format,
        Err(failure) => {
            talk::report(&failure, Format::Text, verbose);
            return Ending::Status(failure.exit_status());
        }
    };
    match dispatch(&cli, format) {
        Ok(ending) => ending,
        Err(failure) => {
            talk::report(&failure, format, verbose);
            Ending::Status(failure.exit_status())
        }
    }
}

fn dispatch(cli: &Cli, format: Format) -> Result<Ending, Failure> {
    match &cli.command {
        Command::Certs(args) => certs::certs(&cli.global, args, format),
        Command::Context(args) => context::context(&cli.global, args, format),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::man(args),
        Command::Help(args) => manual::help(args),
        _ => converse(cli, format),
    }
}

fn converse(cli: &Cli, format: Format) -> Result<Ending, Failure> {
    // One thread: a call waits for the network, and starting more would cost more than the call.
    // It alternates between the connection and the command, so that what the connection brings is shown at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("INTERNAL", format!("cannot start the runtime: {}", plain(&error))))?;
    let result = runtime.block_on(async {
        if let Command::Doctor = &cli.command {
            return doctor::doctor(&cli.global, format).await;
        }
        match &cli.command {
            Command::Run(args) => refuse_options_of_other_tools("run", &args.job)?,
            Command::Start(args) => refuse_options_of_other_tools("start", &args.job)?,
            _ => {}
        }
        let session = Session::open(&cli.global, format)?;
        let session = &session;
        match &cli.command {
            Command::Run(args) => run::run(session, args).await,
            Command::Start(args) => run::start(session, args).await,
            Command::Attach(args) => attach::attach(session, args).await,
            Command::Logs(args) => logs::logs(session, args).await,
            Command::Status(args) => status::status(session, args).await,
            Command::List(args) => list::list(session, args).await,
            Command::Stop(args) => stop::stop(session, args).await,
            Command::Signal(args) => signal::signal(session, args).await,
            Command::Wait(args) => wait::wait(session, args).await,
            Command::Delete(args) => delete::delete(session, args).await,
            Command::Archive(args) => archive::archive(session, args).await,
            Command::Whoami => whoami::whoami(session).await,
            // Answered before there was a session.
            Command::Doctor
            | Command::Certs(_)
            | Command::Context(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Help(_) => Ok(DONE),
        }
    });
    // A thread may still wait for standard input or for a reader of ours; nobody waits for it.
    runtime.shutdown_background();
    result
}

fn not_understood(error: &clap::Error) -> Ending {
    let failure = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match talk::data(error.render().to_string().trim_end()) {
            Ok(()) => return DONE,
            Err(failure) => failure,
        },
        _ => usage::refused(error),
    };
    let format = if wants_json() { Format::Json } else { Format::Text };
    talk::report(&failure, format, false);
    Ending::Status(OWN_TROUBLE)
}

// The options could not be parsed, so they are looked at as they stand.
fn wants_json() -> bool {
    let words: Vec<_> = env::args_os().skip(1).take_while(|word| word != "--").collect();
    let option = words.iter().any(|word| word == "--format=json")
        || words.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
    option || env::var_os("AIRLOCK_FORMAT").is_some_and(|format| format == "json")
}

//! The program `airlock-frontend`: arguments, the order in which things are given up and taken up, exit status.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rustix::process::{getpriority_process, setpriority_process};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, DEFAULT_PATH, FileError, LogFormat};
use crate::confine::{ConfineError, Confinement, confine, refuse_root};
use crate::policy::Policy;
use crate::server::{Frontend, ServeError};
use crate::tls::{TlsError, TlsSetup};

/// The network side of Airlock: authenticates clients, keeps records and output, asks the executor.
#[derive(Debug, Parser)]
#[command(name = "airlock-frontend", version = crate::BUILD)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Say what would work and what not, and end; exit status 1 when something would not.
    #[arg(long)]
    check: bool,
}

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("{}: {source}", path.display())]
    StateDir { path: PathBuf, source: io::Error },
    #[error("log = \"{filter}\" is not a filter such as \"info\": {why}")]
    LogFilter { filter: String, why: String },
    #[error("no runtime: {0}")]
    Runtime(io::Error),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.check { return check(&arguments) } else { run(&arguments) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airlock-frontend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    refuse_root()?;
    let config = Config::load(&arguments.config)?;
    start_journal(&config)?;
    let policy = Policy::load(config.policy())?;
    let tls = TlsSetup::load(config.tls())?;
    for warning in &tls.warnings {
        tracing::warn!("{warning}");
    }
    make_state_dir(&config)?;
    // Before the confinement, which allows no further address.
    let address = config.listen();
    let listener = TcpListener::bind(address).map_err(|source| ProgramError::Listen { address, source })?;
    // Asked now: afterwards the files that tell are out of reach.
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, |n| n.get().max(WORKERS_MIN));
    match confine(&config)? {
        Confinement::Full => tracing::info!("confined to its own folders"),
        Confinement::Partial => tracing::warn!("confined in part: this kernel knows only some of Landlock"),
        Confinement::None => tracing::warn!("not confined: this kernel has no Landlock"),
    }
    let own = getpriority_process(None).unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        // Where this is not allowed, followers take more from the jobs that they follow; nothing else.
        .on_thread_start(move || _ = setpriority_process(None, own.saturating_add(GIVE_WAY)))
        .build()
        .map_err(ProgramError::Runtime)?;
    let frontend = Arc::new(Frontend::new(config, tls, policy));
    // By this thread: those that take in output and write records inherit its niceness, not that of the runtime's.
    let context = runtime.enter();
    let opened = frontend.open()?;
    drop(context);
    let served = runtime.block_on(frontend.serve(listener, opened));
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(served?)
}

/// By how much threads that serve clients are nicer than the one that takes in what jobs write. With more followers than the
/// processors can serve at full speed these threads are always busy; as equals they kept that one waiting for about half of the time, which
/// cost the job a third of its speed (`bench/README.md`).
const GIVE_WAY: i32 = 10;
/// With fewer, one follower's read from a cold disk would hold up everybody.
const WORKERS_MIN: usize = 2;

fn start_journal(config: &Config) -> Result<(), ProgramError> {
    let filter = EnvFilter::try_new(config.log())
        .map_err(|e| ProgramError::LogFilter { filter: config.log().to_owned(), why: e.to_string() })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.log_format() {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

fn make_state_dir(config: &Config) -> Result<(), ProgramError> {
    let path = config.state_dir();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ProgramError::StateDir { path: path.to_owned(), source })
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: stop it, or change listen in frontend.toml",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE: use one above",
        _ => "",
    }
}

fn policy_line(policy: &Policy) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let rules = match policy.rules() {
        0 => "no rules: the certificate's role decides".to_owned(),
        n => format!("{}, {}", count(n, "rule"), count(policy.groups(), "group")),
    };
    format!("visibility {}, {rules}", policy.visibility().as_str())
}

/// Only a frontend that serves may ask the executor what it has.
fn profiles_line(policy: &Policy) -> Option<String> {
    let names: BTreeSet<&str> = policy.profiles().map(|(_, name)| name).collect();
    let list = names.iter().map(|name| name.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
    (!names.is_empty())
        .then(|| format!("rules name {list}; airlock doctor tells an admin whether the executor has them"))
}

/// Prints one line per finding.
fn check(arguments: &Arguments) -> ExitCode {
    let mut failed = 0;
    let mut say = |word: &str, what: &str, text: String| {
        failed += usize::from(word == "FAIL");
        println!("{word:<5} {what:<13} {text}");
    };
    match refuse_root() {
        Ok(()) => say("ok", "user", format!("uid {}", rustix::process::getuid().as_raw())),
        Err(_) => say("warn", "user", "checked as root; run as root, it refuses to serve".into()),
    }
    match Config::load(&arguments.config) {
        Err(error) => say("FAIL", "config", error.to_string()),
        Ok(config) => {
            say("ok", "config", arguments.config.display().to_string());
            match Policy::load(config.policy()) {
                Ok(policy) => {
                    say("ok", "policy", policy_line(&policy));
                    if let Some(line) = profiles_line(&policy) {
                        say("ok", "profiles", line);
                    }
                }
                Err(error) => say("FAIL", "policy", error.to_string()),
            }
            match TlsSetup::load(config.tls()) {
                Ok(setup) => {
                    say("ok", "tls", "certificate, key, authorities and revocation lists belong together".into());
                    setup.warnings.into_iter().for_each(|warning| say("warn", "tls", warning));
                }
                Err(error) => say("FAIL", "tls", error.to_string()),
            }
            let socket = config.executor_socket();
            match UnixStream::connect(socket) {
                Ok(_) => say("ok", "executor", format!("{} answers", socket.display())),
                Err(error) => say("warn", "executor", format!("{}: {error}", socket.display())),
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

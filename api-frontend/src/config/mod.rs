//! The frontend's configuration file.

mod toml_file;
mod units;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use toml_file::{FileError, parse as parse_toml, read as read_toml, read_text};
pub use units::{Cores, Size, Span, UnitError, duration_words, roughly};

/// Where the configuration stands when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/airlock/frontend.toml";

/// The configuration, complete and checked. Read once; only TLS files and the policy are read again on reload.
#[derive(Debug, Clone)]
pub struct Config {
    listen: SocketAddr,
    host: String,
    executor_socket: PathBuf,
    state_dir: PathBuf,
    policy: Option<PathBuf>,
    log: String,
    log_format: LogFormat,
    tls: TlsFiles,
    limits: ServerLimits,
}

/// How the journal's lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// Paths of the PEM files, read at start and on reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The server's certificate and what leads from it to its authority.
    pub certificate: PathBuf,
    /// Its private key; refused when others may read it.
    pub key: PathBuf,
    /// The authorities whose client certificates are accepted.
    pub client_ca: PathBuf,
    /// Revocation lists of these authorities.
    pub crl: Option<PathBuf>,
}

/// What clients together may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimits {
    connections: NonZeroUsize,
    connections_per_identity: Option<NonZeroUsize>,
    handshakes: NonZeroUsize,
    handshake_seconds: NonZeroUsize,
    streams_per_connection: NonZeroUsize,
    message_bytes: Size,
}

impl Default for ServerLimits {
    fn default() -> Self {
        let number = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Self {
            connections: number(1024),
            connections_per_identity: None,
            handshakes: number(64),
            handshake_seconds: number(5),
            streams_per_connection: number(256),
            message_bytes: Size::from_bytes(4 << 20),
        }
    }
}

impl ServerLimits {
    /// Most open connections, and as many whose handshake is not over; further ones are told so and closed.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Most open connections of one identity, whatever its certificates, and most handshakes under way from one address. Three
    /// quarters of all when the file does not say: one that follows a thousand jobs needs a thousand, and others need some left.
    pub fn connections_per_identity(&self) -> usize {
        self.connections_per_identity.map_or_else(|| three_quarters(self.connections()), NonZeroUsize::get)
    }

    /// Most handshakes worked on at a time; further ones wait for their turn.
    pub fn handshakes(&self) -> usize {
        self.handshakes.get()
    }

    /// Most of them from one address: who begins handshakes and never ends them holds up others from there alone.
    pub fn handshakes_per_address(&self) -> usize {
        three_quarters(self.handshakes())
    }

    /// How long a handshake may take.
    pub fn handshake_deadline(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds.get() as u64)
    }

    /// Most calls at a time on one connection.
    pub fn streams_per_connection(&self) -> u32 {
        u32::try_from(self.streams_per_connection.get()).unwrap_or(u32::MAX)
    }

    /// Longest message that a client may send, in bytes.
    pub fn message_bytes(&self) -> usize {
        usize::try_from(self.message_bytes.bytes()).unwrap_or(usize::MAX)
    }
}

fn three_quarters(all: usize) -> usize {
    (all / 4 * 3 + all % 4 * 3 / 4).max(1)
}

impl Config {
    /// Reads the file. Blocks. The error names file, line and the nearest key.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Ok(read_toml::<ConfigFile>(path)?.into())
    }

    /// Parses the text of a file that stands in `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        Ok(parse_toml::<ConfigFile>(path, text)?.into())
    }

    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The server's own name, shown to people.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the executor listens.
    pub fn executor_socket(&self) -> &Path {
        &self.executor_socket
    }

    /// The folder for records, output and input.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The policy file, if there is one.
    pub fn policy(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// The filter of the journal, such as "info" or "info,api_frontend=debug".
    pub fn log(&self) -> &str {
        &self.log
    }

    /// How the journal's lines look.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// Certificates and keys.
    pub fn tls(&self) -> &TlsFiles {
        &self.tls
    }

    /// What clients may take up.
    pub fn limits(&self) -> &ServerLimits {
        &self.limits
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default = "default_listen")]
    listen: SocketAddr,
    #[serde(default = "default_host")]
    host: String,
    #[serde(default = "default_socket")]
    executor_socket: PathBuf,
    #[serde(default = "default_state")]
    state_dir: PathBuf,
    policy: Option<PathBuf>,
    #[serde(default = "default_log")]
    log: String,
    #[serde(default)]
    log_format: LogFormat,
    tls: TlsFiles,
    #[serde(default)]
    limits: ServerLimits,
}

impl From<ConfigFile> for Config {
    fn from(file: ConfigFile) -> Self {
        let ConfigFile { listen, host, executor_socket, state_dir, policy, log, log_format, tls, limits } = file;
        // The usual place counts only where a file stands there; a path that was written down must exist.
        let policy = policy.or_else(|| Some(PathBuf::from(DEFAULT_POLICY)).filter(|p| p.exists()));
        Self { listen, host, executor_socket, state_dir, policy, log, log_format, tls, limits }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 7443))
}

fn default_host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

fn default_socket() -> PathBuf {
    "/run/airlock/executor.sock".into()
}

fn default_state() -> PathBuf {
    "/var/lib/airlock".into()
}

fn default_log() -> String {
    "info".into()
}

const DEFAULT_POLICY: &str = "/etc/airlock/policy.toml";

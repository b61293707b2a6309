//! Opening a connection: TCP, TLS, and an understandable reason when one of them fails.

use crate::{address::ServerAddress, turns::InTurns};
use hyper_util::rt::TokioIo;
use rustls::{AlertDescription, CertificateError, ClientConfig, pki_types::ServerName};
use std::{
    error::Error as StdError,
    fmt,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// TCP and TLS handshakes together may take this long.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a server may take to say what it dislikes about a certificate.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Why no connection came about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// The name is unknown to the resolver.
    #[error("no address is known for {server} ({reason})")]
    Resolve {
        /// The server's address.
        server: String,
        /// The resolver's words.
        reason: String,
    },
    /// Nothing listens there, at least for the moment.
    #[error("cannot reach {server}: connection refused, nothing listens there")]
    NotListening {
        /// The server's address.
        server: String,
    },
    /// The connection was closed before the TLS handshake had ended, without a word.
    #[error("{server} closed the connection during the handshake")]
    Closed {
        /// The server's address.
        server: String,
    },
    /// TCP failed: the network does not lead there.
    #[error("cannot reach {server}: {reason}")]
    Connect {
        /// The server's address.
        server: String,
        /// The system's words.
        reason: String,
    },
    /// No answer in time.
    #[error("{server} does not answer within {} s", DIAL_DEADLINE.as_secs())]
    Silent {
        /// The server's address.
        server: String,
    },
    /// The server's certificate does not carry the expected name.
    #[error("cannot trust {server}: its certificate names {presented}, not {expected}")]
    WrongName {
        /// The server's address.
        server: String,
        /// The names in the certificate, joined by commas.
        presented: String,
        /// The name looked for.
        expected: String,
    },
    /// The server's certificate is not from a trusted authority, is expired, or otherwise bad.
    #[error("cannot trust {server}: {reason}")]
    Untrusted {
        /// The server's address.
        server: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server ended the handshake itself.
    #[error("{server} refused the connection: {refusal}")]
    Refused {
        /// The server's address.
        server: String,
        /// Which alert.
        refusal: TlsRefusal,
    },
    /// Something answers, but not with TLS 1.3.
    #[error("{server} does not speak TLS 1.3: {reason}")]
    NotTls {
        /// The server's address.
        server: String,
        /// What went wrong.
        reason: String,
    },
}

/// The server's TLS alert, as far as it says something about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRefusal {
    /// The client's certificate is on the revocation list.
    Revoked,
    /// The client's certificate is past its date (or not yet valid).
    Expired,
    /// The server does not know the authority of the client's certificate.
    UnknownAuthority,
    /// The server saw no certificate.
    CertificateRequired,
    /// The server has no TLS version in common with this client.
    ProtocolVersion,
    /// The client's certificate is not one for this use, or bad in another way.
    BadCertificate,
    /// Any other alert, by its TLS name.
    Other(String),
}

impl DialError {
    /// True when a later attempt may succeed without anybody changing a name, file or certificate.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            DialError::Resolve { .. }
                | DialError::NotListening { .. }
                | DialError::Closed { .. }
                | DialError::Connect { .. }
                | DialError::Silent { .. }
                | DialError::NotTls { .. }
        )
    }
}

impl fmt::Display for TlsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsRefusal::Revoked => "certificate revoked",
            TlsRefusal::Expired => "certificate expired",
            TlsRefusal::UnknownAuthority => "certificate of an unknown authority",
            TlsRefusal::CertificateRequired => "certificate required",
            TlsRefusal::ProtocolVersion => "no common TLS version",
            TlsRefusal::BadCertificate => "certificate not acceptable",
            TlsRefusal::Other(name) => name,
        })
    }
}

impl TlsRefusal {
    fn from_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRevoked => TlsRefusal::Revoked,
            AlertDescription::CertificateExpired => TlsRefusal::Expired,
            AlertDescription::UnknownCA => TlsRefusal::UnknownAuthority,
            AlertDescription::CertificateRequired => TlsRefusal::CertificateRequired,
            AlertDescription::ProtocolVersion => TlsRefusal::ProtocolVersion,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => TlsRefusal::BadCertificate,
            other => TlsRefusal::Other(format!("{other:?}")),
        }
    }

    /// The alert somewhere among an error's causes.
    pub(crate) fn among_causes(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let tls = error.downcast_ref::<rustls::Error>().or_else(|| tls_error(error.downcast_ref::<io::Error>()?));
            if let Some(rustls::Error::AlertReceived(alert)) = tls {
                return Some(Self::from_alert(*alert));
            }
            // An io::Error's source() is its payload's source, so the payload itself must be looked at, too.
            if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
                && let Some(found) = Self::among_causes(inner)
            {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// Makes connections to one server and remembers why the last attempt failed.
pub(crate) struct Dialer {
    server: ServerAddress,
    name: ServerName<'static>,
    tls: TlsConnector,
    /// Why the last attempt failed. The channel above wraps and re-words errors, so the true one is handed past it.
    failure: Mutex<Option<DialError>>,
    /// Whether the connection in use has brought an answer, which proves that the server accepted the certificate: in
    /// TLS 1.3 the client has finished before the server judges it.
    answered: AtomicBool,
}

impl Dialer {
    pub(crate) fn new(server: ServerAddress, name: ServerName<'static>, tls: Arc<ClientConfig>) -> Self {
        Dialer {
            server,
            name,
            tls: TlsConnector::from(tls),
            failure: Mutex::new(None),
            answered: AtomicBool::new(false),
        }
    }

    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// Dials for the gRPC channel.
    pub(crate) async fn connect(&self) -> Result<TokioIo<TlsStream<InTurns<TcpStream>>>, DialError> {
        self.answered.store(false, Ordering::Relaxed);
        let result = self.dial().await;
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = result.as_ref().err().cloned();
        result.map(TokioIo::new)
    }

    pub(crate) fn take_failure(&self) -> Option<DialError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// One bare TLS connection, to read the alert that a failing call did not show.
    pub(crate) async fn probe(&self) -> Option<TlsRefusal> {
        let mut stream = match self.dial().await {
            Ok(stream) => stream,
            Err(DialError::Refused { refusal, .. }) => return Some(refusal),
            Err(_) => return None,
        };
        // A server that accepts sends its HTTP/2 settings at once, one that refuses sends an alert.
        match timeout(PROBE_DEADLINE, stream.read_u8()).await {
            Ok(Err(error)) => TlsRefusal::among_causes(&error),
            _ => None,
        }
    }

    /// TCP and TLS, without HTTP/2.
    pub(crate) async fn dial(&self) -> Result<TlsStream<InTurns<TcpStream>>, DialError> {
        let server = || self.server.to_string();
        let whole = async {
            let stream = match self.server.loopback() {
                Some(addresses) => TcpStream::connect(&addresses[..]).await,
                None => TcpStream::connect((self.server.host(), self.server.port())).await,
            };
            let stream = stream.map_err(|error| self.tcp_error(&error))?;
            // Failing to switch off Nagle's algorithm costs time and nothing else.
            let _ = stream.set_nodelay(true);
            self.tls.connect(self.name.clone(), InTurns::new(stream)).await.map_err(|error| self.tls_error(&error))
        };
        timeout(DIAL_DEADLINE, whole).await.unwrap_or_else(|_| Err(DialError::Silent { server: server() }))
    }

    fn tcp_error(&self, error: &io::Error) -> DialError {
        let server = self.server.to_string();
        // The resolver's errors carry no errno; the kernel's do.
        if error.raw_os_error().is_none() && error.kind() != ErrorKind::TimedOut {
            let reason = error.to_string();
            let reason = reason.rsplit(": ").next().unwrap_or(&reason).to_owned();
            return DialError::Resolve { server, reason };
        }
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => return DialError::NotListening { server },
            ErrorKind::TimedOut => "no answer".to_owned(),
            _ => plain_reason(error),
        };
        DialError::Connect { server, reason }
    }

    fn tls_error(&self, error: &io::Error) -> DialError {
        let server = self.server.to_string();
        if let Some(refusal) = TlsRefusal::among_causes(error) {
            return DialError::Refused { server, refusal };
        }
        let Some(tls) = tls_error(error) else {
            return match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    DialError::Closed { server }
                }
                _ => DialError::Connect { server, reason: plain_reason(error) },
            };
        };
        match tls {
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
                DialError::WrongName {
                    server,
                    presented: bare_names(presented),
                    expected: expected.to_str().into_owned(),
                }
            }
            rustls::Error::InvalidCertificate(fault) => {
                DialError::Untrusted { server, reason: certificate_fault(fault) }
            }
            rustls::Error::PeerIncompatible(_) => DialError::Refused { server, refusal: TlsRefusal::ProtocolVersion },
            other => DialError::NotTls { server, reason: other.to_string() },
        }
    }
}

/// The system's sentence without Rust's "(os error N)".
pub(crate) fn plain_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

// rustls lists names as `DnsName("build1.example.org")` and `IpAddress(10.0.4.2)`.
fn bare_names(presented: &[String]) -> String {
    let bare = presented.iter().map(|name| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"')
    });
    let names: Vec<&str> = bare.collect();
    if names.is_empty() { "no host at all".to_owned() } else { names.join(", ") }
}

fn certificate_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; compare the clocks".into()
        }
        CertificateError::UnknownIssuer => "its certificate is from an authority that is not in your ca.crt".into(),
        CertificateError::BadSignature => "its certificate's signature does not fit your ca.crt".into(),
        CertificateError::Revoked => "its certificate is revoked".into(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not one for servers".into()
        }
        other => format!("its certificate is not acceptable ({other})"),
    }
}

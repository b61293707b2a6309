//! What can go wrong between this client and a server.

use crate::dial::{DialError, TlsRefusal};
use std::{io, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection came about, and nothing was sent: wrong address, server down, or a server that cannot be trusted.
    #[error(transparent)]
    Unreachable(#[from] DialError),
    /// The server ended the TLS handshake with an alert, which is nearly always about the client's certificate.
    #[error("{server} refused the connection: {refusal}")]
    Refused {
        /// The server's address.
        server: String,
        /// Which alert.
        refusal: TlsRefusal,
    },
    /// The connection broke during a call. Whether the server acted on the request is not known.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The connection broke and did not come back within the time allowed for it.
    #[error("connection lost for {}s: {cause}", .after.as_secs())]
    GaveUp {
        /// For how long reconnecting was tried.
        after: Duration,
        /// The last failure.
        cause: Box<Error>,
    },
    /// The server's own answer; the request was wrong, not allowed, or cannot be served now.
    #[error("{0}")]
    Answer(Box<Answer>),
    /// The answer to a start was lost for longer than allowed: the job may run. Repeating it with the same request id is safe.
    #[error("the answer to the start was lost; repeat it with request id {request_id}")]
    StartUnknown {
        /// The request id to repeat.
        request_id: String,
        /// The last failure.
        cause: Box<Error>,
    },
    /// Local input for the job could not be read; nothing was started.
    #[error("cannot read the input: {0}")]
    Input(#[source] io::Error),
    /// The server's answer lacks what the interface promises. Its version may be too old or too new.
    #[error("the server's answer makes no sense: {0}")]
    Protocol(&'static str),
}

/// An error that the server sent, with the details it gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Answer {
    /// The gRPC code.
    pub code: Code,
    /// One sentence for people.
    pub message: String,
    /// The request's field at fault, such as `limits.memory`.
    pub field: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// A stable upper-case name of the cause.
    pub reason: Option<String>,
    /// Found in both journals on the server.
    pub request_id: Option<String>,
}

impl Error {
    /// True when the same call may succeed on a new connection a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Unreachable(error) => error.is_passing(),
            Error::Lost(_) => true,
            Error::Answer(answer) => answer.code == Code::Unavailable,
            _ => false,
        }
    }

    /// True when it looks as if the server were being restarted: nothing listens, a connection is closed before it is used, or
    /// the server says that it stops. Never true of certificates, names and refusals.
    pub fn may_be_a_restart(&self) -> bool {
        match self {
            Error::Unreachable(error) => matches!(error, DialError::NotListening { .. } | DialError::Closed { .. }),
            Error::Lost(_) => true,
            // One that has no executor has waited for it already.
            Error::Answer(answer) => {
                answer.code == Code::Unavailable && answer.reason.as_deref() != Some("EXECUTOR_AWAY")
            }
            _ => false,
        }
    }
}

impl Answer {
    pub(crate) fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Answer {
            code: status.code(),
            message: status.message().to_owned(),
            field: violation.and_then(|violation| text(&violation.field)),
            hint: violation.and_then(|violation| text(&violation.description)),
            reason: details.error_info().and_then(|info| text(&info.reason)),
            request_id: details.request_info().and_then(|info| text(&info.request_id)),
        }
    }

    /// The code's name as gRPC writes it, such as `INVALID_ARGUMENT`.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

//! Why a command ends without doing what was asked: one sentence for people, one line for programs.

use crate::present::sanitize;
use airlock_client::{AddressError, IdentityError};
use serde::Serialize;
use std::fmt;

/// Airlock's own trouble: usage, refusal, unreachable, not found, lost.
pub const OWN_TROUBLE: u8 = 125;
/// The job goes on without this client.
pub const GOES_ON: u8 = 122;
/// The job ended with 0, but asked-for output is missing.
pub const OUTPUT_MISSING: u8 = 123;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Status(u8),
    /// By this signal itself, so that the shell's loop stops too.
    Signal(i32),
}

/// The ending of a command that did what was asked.
pub const DONE: Ending = Ending::Status(0);

/// An error as it is shown. Boxed, since it is large and rare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    status: u8,
    code: &'static str,
    field: Option<String>,
    message: String,
    hint: Option<String>,
    request_id: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Failure {
    /// A failure with exit status 125. `code` is a gRPC code's name.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Failure(Box::new(Parts { status: OWN_TROUBLE, code, field: None, message, hint: None, request_id: None }))
    }

    /// The user wrote something that cannot be meant.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("INVALID_ARGUMENT", message)
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The request's field at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The id under which the server's journals know the request.
    pub fn request_id(mut self, id: Option<String>) -> Self {
        self.0.request_id = id;
        self
    }

    /// Another exit status than 125.
    pub fn status(mut self, status: u8) -> Self {
        self.0.status = status;
        self
    }

    /// Its sentence without what to do about it.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, if anything is known.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What the process ends with.
    pub fn exit_status(&self) -> u8 {
        self.0.status
    }

    /// One line of JSON without its end of line.
    pub fn to_json(&self) -> String {
        let parts = &self.0;
        let error = ErrorObject {
            code: parts.code,
            field: parts.field.as_deref(),
            message: &parts.message,
            hint: parts.hint.as_deref(),
            request_id: parts.request_id.as_deref(),
        };
        serde_json::to_string(&Envelope { error })
            .unwrap_or_else(|_| format!("{{\"error\":{{\"code\":\"{}\"}}}}", parts.code))
    }

    /// The request id, for `-v`.
    pub fn known_request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }
}

impl fmt::Display for Failure {
    /// The sentence, harmless to a terminal, without the leading `airlock: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sanitize(&self.0.message))?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {}", sanitize(hint)),
            None => Ok(()),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Failure::new("FAILED_PRECONDITION", error.to_string())
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Failure::usage(error.to_string()).field("server")
    }
}

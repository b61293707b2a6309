//! The one place where errors of the client library become sentences for people.

use crate::failure::{Failure, GOES_ON};
use airlock_client::{Answer, Client, DialError, Error, TlsRefusal};

/// The advice where many things may be the cause; doctor itself leaves it out.
pub const ASK_DOCTOR: &str = "airlock doctor looks for the cause";

/// What a failed call means, said to the user of `client`.
pub fn explain(client: &Client, error: Error) -> Failure {
    match error {
        Error::Unreachable(error) => unreachable(client, error),
        Error::Refused { server, refusal } => refused(client, &server, &refusal),
        Error::Answer(answer) => answered(*answer),
        Error::Lost(reason) => {
            Failure::new("UNAVAILABLE", format!("connection to {} lost ({reason})", client.server())).hint("try again")
        }
        Error::GaveUp { after, cause } => {
            let last = explain(client, *cause);
            let after = crate::present::time::span(after);
            // Only what is about a job gives up, and the job does not.
            Failure::new("UNAVAILABLE", format!("no connection to {} for {after}: {last}", client.server()))
                .status(GOES_ON)
        }
        Error::StartUnknown { request_id, .. } => {
            Failure::new("UNAVAILABLE", "the answer to the start was lost; the job may run")
                .hint(format!("repeat with --request-id {request_id} and it will not start twice"))
                .request_id(Some(request_id))
        }
        Error::Input(error) => {
            let reason = plain(&error);
            Failure::new("ABORTED", format!("cannot read standard input ({reason}); nothing was started"))
        }
        Error::Protocol(fault) => {
            let server = client.server();
            Failure::new("INTERNAL", format!("the answer of {server} makes no sense: {fault}"))
                .hint("compare the versions with airlock whoami")
        }
    }
}

/// The system's words without Rust's "(os error N)".
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn answered(answer: Answer) -> Failure {
    let code = answer.code_name();
    // The server's message is the whole sentence; what of it is the hint is set apart, so that nothing is said twice.
    let (message, hint) = match answer.hint.filter(|hint| *hint != answer.message) {
        Some(hint) => match answer.message.strip_suffix(hint.as_str()).map(|rest| rest.trim_end_matches([';', ' '])) {
            Some(rest) if !rest.is_empty() => (rest.to_owned(), Some(hint)),
            _ if answer.message.contains(&hint) => (answer.message, None),
            _ => (answer.message, Some(hint)),
        },
        None => (answer.message, None),
    };
    let message = if message.is_empty() { format!("the server refused without a reason ({code})") } else { message };
    let mut failure = Failure::new(code, message).request_id(answer.request_id);
    if let Some(field) = answer.field {
        failure = failure.field(field);
    }
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn unreachable(client: &Client, error: DialError) -> Failure {
    match error {
        DialError::WrongName { server, presented, expected } => Failure::new(
            "UNAUTHENTICATED",
            format!("cannot trust {server}: its certificate names {presented}, not {expected}"),
        )
        .hint("use that name or server_name"),
        DialError::Untrusted { .. } => Failure::new("UNAUTHENTICATED", error.to_string()),
        DialError::Refused { server, refusal } => refused(client, &server, &refusal),
        DialError::Resolve { .. }
        | DialError::NotListening { .. }
        | DialError::Closed { .. }
        | DialError::Connect { .. }
        | DialError::Silent { .. }
        | DialError::NotTls { .. } => Failure::new("UNAVAILABLE", error.to_string()).hint(ASK_DOCTOR),
    }
}

fn refused(client: &Client, server: &str, refusal: &TlsRefusal) -> Failure {
    let facts = client.certificate();
    let serial = facts.as_ref().map_or(String::new(), |facts| format!(" (serial {})", facts.serial));
    let message = match refusal {
        TlsRefusal::Revoked => format!("{server} refused your certificate: revoked{serial}"),
        TlsRefusal::Expired => {
            let now = std::time::SystemTime::now();
            let when = match &facts {
                Some(facts) if facts.not_after < now => {
                    format!("expired on {}", crate::present::time::day(facts.not_after))
                }
                Some(facts) if facts.not_before > now => {
                    format!("not valid before {}; compare the clocks", crate::present::time::day(facts.not_before))
                }
                _ => "expired by the server's clock".to_owned(),
            };
            format!("{server} refused your certificate: {when}{serial}")
        }
        TlsRefusal::UnknownAuthority => {
            format!("{server} refused your certificate: it does not know the authority that signed it{serial}")
        }
        TlsRefusal::CertificateRequired => format!("{server} requires a client certificate and saw none"),
        TlsRefusal::ProtocolVersion => format!("{server} does not speak TLS 1.3, the only version used here"),
        TlsRefusal::BadCertificate => format!("{server} refused your certificate: it is not one for clients{serial}"),
        TlsRefusal::Other(name) => format!("{server} refused the connection with TLS alert {name}"),
    };
    let failure = Failure::new("UNAUTHENTICATED", message);
    match refusal {
        TlsRefusal::Revoked | TlsRefusal::UnknownAuthority => failure.hint("ask your operator for a new one"),
        TlsRefusal::Expired => failure.hint("renew it: airlock certs request NAME --renew"),
        _ => failure,
    }
}

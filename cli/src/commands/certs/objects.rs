//! Certificates as people and programs see them.

use crate::present::{json, sanitize, sizes};
use airlock_certs::{
    CaCopy, Initialised, Issued, KeyFingerprint, Listed, Reason, Record, Requested, Revoked, Serial, State,
};
use jiff::Timestamp;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct IssuedObject<'a> {
    file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<&'a Path>,
    #[serde(flatten)]
    record: &'a Record,
    /// Other valid certificates of that name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    same_name: Vec<String>,
    /// The ca.crt beside it is not this authority's.
    #[serde(skip_serializing_if = "is_false")]
    ca_differs: bool,
}

#[derive(Serialize)]
struct ListedObject<'a> {
    #[serde(flatten)]
    record: &'a Record,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    superseded: bool,
    #[serde(skip_serializing_if = "is_false")]
    by_retiring_authority: bool,
}

/// A request that was made.
#[derive(Serialize)]
pub struct RequestedObject<'a> {
    file: &'a Path,
    key_file: &'a Path,
    name: &'a str,
    key_fingerprint: KeyFingerprint,
}

/// A new authority.
#[derive(Serialize)]
pub struct AuthorityObject<'a> {
    file: &'a Path,
    name: &'a str,
    not_after: String,
    key_fingerprint: KeyFingerprint,
}

/// What everybody trusts, after a step of a change of authority.
#[derive(Serialize)]
pub struct TrustObject<'a> {
    /// ca.crt
    pub file: &'a Path,
    /// How many authorities it holds.
    pub authorities: usize,
    /// Names of those whose certificates count no longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<&'a str>,
}

/// A certificate that was taken back, now or before.
#[derive(Serialize)]
pub struct RevokedObject<'a> {
    name: &'a str,
    serial: &'a Serial,
    state: &'static str,
    /// When, if it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_before: Option<String>,
    crl_file: &'a Path,
}

/// A revocation list written anew.
#[derive(Serialize)]
pub struct CrlObject<'a> {
    /// crl.pem
    pub file: &'a Path,
    /// When it should be written again.
    pub next_update: String,
}

impl<'a> RequestedObject<'a> {
    /// The object of one request.
    pub fn of(name: &'a str, requested: &'a Requested) -> Self {
        let Requested { request_file, key_file, key_fingerprint, .. } = requested;
        RequestedObject { file: request_file, key_file, name, key_fingerprint: *key_fingerprint }
    }
}

impl<'a> AuthorityObject<'a> {
    /// The object of a new authority.
    pub fn of(made: &'a Initialised) -> Self {
        AuthorityObject {
            file: &made.ca_file,
            name: &made.ca_name,
            not_after: made.not_after.to_string(),
            key_fingerprint: made.key_fingerprint,
        }
    }
}

impl<'a> RevokedObject<'a> {
    /// The objects of all certificates that one word took back.
    pub fn all(revoked: &'a Revoked) -> Vec<Self> {
        let object = |name, serial, revoked_before| RevokedObject {
            name,
            serial,
            state: "revoked",
            revoked_before,
            crl_file: &revoked.crl_file,
        };
        let now = revoked.now.iter().map(|(name, serial)| object(name.as_str(), serial, None));
        let before =
            revoked.before.iter().map(|(name, serial, at)| object(name.as_str(), serial, Some(at.to_string())));
        now.chain(before).collect()
    }
}

/// A certificate that was made, as one line of JSON.
pub fn issued_json(issued: &Issued) -> String {
    json::line(&IssuedObject {
        file: &issued.certificate_file,
        key_file: issued.key_file.as_deref().filter(|key| *key != issued.certificate_file),
        record: &issued.record,
        same_name: issued.same_name.iter().map(|record| record.serial.to_string()).collect(),
        ca_differs: issued.ca_copy == CaCopy::Different,
    })
}

/// A certificate of the list, as one line of JSON.
pub fn listed_json(listed: &Listed) -> String {
    let (state, revoked) = match listed.state {
        State::Valid => ("valid", None),
        State::Expired => ("expired", None),
        State::LeftBehind => ("left-behind", None),
        State::Revoked { at, reason } => ("revoked", Some((at, reason))),
    };
    json::line(&ListedObject {
        record: &listed.record,
        state,
        revoked_at: revoked.map(|(at, _)| at.to_string()),
        reason: revoked.map(|(_, reason)| reason),
        superseded: listed.superseded,
        by_retiring_authority: listed.by_retiring_authority,
    })
}

/// A certificate of the list, for people; holders take `width` columns.
pub fn list_line(listed: &Listed, now: Timestamp, width: usize) -> String {
    let record = &listed.record;
    let days = record.not_after.duration_since(now).as_hours() / 24;
    let when = match listed.state {
        State::Valid if days <= 14 => format!("ends in {}", sizes::counted(u64::try_from(days).unwrap_or(0), "day")),
        State::Valid => "valid".to_owned(),
        State::Expired => "expired".to_owned(),
        State::LeftBehind => "left behind, its authority was retired".to_owned(),
        State::Revoked { at, reason } => format!("revoked {} ({reason})", day(at)),
    };
    // What counts no longer needs no care.
    let note = match (listed.state, listed.superseded, listed.by_retiring_authority) {
        (State::Valid, true, _) => ", superseded",
        (State::Valid, false, true) => ", by the authority that is being left",
        _ => "",
    };
    format!("{}  {:<width$}  {}  {when}{note}", day(record.not_after), holder(record), record.serial.short())
}

/// Whose it is: name, unit, role.
pub fn holder(record: &Record) -> String {
    let mut facts = Vec::new();
    if let Some(unit) = &record.unit {
        facts.push(format!("ou {unit}"));
    }
    if let Some(role) = record.role {
        facts.push(format!("role {role}"));
    }
    if record.purpose.is_server() {
        facts.push("server".to_owned());
    }
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    sanitize(&format!("{}{facts}", record.name)).into_owned()
}

/// A day of the calendar in UTC, as certificates count.
pub fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

fn is_false(value: &bool) -> bool {
    !*value
}

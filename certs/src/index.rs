//! The authority's memory: one line per certificate issued or revoked, never changed once written.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use airlock_proto::identity::Role;

use crate::error::Error;
use crate::files::{self, Access};
use crate::keys::KeyFingerprint;
use crate::names::{Label, Name, Serial};
use crate::terms::{Existing, Purpose, Reason};

/// One certificate as the authority remembers it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Its serial number.
    pub serial: Serial,
    /// Its common name: the person or program, or a server's first name.
    pub name: String,
    /// What its files are called, without an extension; `server` for the certificate that [`init`](crate::init()) makes.
    pub stem: Name,
    /// What it is for.
    pub purpose: Purpose,
    /// The organisation in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<Label>,
    /// The organisational unit in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Label>,
    /// The role in its role extension.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "role_word")]
    pub role: Option<Role>,
    /// When it was made. Its validity begins a few minutes earlier, for hosts whose clocks are late.
    #[serde(with = "time_text")]
    pub issued_at: Timestamp,
    /// When it ends.
    #[serde(with = "time_text")]
    pub not_after: Timestamp,
    /// Whose key it certifies; the request it was made from shows the same.
    pub key_fingerprint: KeyFingerprint,
    /// Which authority's key signed it.
    pub authority: KeyFingerprint,
    /// How it came to be.
    pub issuance: Issuance,
}

/// How a certificate came to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issuance {
    /// Made from a request; its key was never here.
    Signed,
    /// Made together with its key.
    Issued,
    /// Made for the key of an earlier certificate.
    Renewed,
}

/// One line of the list: a certificate and what has become of it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Listed {
    /// The certificate.
    pub record: Record,
    /// Whether it still counts.
    pub state: State,
    /// Whether a newer valid certificate for the same key, name and purpose exists, so that nobody misses this one.
    pub superseded: bool,
    /// Whether it hangs on an authority that is being left, and must be replaced before that one is retired.
    pub by_retiring_authority: bool,
}

/// What has become of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It counts.
    Valid,
    /// Its time is over.
    Expired,
    /// Its authority was retired: it counts nowhere that has today's `ca.crt`.
    LeftBehind,
    /// It was revoked.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
}

/// A certificate taken back. It may have been made elsewhere with the same authority.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Revocation {
    pub(crate) serial: Serial,
    pub(crate) authority: KeyFingerprint,
    pub(crate) name: String,
    #[serde(with = "time_text")]
    pub(crate) at: Timestamp,
    pub(crate) reason: Reason,
}

/// The whole index, in the order of its lines.
#[derive(Debug, Default)]
pub(crate) struct Index {
    path: PathBuf,
    text: Vec<u8>,
    pub(crate) records: Vec<Record>,
    pub(crate) revocations: Vec<Revocation>,
}

impl Index {
    /// Reads `folder`'s index; one that does not exist is empty.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("index.jsonl");
        let text = files::read_if_present(&path)?.unwrap_or_default();
        let mut index = Index { path, text: Vec::new(), ..Index::default() };
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line::Issued(record)) => index.records.push(record),
                Ok(Line::Revoked(revocation)) => index.revocations.push(revocation),
                Err(error) => {
                    let problem =
                        format!("line {} cannot be read ({error}); restore the file from a backup", number + 1);
                    return Err(Error::bad_file(&index.path, problem));
                }
            }
        }
        index.text = text;
        if index.text.last().is_some_and(|last| *last != b'\n') {
            index.text.push(b'\n');
        }
        Ok(index)
    }

    pub(crate) fn add_record(&mut self, record: Record) -> Result<(), Error> {
        self.append(&Line::Issued(record.clone()))?;
        self.records.push(record);
        Ok(())
    }

    pub(crate) fn add_revocations(&mut self, revocations: Vec<Revocation>) -> Result<(), Error> {
        for revocation in revocations {
            self.append(&Line::Revoked(revocation.clone()))?;
            self.revocations.push(revocation);
        }
        Ok(())
    }

    pub(crate) fn revocation_of(&self, serial: &Serial, authority: &KeyFingerprint) -> Option<&Revocation> {
        self.revocations.iter().find(|revocation| revocation.serial == *serial && revocation.authority == *authority)
    }

    pub(crate) fn state_of(&self, record: &Record, now: Timestamp) -> State {
        match self.revocation_of(&record.serial, &record.authority) {
            Some(revocation) => State::Revoked { at: revocation.at, reason: revocation.reason },
            None if record.not_after < now => State::Expired,
            None => State::Valid,
        }
    }

    /// The records that count at `now`, oldest first.
    pub(crate) fn valid_at(&self, now: Timestamp) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| self.state_of(record, now) == State::Valid)
    }

    fn append(&mut self, line: &Line) -> Result<(), Error> {
        let json = serde_json::to_vec(line).map_err(Error::crypto("line of the index"))?;
        let mut text = self.text.clone();
        text.extend_from_slice(&json);
        text.push(b'\n');
        // The whole file is replaced, so that a reader or a crash never meets half a line.
        files::write(&self.path, &text, Access::Secret, Existing::Replace)?;
        self.text = text;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    Issued(Record),
    Revoked(Revocation),
}

mod time_text {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

mod role_word {
    use airlock_proto::identity::Role;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(role: &Option<Role>, serializer: S) -> Result<S::Ok, S::Error> {
        role.map(Role::as_str).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|word| word.parse()).transpose().map_err(D::Error::custom)
    }
}

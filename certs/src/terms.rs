//! The terms of a certificate: how long, for what, and why it ends early.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::ServerNames;

/// How long a certificate is valid, counted from its issue. At least a second, at most [`Lifetime::LONGEST_DAYS`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Lifetime(Duration);

impl Lifetime {
    /// The longest lifetime there is, in days (20 years).
    pub const LONGEST_DAYS: u32 = 7305;
    /// What an authority gets when nothing is said: 10 years.
    pub const AUTHORITY: Lifetime = Lifetime(Duration::from_secs(3652 * DAY));
    /// What a server's certificate gets when nothing is said: 1 year.
    pub const SERVER: Lifetime = Lifetime(Duration::from_secs(365 * DAY));
    /// What a person's certificate gets when nothing is said: 90 days.
    pub const CLIENT: Lifetime = Lifetime(Duration::from_secs(90 * DAY));

    /// A lifetime of `days` days of 24 hours.
    ///
    /// # Errors
    /// When `days` is 0 or above [`Lifetime::LONGEST_DAYS`].
    pub fn from_days(days: u32) -> Result<Self, Error> {
        Self::from_duration(Duration::from_secs(u64::from(days) * DAY))
    }

    /// A lifetime of `duration`, cut to whole seconds.
    ///
    /// # Errors
    /// When it is shorter than a second or longer than [`Lifetime::LONGEST_DAYS`].
    pub fn from_duration(duration: Duration) -> Result<Self, Error> {
        let seconds = duration.as_secs();
        if seconds == 0 || seconds > u64::from(Self::LONGEST_DAYS) * DAY {
            return Err(Error::BadValue {
                what: "lifetime",
                value: match seconds % DAY {
                    0 => format!("{} days", seconds / DAY),
                    _ => format!("{seconds} seconds"),
                },
                problem: "is not between a second and 7305 days",
                remedy: "90 days are usual for people, 365 for servers",
            });
        }
        Ok(Lifetime(Duration::from_secs(seconds)))
    }

    /// The lifetime as a duration of whole seconds.
    pub fn as_duration(self) -> Duration {
        self.0
    }
}

/// What a certificate is for; it is refused for anything else.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "for", content = "names")]
pub enum Purpose {
    /// A person or program that connects to frontends.
    #[default]
    Client,
    /// A frontend that is reached under these names.
    Server(ServerNames),
}

impl Purpose {
    /// Whether this is [`Purpose::Server`].
    pub fn is_server(&self) -> bool {
        matches!(self, Purpose::Server(_))
    }

    pub(crate) fn default_lifetime(&self) -> Lifetime {
        if self.is_server() { Lifetime::SERVER } else { Lifetime::CLIENT }
    }
}

/// Why a certificate was revoked, as revocation lists know it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No reason was given.
    #[default]
    Unspecified,
    /// Somebody else may hold the private key.
    KeyCompromise,
    /// Its holder has left or changed place.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// What it was for is over.
    CessationOfOperation,
}

impl Reason {
    /// Every reason that can be given.
    pub const ALL: [Reason; 5] = [
        Reason::Unspecified,
        Reason::KeyCompromise,
        Reason::AffiliationChanged,
        Reason::Superseded,
        Reason::CessationOfOperation,
    ];

    /// The word for this reason on the command line and in the index.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unspecified => "unspecified",
            Reason::KeyCompromise => "key-compromise",
            Reason::AffiliationChanged => "affiliation-changed",
            Reason::Superseded => "superseded",
            Reason::CessationOfOperation => "cessation-of-operation",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word).ok_or_else(|| Error::BadValue {
            what: "reason",
            value: word.to_owned(),
            problem: "is not known to revocation lists",
            remedy: "use unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation",
        })
    }
}

/// What happens to a file of the same name that exists.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Existing {
    /// It stays, and the operation is refused before anything is made.
    #[default]
    Keep,
    /// It is replaced in one step: readers see the old or the new file, never a part.
    Replace,
}

const DAY: u64 = 24 * 60 * 60;

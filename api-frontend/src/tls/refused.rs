//! Connections that are refused before anything is asked on them, counted by why.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Too many handshakes are under way.
    Crowd,
    /// No handshake came in time.
    Late,
    /// The handshake failed: mostly a certificate that is missing, foreign, ended or revoked.
    Handshake,
    /// A certificate that names nobody, or was accepted a moment ago and is no longer.
    Certificate,
    /// Too many connections are open.
    TooMany,
}

impl Why {
    const ALL: [Self; 5] = [Self::Crowd, Self::Late, Self::Handshake, Self::Certificate, Self::TooMany];

    fn word(self) -> &'static str {
        match self {
            Self::Crowd => "too-many-handshakes",
            Self::Late => "no-handshake",
            Self::Handshake => "handshake-failed",
            Self::Certificate => "certificate",
            Self::TooMany => "too-many-connections",
        }
    }
}

/// The counters. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Refused(Family<[(&'static str, &'static str); 1], Counter>);

impl Refused {
    /// Gives them their name.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("connections_refused", "Connections refused, by why", self.0.clone());
        for why in Why::ALL {
            self.of(why);
        }
    }

    pub(super) fn note(&self, why: Why) {
        self.of(why).inc();
    }

    fn of(&self, why: Why) -> Counter {
        self.0.get_or_create_owned(&[("why", why.word())])
    }
}

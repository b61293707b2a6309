//! The one place that decides what a caller may do. Everything else asks here.

use std::net::SocketAddr;

use airlock_proto::identity::Role;

use crate::policy::{Terms, Visibility};
use crate::turns::Turns;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Start a job, or upload its input.
    Start,
    /// See one job, list jobs, wait for one.
    See,
    /// Read a job's output.
    Output,
    /// Stop a job.
    Stop,
    /// Send a signal.
    Signal,
    /// Remove a job.
    Delete,
    /// Archive a job.
    Archive,
    /// Ask about oneself or the server.
    Ask,
    /// Read what the server counts.
    Metrics,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 9] = [
        Verb::Start,
        Verb::See,
        Verb::Output,
        Verb::Stop,
        Verb::Signal,
        Verb::Delete,
        Verb::Archive,
        Verb::Ask,
        Verb::Metrics,
    ];

    /// What it does to jobs, for "may not … jobs".
    pub fn words(self) -> &'static str {
        match self {
            Verb::Start => "start jobs",
            Verb::See => "see jobs",
            Verb::Output => "read the output of jobs",
            Verb::Stop => "stop jobs",
            Verb::Signal => "signal jobs",
            Verb::Delete => "delete jobs",
            Verb::Archive => "archive jobs",
            Verb::Ask => "ask about this server",
            Verb::Metrics => "read metrics",
        }
    }

    /// One word, for the journal and error details.
    pub fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::See => "status",
            Verb::Output => "output",
            Verb::Stop => "stop",
            Verb::Signal => "signal",
            Verb::Delete => "delete",
            Verb::Archive => "archive",
            Verb::Ask => "ask",
            Verb::Metrics => "metrics",
        }
    }
}

/// Whose jobs a verb reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nobody's: the role does not have this verb.
    None,
    /// The caller's own.
    Own,
    /// Everybody's.
    All,
}

/// The whole policy of roles: verb × role × visibility → reach.
pub fn reach(role: Role, verb: Verb, visibility: Visibility) -> Reach {
    use Verb::{Archive, Ask, Delete, Metrics, Output, See, Signal, Start, Stop};
    match (role, verb) {
        (_, Ask) | (Role::Admin, _) => Reach::All,
        (Role::Reader, See | Output | Metrics) => Reach::All,
        (Role::Reader, Start | Stop | Signal | Delete | Archive) => Reach::None,
        (Role::User, Metrics) => Reach::None,
        (Role::User, See | Output) if visibility == Visibility::All => Reach::All,
        (Role::User, _) => Reach::Own,
    }
}

/// Somebody who calls, with everything that decisions and the journal need.
#[derive(Debug, Clone)]
pub struct Caller {
    /// CN of the certificate.
    pub name: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// What they are here.
    pub role: Role,
    /// Whose jobs users see, at the time of this call.
    pub visibility: Visibility,
    /// The profiles they may use, the group in which their jobs count, and the rule that says so.
    pub terms: Terms,
    /// The id of this call, which both journals carry.
    pub request_id: String,
    /// Shared by all calls of this name.
    pub turns: Turns,
}

/// What a caller may do with one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Go on.
    Allowed,
    /// The job exists and may be seen, and is not theirs to change.
    NotTheirs,
    /// To this caller it does not exist.
    Invisible,
}

impl Caller {
    /// Whose jobs this verb reaches for this caller.
    pub fn reach(&self, verb: Verb) -> Reach {
        reach(self.role, verb, self.visibility)
    }

    /// The owner to whose jobs this caller's sight is limited; `None` when they see all.
    pub fn sees_only(&self) -> Option<&str> {
        match self.reach(Verb::See) {
            Reach::All => None,
            Reach::Own | Reach::None => Some(&self.name),
        }
    }

    /// What this caller may do with a job of `owner`.
    pub fn access(&self, verb: Verb, owner: &str) -> Access {
        let within = |reach| match reach {
            Reach::All => true,
            Reach::Own => owner == self.name,
            Reach::None => false,
        };
        match (within(self.reach(verb)), within(self.reach(Verb::See))) {
            (true, _) => Access::Allowed,
            (false, true) => Access::NotTheirs,
            (false, false) => Access::Invisible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role, visibility: Visibility) -> Caller {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (name, serial, request_id) = ("bob".into(), "1".into(), "r".into());
        Caller { name, serial, peer, role, visibility, terms: Terms::default(), request_id, turns: Turns::default() }
    }

    #[test]
    fn the_role_table_is_exactly_as_documented() {
        for verb in Verb::ALL {
            let changes = !matches!(verb, Verb::See | Verb::Output | Verb::Ask | Verb::Metrics);
            for visibility in [Visibility::Own, Visibility::All] {
                assert_eq!(reach(Role::Admin, verb, visibility), Reach::All, "{verb:?}");
                let reader = if changes { Reach::None } else { Reach::All };
                assert_eq!(reach(Role::Reader, verb, visibility), reader, "{verb:?}");
                let user = match verb {
                    Verb::Metrics => Reach::None,
                    Verb::Ask => Reach::All,
                    _ if !changes && visibility == Visibility::All => Reach::All,
                    _ => Reach::Own,
                };
                assert_eq!(reach(Role::User, verb, visibility), user, "{verb:?}");
            }
        }
    }

    #[test]
    fn a_job_of_somebody_else_is_invisible_to_a_user_unless_all_is_visible() {
        let own = caller(Role::User, Visibility::Own);
        assert_eq!(own.access(Verb::Stop, "alice"), Access::Invisible);
        assert_eq!(own.access(Verb::Stop, "bob"), Access::Allowed);
        let all = caller(Role::User, Visibility::All);
        assert_eq!(all.access(Verb::Output, "alice"), Access::Allowed);
        assert_eq!(all.access(Verb::Stop, "alice"), Access::NotTheirs);
    }

    #[test]
    fn a_reader_sees_and_changes_nothing_and_an_admin_does_all() {
        let reader = caller(Role::Reader, Visibility::Own);
        assert_eq!(reader.access(Verb::See, "alice"), Access::Allowed);
        assert_eq!(reader.access(Verb::Delete, "alice"), Access::NotTheirs);
        assert_eq!(reader.access(Verb::Delete, "bob"), Access::NotTheirs);
        assert_eq!(caller(Role::Admin, Visibility::Own).access(Verb::Delete, "alice"), Access::Allowed);
    }
}

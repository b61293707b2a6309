//! What every command that speaks to a server needs.

use crate::{
    args::{Format, GlobalArgs},
    failure::Failure,
    sentences,
    settings::{Settings, Source, repeated_options},
    talk,
    units::{self, UnitError},
};
use airlock_client::{Client, Error};
use std::{
    io::{self, IsTerminal},
    time::Duration,
};

/// One call of the program: a client and how to talk.
pub struct Session {
    /// The server.
    pub client: Client,
    /// Where the settings came from.
    pub settings: Settings,
    /// How to answer.
    pub format: Format,
    /// Whether to say more.
    pub verbose: bool,
    /// Whether a person reads our talk.
    pub talkative: bool,
    repeated: String,
}

impl Session {
    /// Finds the settings and prepares the client. Nothing is sent. Must be called within the runtime.
    ///
    /// # Errors
    /// Configuration or certificates that cannot be used.
    pub fn open(global: &GlobalArgs, format: Format) -> Result<Self, Failure> {
        let settings = Settings::find(global)?;
        match format {
            Format::Text if global.verbose => talk::say(settings.describe()),
            Format::Json if global.verbose => talk::tell(&settings.object()),
            _ => {}
        }
        let patience = duration("patience", &global.patience)?;
        let talkative = format == Format::Text && io::stderr().is_terminal();
        let mut client = settings.client()?.with_patience(patience);
        if talkative {
            let server = client.server().to_string();
            client = client.on_waiting(move || talk::say(format!("{server} does not answer; waiting for it")));
        }
        let repeated = repeated_options(global);
        Ok(Session { client, settings, format, verbose: global.verbose, talkative, repeated })
    }

    /// What people call the server: the name of its context, else the beginning of its address.
    pub fn place(&self) -> &str {
        match &self.settings.server.source {
            Source::Context(name) => name,
            _ => self.settings.server.value.nickname(),
        }
    }

    /// The server's own name where no job tells it. Asks for it, and makes do with ours where it is not answered.
    pub async fn host(&self) -> String {
        let told = self.client.server_info().await.map(|info| info.host).unwrap_or_default();
        if told.is_empty() { self.place().to_owned() } else { told }
    }

    /// An error of the client library as a failure.
    pub fn explain(&self, error: Error) -> Failure {
        sentences::explain(&self.client, error)
    }

    /// Says a failure that does not end the command.
    pub fn report(&self, failure: &Failure) {
        talk::report(failure, self.format, self.verbose);
    }

    /// The command that comes back to a job at an offset.
    pub fn way_back(&self, short_id: &str, offset: u64) -> String {
        format!("airlock {}attach {short_id} --from {offset}", self.repeated)
    }

    /// True for answers in JSON.
    pub fn json(&self) -> bool {
        self.format == Format::Json
    }
}

/// A duration option.
///
/// # Errors
/// Text that is no duration.
pub fn duration(what: &str, text: &str) -> Result<Duration, Failure> {
    units::duration(text).map_err(|error| bad_value(what, what, text, error))
}

/// The failure of a value that is no quantity.
pub fn bad_value(what: &str, field: &str, text: &str, error: UnitError) -> Failure {
    Failure::usage(format!("{what} '{text}' {}", error.fault)).hint(error.hint).field(field)
}

/// A point in time: RFC 3339, or a duration before now.
///
/// # Errors
/// Text that is neither.
pub fn moment(what: &str, text: &str) -> Result<jiff::Timestamp, Failure> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(since_1970(time));
    }
    let back = units::duration(text).ok().and_then(|back| jiff::SignedDuration::try_from(back).ok());
    back.and_then(|back| jiff::Timestamp::now().checked_sub(back).ok()).map(since_1970).ok_or_else(|| {
        Failure::usage(format!("{what} '{text}' is not a time"))
            .hint("use a form such as 2026-11-20T08:09:32Z, or 10m for ten minutes ago")
            .field(what)
    })
}

/// No job is older than that, and servers know no earlier time.
pub fn since_1970(time: jiff::Timestamp) -> jiff::Timestamp {
    time.max(jiff::Timestamp::UNIX_EPOCH)
}

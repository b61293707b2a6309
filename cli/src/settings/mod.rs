//! Which server, as whom: options before environment before context before default.

pub mod file;

use crate::{
    args::{Format, GlobalArgs},
    failure::Failure,
};
use airlock_client::{Client, Identity, ServerAddress, Target};
use file::Contexts;
use std::{
    env, fmt,
    path::{Path, PathBuf},
};

/// Where a value came from, for `-v` and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An option of the command line.
    Option(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A context of the configuration.
    Context(String),
    /// The configuration's own word for the context in force.
    Current,
    /// Nobody said anything.
    Default,
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who said it.
    pub source: Source,
}

/// Everything that decides about a connection.
#[derive(Debug)]
pub struct Settings {
    /// The configuration file, whether it exists or not.
    pub file: PathBuf,
    /// The context in force, if any.
    pub context: Option<Setting<String>>,
    /// The server.
    pub server: Setting<ServerAddress>,
    /// The name that the server's certificate must carry, if it is not the host.
    pub server_name: Option<Setting<String>>,
    /// The identity's name.
    pub identity: Setting<String>,
    /// The folder of certificates.
    pub certs: Setting<PathBuf>,
}

impl Settings {
    /// Puts together what options, environment and configuration say.
    ///
    /// # Errors
    /// A configuration that cannot be read or was named and is not there, a context that does not exist, a server that is no
    /// address.
    pub fn find(global: &GlobalArgs) -> Result<Self, Failure> {
        let file = file::location(global.config.as_deref());
        if global.config.is_some() && !file.exists() {
            let shown = file.display();
            return Err(Failure::new("NOT_FOUND", format!("there is no configuration file {shown}"))
                .hint(format!("airlock --config {shown} context add NAME --server HOST makes it")));
        }
        let mut contexts = Contexts::load(&file)?;
        let context = choose(global.context.clone(), "-c", "AIRLOCK_CONTEXT")
            .or_else(|| contexts.current.clone().map(|value| Setting { value, source: Source::Current }));
        let entry = match &context {
            None => None,
            Some(chosen) => match contexts.context.remove(&chosen.value) {
                Some(entry) => Some(entry),
                None => return Err(contexts.unknown(&chosen.value, &file)),
            },
        };
        let name = context.as_ref().map(|context| context.value.clone()).unwrap_or_default();
        let of_context =
            |value: Option<String>| value.map(|value| Setting { value, source: Source::Context(name.clone()) });
        let (server, server_name, identity, certs) = entry.map_or((None, None, None, None), |entry| {
            (Some(entry.server), entry.server_name, entry.identity, entry.certs)
        });

        let direct = choose(global.server.clone(), "--server", "AIRLOCK_SERVER");
        // A context's server_name speaks of that context's server and of no other.
        let inherited = if direct.is_some() { None } else { of_context(server_name) };
        let server_name = choose(global.server_name.clone(), "--server-name", "AIRLOCK_SERVER_NAME").or(inherited);
        let server = direct.or_else(|| of_context(server)).unwrap_or_else(|| default("localhost".to_owned()));
        let server = Setting { value: server.value.parse::<ServerAddress>()?, source: server.source };
        let identity =
            choose(global.identity.clone(), "-i", "AIRLOCK_IDENTITY").or_else(|| of_context(identity)).unwrap_or_else(
                || default(env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_else(|_| "root".into())),
            );
        let folder = file.parent().unwrap_or(Path::new("."));
        let certs = match choose_path(global.certs.clone(), "--certs", "AIRLOCK_CERTS") {
            Some(certs) => certs,
            None => match of_context(certs) {
                Some(certs) => Setting { value: folder.join(file::expand_home(&certs.value)), source: certs.source },
                None => default(folder.join("certs")),
            },
        };
        Ok(Settings { file, context, server, server_name, identity, certs })
    }

    /// Reads certificate and key, and prepares a client. Nothing is sent.
    ///
    /// # Errors
    /// Files that are missing, unreadable, or a key that others can read.
    pub fn client(&self) -> Result<Client, Failure> {
        let identity = Identity::load(&self.certs.value, &self.identity.value)?;
        let name = self.server_name.as_ref().map(|name| name.value.as_str());
        Ok(Client::new(Target::new(self.server.value.clone(), name, identity)?))
    }

    /// One line that says which server and identity are used, and from where.
    pub fn describe(&self) -> String {
        let mut text = format!("server {} ({})", self.server.value, self.server.source);
        if let Some(name) = &self.server_name {
            text.push_str(&format!(", certificate name {} ({})", name.value, name.source));
        }
        text.push_str(&format!(", identity {} ({})", self.identity.value, self.identity.source));
        text.push_str(&format!(", certificates in {} ({})", self.certs.value.display(), self.certs.source));
        text
    }
}

impl Settings {
    /// As [`Settings::describe`], for programs.
    pub fn object(&self) -> serde_json::Value {
        fn entry<T: fmt::Display>(setting: &Setting<T>) -> serde_json::Value {
            serde_json::json!({ "value": setting.value.to_string(), "source": setting.source.to_string() })
        }
        let certs = Setting { value: self.certs.value.display(), source: self.certs.source.clone() };
        let mut settings = serde_json::json!({
            "server": entry(&self.server), "identity": entry(&self.identity), "certs": entry(&certs)
        });
        if let Some(name) = &self.server_name {
            settings["server_name"] = entry(name);
        }
        serde_json::json!({ "settings": settings })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Option(name) => write!(f, "from option {name}"),
            Source::Variable(name) => write!(f, "from {name}"),
            Source::Context(name) => write!(f, "from context {name}"),
            Source::Current => f.write_str("from: current"),
            Source::Default => f.write_str("by default"),
        }
    }
}

/// The format asked for, by option or AIRLOCK_FORMAT.
///
/// # Errors
/// A value of AIRLOCK_FORMAT that is neither text nor json.
pub fn format(option: Option<Format>) -> Result<Format, Failure> {
    match (option, env::var("AIRLOCK_FORMAT").ok().filter(|text| !text.is_empty()).as_deref()) {
        (Some(format), _) => Ok(format),
        (None, None | Some("text")) => Ok(Format::Text),
        (None, Some("json")) => Ok(Format::Json),
        (None, Some(other)) => {
            Err(Failure::usage(format!("AIRLOCK_FORMAT '{other}' is not a format")).hint("use text or json"))
        }
    }
}

/// The options of this call that a command to come back needs again, each followed by a blank.
pub fn repeated_options(global: &GlobalArgs) -> String {
    let mut text = String::new();
    let mut add = |option: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!("{option} {} ", shell_word(value)));
        }
    };
    add("-c", global.context.as_deref());
    add("-i", global.identity.as_deref());
    add("--server", global.server.as_deref());
    add("--server-name", global.server_name.as_deref());
    add("--certs", global.certs.as_deref().and_then(Path::to_str));
    add("--config", global.config.as_deref().and_then(Path::to_str));
    text
}

/// `word` as a shell reads it back.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn choose(option: Option<String>, option_name: &'static str, variable: &'static str) -> Option<Setting<String>> {
    let said = option.map(|value| Setting { value, source: Source::Option(option_name) });
    said.or_else(|| {
        let value = env::var(variable).ok().filter(|value| !value.is_empty())?;
        Some(Setting { value, source: Source::Variable(variable) })
    })
}

fn choose_path(option: Option<PathBuf>, option_name: &'static str, variable: &'static str) -> Option<Setting<PathBuf>> {
    let said = option.map(|value| Setting { value, source: Source::Option(option_name) });
    said.or_else(|| {
        let value = env::var_os(variable).filter(|value| !value.is_empty())?;
        Some(Setting { value: value.into(), source: Source::Variable(variable) })
    })
}

fn default<T>(value: T) -> Setting<T> {
    Setting { value, source: Source::Default }
}

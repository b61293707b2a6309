//! The configuration file: contexts, read with positions in errors, changed without touching anybody's comments.

use crate::{failure::Failure, whole_file::WholeFile};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context in force when nobody names one.
    pub current: Option<String>,
    /// All contexts by name.
    #[serde(default)]
    pub context: BTreeMap<String, Context>,
}

/// One server and who to be towards it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Host and port.
    pub server: String,
    /// The name the server's certificate must carry.
    pub server_name: Option<String>,
    /// The identity's name.
    pub identity: Option<String>,
    /// The folder of certificates; relative to the file's own.
    pub certs: Option<String>,
}

/// Where the configuration is: option, AIRLOCK_CONFIG, XDG_CONFIG_HOME, ~/.config.
pub fn location(option: Option<&Path>) -> PathBuf {
    if let Some(file) = option {
        return file.to_owned();
    }
    if let Some(file) = env::var_os("AIRLOCK_CONFIG").filter(|file| !file.is_empty()) {
        return file.into();
    }
    let base = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    base.unwrap_or_else(|| home().join(".config")).join("airlock/config.toml")
}

/// `~/x` as a path in the home directory.
pub fn expand_home(text: &str) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => home().join(rest),
        None if text == "~" => home(),
        None => text.into(),
    }
}

impl Contexts {
    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    /// A file that cannot be read or understood, with its line.
    pub fn load(file: &Path) -> Result<Self, Failure> {
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Failure::new("FAILED_PRECONDITION", format!("{} is not UTF-8 text", file.display()))
                    .hint("save it as such"))
            }
            Err(error) => Err(cannot("read", file, &error)),
        }
    }

    fn parse(text: &str, file: &Path) -> Result<Self, Failure> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
            let what = error.message().lines().next().unwrap_or("not understood");
            let what = match what.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
                Some((key, keys)) => {
                    let keys = keys.trim_start_matches(", expected ").trim_start_matches("one of ").replace('`', "");
                    format!("unknown key '{key}'; what can stand here: {keys}")
                }
                None => what.to_owned(),
            };
            Failure::new("FAILED_PRECONDITION", format!("{}:{line}: {what}", file.display()))
        })
    }

    /// The failure of naming a context that does not exist.
    pub fn unknown(&self, name: &str, file: &Path) -> Failure {
        let names: Vec<&str> = self.context.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "has none".to_owned() } else { format!("has {}", names.join(", ")) };
        Failure::new("NOT_FOUND", format!("no context '{name}' in {}, which {known}", file.display()))
            .hint(format!("airlock context add {name} --server HOST makes it"))
    }
}

/// Makes `name` the current context.
///
/// # Errors
/// An unknown name, or a file that cannot be written.
pub fn set_current(file: &Path, name: &str) -> Result<(), Failure> {
    let contexts = Contexts::load(file)?;
    if !contexts.context.contains_key(name) {
        return Err(contexts.unknown(name, file));
    }
    let wanted = Contexts { current: Some(name.to_owned()), ..contexts };
    change(file, &wanted, |text| with_current(text, Some(name)))
}

/// Adds a context and makes it current.
///
/// # Errors
/// A name in use or not usable, or a file that cannot be written.
pub fn add(file: &Path, name: &str, context: Context) -> Result<(), Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(Failure::usage(format!("'{name}' is not a name for a context"))
            .hint("use letters, digits, dashes and underscores"));
    }
    let mut wanted = Contexts::load(file)?;
    if wanted.context.contains_key(name) {
        return Err(Failure::new("ALREADY_EXISTS", format!("context {name} exists in {}", file.display()))
            .hint(format!("airlock context remove {name} makes room")));
    }
    let mut section = format!("\n[context.{name}]\nserver = {}\n", toml_string(&context.server));
    let parts = [("server_name", &context.server_name), ("identity", &context.identity), ("certs", &context.certs)];
    for (key, value) in parts {
        if let Some(value) = value {
            section.push_str(&format!("{key} = {}\n", toml_string(value)));
        }
    }
    wanted.context.insert(name.to_owned(), context);
    wanted.current = Some(name.to_owned());
    change(file, &wanted, |text| {
        let mut text = with_current(text, Some(name));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text + &section
    })
}

/// Removes a context. The current one leaves none current; whether it was is the answer.
///
/// # Errors
/// An unknown name, or a file that cannot be written.
pub fn remove(file: &Path, name: &str) -> Result<bool, Failure> {
    let mut wanted = Contexts::load(file)?;
    if wanted.context.remove(name).is_none() {
        return Err(wanted.unknown(name, file).hint("airlock context lists what there is"));
    }
    let was_current = wanted.current.as_deref() == Some(name);
    if was_current {
        wanted.current = None;
    }
    let header = format!("[context.{name}]");
    change(file, &wanted, |text| {
        let mut inside = false;
        let kept: String = text
            .split_inclusive('\n')
            .filter(|line| {
                let line = line.trim();
                if line.starts_with('[') {
                    inside = line.split('#').next().unwrap_or("").trim() == header;
                }
                !inside
            })
            .collect();
        let kept = if was_current { with_current(&kept, None) } else { kept };
        kept.trim_start_matches('\n').to_owned()
    })?;
    Ok(was_current)
}

// Edits the text line by line, so that comments and order stay, and proves by reading it back that the edit means what
// was wanted: a file written in an unusual way is refused, not damaged.
fn change(file: &Path, wanted: &Contexts, edit: impl FnOnce(&str) -> String) -> Result<(), Failure> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(cannot("read", file, &error)),
    };
    let edited = edit(&text);
    if Contexts::parse(&edited, file).ok().as_ref() != Some(wanted) {
        return Err(Failure::new(
            "FAILED_PRECONDITION",
            format!("{} is written in a way that cannot be changed safely", file.display()),
        )
        .hint("edit it by hand"));
    }
    let written = fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))
        .and_then(|()| WholeFile::at(file))
        .and_then(|whole| whole.replace_durably(edited.as_bytes()));
    written.map_err(|error| cannot("write", file, &error))
}

fn with_current(text: &str, name: Option<&str>) -> String {
    let line = name.map(|name| format!("current = {}\n", toml_string(name))).unwrap_or_default();
    let mut found = false;
    let mut in_table = false;
    let mut edited = String::with_capacity(text.len() + line.len());
    for old in text.split_inclusive('\n') {
        in_table |= old.trim_start().starts_with('[');
        let is_current = !in_table && old.split_once('=').is_some_and(|(key, _)| key.trim() == "current");
        if is_current && !found {
            found = true;
            edited.push_str(&line);
        } else {
            edited.push_str(old);
        }
    }
    if found { edited } else { line + &edited }
}

fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn cannot(verb: &str, file: &Path, error: &io::Error) -> Failure {
    Failure::new("FAILED_PRECONDITION", format!("cannot {verb} {}: {}", file.display(), crate::sentences::plain(error)))
}

fn home() -> PathBuf {
    env::var_os("HOME").filter(|home| !home.is_empty()).map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

#[cfg(test)]
mod tests;

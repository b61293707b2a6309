//! Reads a TOML file into a typed value, with errors that name the file, the line and the nearest key that exists.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a configuration file could not be used. The operator who wrote it is at fault; the sentence says where.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read: missing, or not readable for the frontend's user.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its text is not what it should be.
    #[error("{}:{line}: {message}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// One sentence.
        message: String,
    },
}

impl FileError {
    /// Something in the text of `path`, at this byte, cannot be meant.
    pub fn at(path: &Path, text: &str, byte: usize, message: String) -> Self {
        Self::Text { path: path.to_owned(), line: Self::line(text, byte), message }
    }

    /// The line of a text in which a byte stands, counted from 1.
    pub fn line(text: &str, byte: usize) -> usize {
        text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
    }
}

/// Reads and parses `path`. Blocks.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    parse(path, &read_text(path)?)
}

/// Reads the text of `path`. Blocks.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Parses `text`, which stands in `path`.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..at).unwrap_or_default();
        let message = unknown_key(error.message(), table_at(before)).unwrap_or_else(|| one_line(error.message()));
        FileError::at(path, text, at, message)
    })
}

/// The header of the table in which a text ends, such as `[tls]`.
fn table_at(before: &str) -> Option<&str> {
    before.lines().rev().map(str::trim).find(|line| line.starts_with('['))
}

/// Rewrites serde's "unknown field" into a sentence with the table and the nearest key.
fn unknown_key(message: &str, table: Option<&str>) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut words = rest.split('`').skip(1).step_by(2);
    let found = words.next()?;
    let place = table.map(|t| format!(" in {t}")).unwrap_or_default();
    let nearest = words.map(|known| (distance(found, known), known)).min();
    Some(match nearest {
        Some((d, known)) if d <= 1 + found.len() / 3 => {
            format!("unknown key '{found}'{place}; did you mean '{known}'?")
        }
        _ => format!("unknown key '{found}'{place}"),
    })
}

fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

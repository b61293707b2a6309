//! The text of `policy.toml` and `frontend.toml`, and the sizes and spans in them.
//!
//! Claims: nothing panics; the same text means the same twice; a complaint is one sentence and names a line that exists; a size
//! that is shown reads back as itself.

use std::path::Path;

use api_frontend::{
    config::{Config, FileError, Size, Span, duration_words},
    policy::Policy,
};

use crate::{input::Input, tally};

/// Parses one text as one of the files, or as a size or a span.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.below(4);
    let Ok(text) = std::str::from_utf8(input.take_rest()) else { return };
    match choice {
        0 => {
            let path = Path::new("policy.toml");
            let policy = Policy::parse(path, text);
            assert_eq!(policy.as_ref().ok(), Policy::parse(path, text).as_ref().ok());
            told(policy.err(), text);
        }
        1 => told(Config::parse(Path::new("frontend.toml"), text).err(), text),
        2 => {
            if let Ok(size) = text.parse::<Size>() {
                assert_eq!(size.to_string().parse::<Size>(), Ok(size), "{text}");
            }
        }
        _ => {
            if let Ok(span) = text.parse::<Span>() {
                let seconds = span.duration().as_secs();
                // What is shown in messages must be something that may be written.
                if let Some(words) = seconds.checked_mul(1000).map(duration_words) {
                    assert_eq!(words.parse::<Span>().map(Span::duration), Ok(span.duration()), "{text} as {words}");
                }
            }
        }
    }
    tally::add("texts", 1);
}

fn told(error: Option<FileError>, text: &str) {
    let Some(error) = error else {
        tally::add("texts that were a file", 1);
        return;
    };
    let FileError::Text { line, message, .. } = error else { panic!("no file was read: {error}") };
    assert!(line >= 1 && line <= text.matches('\n').count() + 1, "line {line}");
    assert!(!message.is_empty() && !message.contains('\n'), "not one sentence: {message:?}");
}

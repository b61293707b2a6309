//! What the grammar refuses, as sentences of our own.

use crate::{args::Cli, failure::Failure};
use clap::{
    Arg, CommandFactory, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The failure for words that are no command line.
pub fn refused(error: &Error) -> Failure {
    let command = command_of(error);
    let help = format!("{command} --help lists them");
    let what = first(error, ContextKind::InvalidArg).map(|word| bare(&word).to_owned()).unwrap_or_default();
    let value = first(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("a command word is missing").hint(help)
        }
        ErrorKind::InvalidSubcommand => {
            let word = first(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let near = near(error, ContextKind::SuggestedSubcommand);
            Failure::usage(format!("'{word}' is not a command of {command}")).hint(near.unwrap_or(help))
        }
        ErrorKind::UnknownArgument if is_negative(&what) => {
            Failure::usage(format!("'{what}' is below zero, and nothing here can be"))
        }
        ErrorKind::UnknownArgument if stands_before(&what) => {
            let rest = command.strip_prefix("airlock ").unwrap_or_default();
            Failure::usage(format!("{what} stands before the command word")).hint(format!("airlock {what} … {rest}"))
        }
        ErrorKind::UnknownArgument if what.starts_with('-') => {
            let near = near(error, ContextKind::SuggestedArg);
            Failure::usage(format!("'{what}' is not an option of {command}")).hint(near.unwrap_or(help))
        }
        ErrorKind::UnknownArgument => Failure::usage(format!("'{what}' is one word too many for {command}"))
            .hint(format!("{command} --help shows what it takes")),
        ErrorKind::InvalidValue if value.is_empty() => {
            let shown = first(error, ContextKind::InvalidArg).unwrap_or_default();
            Failure::usage(format!("{what} needs a value after it")).hint(format!("write {shown}"))
        }
        ErrorKind::InvalidValue => Failure::usage(format!("{what} cannot be '{value}'"))
            .hint(format!("use {}", one_of(&all(error, ContextKind::ValidValue)))),
        // Every value that is not text is a count.
        ErrorKind::ValueValidation => {
            Failure::usage(format!("{what} cannot be '{value}'")).hint("use a whole number, 0 or more")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing: Vec<_> =
                all(error, ContextKind::InvalidArg).iter().map(|word| bare(word).to_owned()).collect();
            Failure::usage(format!("{command} lacks {}", missing.join(" and ")))
                .hint(format!("{command} --help shows what it takes"))
        }
        ErrorKind::ArgumentConflict => {
            let other = first(error, ContextKind::PriorArg).unwrap_or_default();
            match bare(&other) {
                same if same == what => Failure::usage(format!("{what} is there twice")).hint("once is enough"),
                other => Failure::usage(format!("{what} and {other} exclude each other")).hint("leave one of them out"),
            }
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let line = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            Failure::usage(line).hint(format!("{command} --help shows what it takes"))
        }
    }
}

/// The words before the first option or argument of the usage line, such as `airlock certs sign`.
fn command_of(error: &Error) -> String {
    let usage = first(error, ContextKind::Usage).unwrap_or_default();
    let words = usage.split_whitespace().skip(1).take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
    let command = words.collect::<Vec<_>>().join(" ");
    if command.is_empty() { "airlock".to_owned() } else { command }
}

fn all(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(several)) => several.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

fn first(error: &Error, kind: ContextKind) -> Option<String> {
    all(error, kind).into_iter().next()
}

/// `--memory` of `--memory <SIZE>`, `JOB` of `<JOB>...`.
fn bare(shown: &str) -> &str {
    let word = shown.split_whitespace().next().unwrap_or_default();
    word.trim_end_matches("...").trim_matches(['<', '>', '[', ']'])
}

fn near(error: &Error, kind: ContextKind) -> Option<String> {
    let similar = all(error, kind);
    let quoted: Vec<_> = similar.iter().map(|word| format!("'{}'", bare(word))).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", one_of(&quoted)))
}

fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [several @ .., last] => format!("{} or {last}", several.join(", ")),
    }
}

/// Whether it is an option of `airlock` itself.
fn stands_before(word: &str) -> bool {
    let is = |arg: &Arg| {
        let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
    };
    Cli::command().get_arguments().any(is)
}

fn is_negative(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn sentence(words: &[&str]) -> String {
        let parsed = Cli::try_parse_from(std::iter::once("airlock").chain(words.iter().copied()));
        refused(&parsed.unwrap_err()).to_string()
    }

    #[test]
    fn what_the_grammar_refuses_is_named_with_what_to_do() {
        let cases = [
            (&[][..], "a command word is missing; airlock --help lists them"),
            (&["certs"], "a command word is missing; airlock certs --help lists them"),
            (&["nosuch"], "'nosuch' is not a command of airlock; airlock --help lists them"),
            (&["lsit"], "'lsit' is not a command of airlock; did you mean 'list'?"),
            (&["run", "--bogus", "x"], "'--bogus' is not an option of airlock run; airlock run --help lists them"),
            (&["run", "--memroy", "1G", "x"], "'--memroy' is not an option of airlock run; did you mean '--memory'?"),
            (&["list", "--server", "x"], "--server stands before the command word; airlock --server … list"),
            (&["list", "-i", "x"], "-i stands before the command word; airlock -i … list"),
            (&["run", "--memory", "-5", "x"], "'-5' is below zero, and nothing here can be"),
            (&["run", "--memory"], "--memory needs a value after it; write --memory <SIZE>"),
            (
                &["whoami", "me"],
                "'me' is one word too many for airlock whoami; airlock whoami --help shows what it takes",
            ),
            (&["list", "--format", "xml"], "--format cannot be 'xml'; use text or json"),
            (&["logs", "x", "--tail", "ten"], "--tail cannot be 'ten'; use a whole number, 0 or more"),
            (&["status"], "airlock status lacks JOB; airlock status --help shows what it takes"),
            (
                &["context", "add", "x"],
                "airlock context add lacks --server; airlock context add --help shows what it takes",
            ),
            (&["logs", "x", "--stdout", "--stderr"], "--stdout and --stderr exclude each other; leave one of them out"),
            (&["run", "--merge", "--merge", "x"], "--merge is there twice; once is enough"),
        ];
        let wrong: Vec<_> = cases.iter().filter(|(words, said)| sentence(words) != *said).collect();
        let shown: Vec<_> = wrong.iter().map(|(words, _)| sentence(words)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}\n{shown:#?}");
    }
}

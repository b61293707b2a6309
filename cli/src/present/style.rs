//! Colours, on terminals only, and never with NO_COLOR.

use airlock_client::api::JobState;
use anstyle::{AnsiColor, Style};
use std::{fmt::Display, io::IsTerminal};

/// Whether standard output takes colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// For standard output as it is.
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint(!refused && std::io::stdout().is_terminal())
    }

    /// Without colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Paint(false)
    }

    /// `text` in the colour of a state.
    pub fn state(self, state: JobState, text: impl Display) -> String {
        let colour = match state {
            JobState::Queued | JobState::Unspecified => return text.to_string(),
            JobState::Running | JobState::Stopping => AnsiColor::Cyan,
            JobState::Finished => AnsiColor::Green,
            JobState::Stopped => AnsiColor::Yellow,
            _ => AnsiColor::Red,
        };
        self.with(colour.on_default(), text)
    }

    /// `text` in the colour of a finding: ok, warn or FAIL.
    pub fn finding(self, verdict: &str, text: impl Display) -> String {
        let style = match verdict {
            "ok" => AnsiColor::Green.on_default(),
            "warn" => AnsiColor::Yellow.on_default(),
            _ => AnsiColor::Red.on_default().bold(),
        };
        self.with(style, text)
    }

    /// `text` as a heading.
    pub fn bold(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

//! What was found, in order, as text and as JSON.

use crate::{
    failure::Failure,
    present::{json, sanitize, sizes, style::Paint},
    sentences::ASK_DOCTOR,
};
use serde::Serialize;

/// Everything looked at so far.
#[derive(Debug, Default)]
pub struct Findings {
    checks: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: &'static str,
    check: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    failed: usize,
    warnings: usize,
    checks: &'a [Finding],
}

impl Findings {
    /// As it should be.
    pub fn ok(&mut self, check: &'static str, message: String) {
        self.checks.push(Finding { verdict: "ok", check, message, hint: None });
    }

    /// Works, and will not for ever.
    pub fn warn(&mut self, check: &'static str, message: String, hint: Option<String>) {
        self.checks.push(Finding { verdict: "warn", check, message, hint });
    }

    /// Does not work.
    pub fn fail(&mut self, check: &'static str, message: String, hint: Option<String>) {
        self.checks.push(Finding { verdict: "FAIL", check, message, hint });
    }

    /// Does not work, as a command would say it.
    pub fn fail_as(&mut self, check: &'static str, failure: &Failure) {
        let hint = failure.advice().filter(|advice| *advice != ASK_DOCTOR).map(str::to_owned);
        self.fail(check, failure.message().to_owned(), hint);
    }

    /// How many things do not work.
    pub fn failed(&self) -> usize {
        self.count("FAIL")
    }

    /// For people, without a last end of line.
    pub fn text(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        for Finding { verdict, check, message, hint } in &self.checks {
            let padding = " ".repeat(4_usize.saturating_sub(verdict.len()));
            lines.push(format!("{}{padding}  {check:<12}  {}", paint.finding(verdict, verdict), sanitize(message)));
            if let Some(hint) = hint {
                lines.push(format!("{:20}{}", "", sanitize(hint)));
            }
        }
        let warned = |count: usize| sizes::counted(count as u64, "warning");
        lines.push(match (self.failed(), self.count("warn")) {
            (0, 0) => "all is well".to_owned(),
            (0, warnings) => warned(warnings),
            (failed, 0) => format!("{failed} failed"),
            (failed, warnings) => format!("{failed} failed, {}", warned(warnings)),
        });
        lines.join("\n")
    }

    /// One line for programs.
    pub fn json(&self) -> String {
        json::line(&Report { failed: self.failed(), warnings: self.count("warn"), checks: &self.checks })
    }

    fn count(&self, verdict: &str) -> usize {
        self.checks.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_remedy_stands_below_it() {
        let mut findings = Findings::default();
        findings.ok("config", "fine".into());
        findings.warn("identity", "ends soon".into(), Some("renew it".into()));
        findings.fail("executor", "away \x1b[31m".into(), None);
        assert_eq!(
            findings.text(Paint::plain()),
            "ok    config        fine\nwarn  identity      ends soon\n                    renew it\nFAIL  executor      away \\x1b[31m\n1 failed, 1 warning"
        );
        assert!(
            findings.json().starts_with(
                r#"{"failed":1,"warnings":1,"checks":[{"verdict":"ok","check":"config","message":"fine"}"#
            )
        );
    }
}

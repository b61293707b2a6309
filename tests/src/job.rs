//! One job of a stack, as its owner's client sees it.

use std::time::Duration;

use serde_json::Value;

use crate::{Airlock, JobGroup, Stack, scale, wait_until};

/// A job by its full id, asked about as the identity that started it.
#[derive(Clone, Debug)]
pub struct Job<'stack> {
    stack: &'stack Stack,
    identity: String,
    id: String,
}

impl<'stack> Job<'stack> {
    pub(crate) fn new(stack: &'stack Stack, identity: &str, id: String) -> Self {
        Self { stack, identity: identity.to_owned(), id }
    }

    /// The full id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first eight characters of the id, as people see it.
    pub fn short(&self) -> &str {
        &self.id[..8]
    }

    /// The job object of `status --format json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.airlock("status").args([&self.id, "--format", "json"]).run().ends_with(0).json()
    }

    /// The state's word.
    #[track_caller]
    pub fn state(&self) -> String {
        text(&self.status(), "state")
    }

    /// A command of its owner.
    pub fn airlock(&self, command: &str) -> Airlock {
        self.stack.airlock(&self.identity).arg(command)
    }

    /// Waits for its end and returns the job object.
    #[track_caller]
    pub fn end(&self) -> Value {
        self.end_within(60)
    }

    /// Waits so many seconds (on an ordinary host) for its end and returns the job object.
    #[track_caller]
    pub fn end_within(&self, seconds: u64) -> Value {
        self.airlock("wait").arg(&self.id).limit_seconds(seconds).run();
        let job = self.status();
        assert!(is_ended(&job), "wait came back before the end: {job}");
        job
    }

    /// Waits until the job is in this state and returns the job object.
    #[track_caller]
    pub fn reaches(&self, state: &str) -> Value {
        wait_until(&format!("job {} {state}", self.id), scale::seconds(30), || {
            let job = self.status();
            let there = text(&job, "state") == state;
            assert!(there || !is_ended(&job), "expected {state}, but it ended: {job}");
            there.then_some(job)
        })
    }

    /// Waits until its kept standard output holds the text.
    #[track_caller]
    pub fn has_said(&self, said: &str) {
        wait_until(&format!("'{said}' in the output of {}", self.id), scale::seconds(30), || {
            let output = self.airlock("logs").args([&self.id, "--stdout"]).run();
            output.out().contains(said).then_some(())
        });
    }

    /// Waits until the log holds at least so many bytes.
    #[track_caller]
    pub fn has_written(&self, bytes: u64, deadline: Duration) {
        wait_until(&format!("{bytes} bytes from {}", self.id), deadline, || {
            let job = self.status();
            let written = job["output"]["bytes"].as_u64().unwrap_or(0);
            assert!(written >= bytes || !is_ended(&job), "ended after {written} bytes: {job}");
            (written >= bytes).then_some(())
        });
    }

    /// All that was kept of its standard output, byte by byte.
    #[track_caller]
    pub fn stdout(&self) -> Vec<u8> {
        self.airlock("logs").args([&self.id, "--stdout"]).run().ends_with(0).stdout().to_vec()
    }

    /// Its control groups.
    pub fn group(&self) -> JobGroup {
        JobGroup::of(&self.stack.cgroup(), &self.id)
    }

    /// Ends it at once, whatever it does.
    #[track_caller]
    pub fn kill(&self) {
        self.airlock("stop").args([&self.id, "--grace", "0"]).run().ends_with(0);
    }
}

/// Whether a job object is in a state that never changes again.
pub(crate) fn is_ended(job: &Value) -> bool {
    !matches!(text(job, "state").as_str(), "queued" | "running" | "stopping")
}

#[track_caller]
fn text(job: &Value, field: &str) -> String {
    match job[field].as_str() {
        Some(text) => text.to_owned(),
        None => panic!("no text '{field}' in {job}"),
    }
}

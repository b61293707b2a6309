//! One job from its start to the comparison of everything that Airlock says about it with the truth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use airlock_e2e::sha256;
use serde_json::Value;

use crate::book::Book;
use crate::client::{Client, Ended};
use crate::rng::Rng;
use crate::script::{Kind, Last, Script};

/// How long anything may take, restarts included, on a machine that is busy with other things too.
const PATIENCE: Duration = Duration::from_secs(300);

/// The kinds of jobs that are asked for by commands, and how often each comes.
const WEIGHTS: [(Kind, u64); 16] = [
    (Kind::Short, 16),
    (Kind::Chatty, 14),
    (Kind::Silent, 6),
    (Kind::Long, 10),
    (Kind::Binary, 12),
    (Kind::Forking, 6),
    (Kind::Failing, 8),
    (Kind::Signalled, 6),
    (Kind::OutOfMemory, 4),
    (Kind::TimedOut, 4),
    (Kind::DeafTimedOut, 2),
    (Kind::Daemonising, 4),
    (Kind::Stopped, 4),
    (Kind::DeafStopped, 3),
    (Kind::NotFound, 2),
    (Kind::Victim, 4),
];

/// A job of the storm.
pub struct Errand {
    book: Arc<Book>,
    kind: Kind,
    seed: u64,
    rng: Rng,
}

impl Errand {
    /// The `n`th job of a storm.
    pub fn of(book: Arc<Book>, storm: u64, n: u64) -> Self {
        let mut rng = Rng::part(storm, n);
        let (kind, seed) = (rng.weighted(&WEIGHTS), rng.next());
        Self { book, kind, seed, rng }
    }

    /// Runs it and compares.
    pub fn run(mut self) {
        self.book.count(&format!("jobs: {}", self.kind.word()), 1);
        if let Err(why) = self.go() {
            self.book.fail(format!("{} {:016x}: {why}", self.kind.word(), self.seed));
        }
    }

    fn go(&mut self) -> Result<(), String> {
        let by_run = self.kind != Kind::Victim && !self.kind.is_stopped() && self.rng.percent(25);
        if by_run { self.by_run() } else { self.by_start() }
    }

    fn by_start(&mut self) -> Result<(), String> {
        let id = self.start()?;
        let follower = self.rng.percent(50).then(|| self.book.clients.start(&["logs", "-f", &id])).transpose()?;
        if self.kind != Kind::NotFound {
            self.book.runs(&id, self.kind);
        }
        if self.rng.percent(20) && self.start()? != id {
            return Err(format!("the request id of {id} was repeated and made another job"));
        }
        if self.kind.is_stopped() {
            self.stop(&id)?;
        }
        let job = self.end(&id)?;
        self.compare(&job)?;
        follower.map_or(Ok(()), |follower| self.compare_follower(follower, &job))?;
        if self.rng.percent(20) { self.delete(&id) } else { Ok(()) }
    }

    // The same request id after each loss of the client: the next one finds the same job, and shows it from its beginning.
    fn by_run(&mut self) -> Result<(), String> {
        let words = self.words("run");
        let (first, began) = (self.rng.between(0, 300), Instant::now());
        let ended = loop {
            let client = self.book.clients.start(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
            self.book.count("clients: run", 1);
            if self.kind != Kind::NotFound {
                std::thread::sleep(Duration::from_millis(first));
                if let Ok(Some(job)) = self.status_of(&self.name()) {
                    self.book.runs(text(&job, "job_id"), self.kind);
                }
            }
            let ended = client.finish(PATIENCE)?;
            if !ended.was_killed() && !self.is_to_be_repeated(&ended)? {
                break ended;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("did not start in {PATIENCE:?}: {ended}"));
            }
        };
        if self.kind == Kind::NotFound {
            return if ended.code == Some(127) { Ok(()) } else { Err(format!("expected 127: {ended}")) };
        }
        let job = self.end(&self.name())?;
        self.compare(&job)?;
        if ended.code.map(i64::from) != job["exit_status"].as_i64() {
            return Err(format!("run ended otherwise than its job: {ended}; {job}"));
        }
        self.compare_streams("run", [&ended.stdout, &ended.stderr], &job)
    }

    fn name(&self) -> String {
        format!("storm-{:016x}", self.seed)
    }

    fn last(&self) -> Last {
        Script::of(self.kind, self.seed).last
    }

    fn words(&self, command: &str) -> Vec<String> {
        let name = self.name();
        let mut words = vec![command, "--format", "json", "--name", &name, "--request-id", &name];
        words.extend(self.kind.options());
        words.push("--");
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        words.extend(self.kind.command(&self.book.program, self.seed, &self.book.truth));
        words
    }

    fn start(&mut self) -> Result<String, String> {
        let words = self.words("start");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let began = Instant::now();
        loop {
            let ended = self.book.clients.run(&words, PATIENCE)?;
            self.book.count("clients: start", 1);
            if let (Some(0), Some(answer)) = (ended.code, ended.json()) {
                return Ok(text(&answer, "job_id").to_owned());
            }
            if self.kind == Kind::NotFound && ended.code == Some(127) {
                let job = self.status()?;
                return Ok(text(&job, "job_id").to_owned());
            }
            if !ended.was_killed() && !self.is_to_be_repeated(&ended)? {
                return Err(format!("the start came to an end that it should not: {ended}"));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("did not start in {PATIENCE:?}: {ended}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    // Refusals and losses that a person is told to answer with the same request.
    fn is_to_be_repeated(&self, ended: &Ended) -> Result<bool, String> {
        if ended.code != Some(125) {
            return Ok(false);
        }
        let code = ended.error_code().unwrap_or_default();
        self.book.count(&format!("starts repeated after {code}"), 1);
        match code.as_str() {
            "UNAVAILABLE" | "RESOURCE_EXHAUSTED" => {
                std::thread::sleep(Duration::from_millis(100));
                Ok(true)
            }
            _ => Err(format!("not a reason to repeat: {ended}")),
        }
    }

    fn status(&self) -> Result<Value, String> {
        self.status_by(&self.name())
    }

    fn status_by(&self, reference: &str) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            match self.status_of(reference)? {
                Some(job) => return Ok(job),
                None if began.elapsed() > PATIENCE => return Err(format!("no status of {reference} in {PATIENCE:?}")),
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn status_of(&self, reference: &str) -> Result<Option<Value>, String> {
        let ended = self.book.clients.run(&["status", "--format", "json", reference], PATIENCE)?;
        match (ended.code, ended.error_code().as_deref()) {
            (Some(0), _) => ended.json().map(Some).ok_or_else(|| format!("no JSON: {ended}")),
            (None, _) | (_, Some("UNAVAILABLE" | "NOT_FOUND")) => Ok(None),
            _ => Err(format!("no status: {ended}")),
        }
    }

    fn stop(&mut self, id: &str) -> Result<(), String> {
        let [stdout, stderr] = Script::of(self.kind, self.seed).streams().map(|stream| stream.len() as u64);
        let began = Instant::now();
        while self.status_by(id)?["output"]["bytes"].as_u64() != Some(stdout + stderr) {
            if began.elapsed() > PATIENCE {
                return Err(format!("{id} did not write {stdout} and {stderr} bytes: {}", self.status_by(id)?));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_millis(self.rng.between(0, 1000)));
        loop {
            let ended = self.book.clients.run(&["stop", "--grace", "2s", "--format", "json", id], PATIENCE)?;
            if ended.code == Some(0) {
                return Ok(());
            }
            if !ended.was_killed() && ended.error_code().as_deref() != Some("UNAVAILABLE") {
                return Err(format!("the stop came to an end that it should not: {ended}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    // Whoever asks again after a lost answer may find that it is done.
    fn delete(&self, id: &str) -> Result<(), String> {
        let began = Instant::now();
        self.book.deleted(id);
        loop {
            let ended = self.book.clients.run(&["delete", "--format", "json", id], PATIENCE)?;
            match (ended.code, ended.error_code().as_deref()) {
                (Some(0), _) | (_, Some("NOT_FOUND")) => break,
                (None, _) | (_, Some("UNAVAILABLE")) if began.elapsed() < PATIENCE => {}
                _ => return Err(format!("the job was not deleted: {ended}")),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.book.count("jobs deleted", 1);
        match self.book.clients.run(&["status", "--format", "json", id], PATIENCE)?.json() {
            Some(job) => Err(format!("a deleted job is there again: {job}")),
            None => Ok(()),
        }
    }

    fn end(&mut self, reference: &str) -> Result<Value, String> {
        let began = Instant::now();
        loop {
            let waited = self.book.clients.run(&["wait", reference, "--timeout", "20s"], PATIENCE)?;
            let job = self.status_by(reference)?;
            if !matches!(text(&job, "state"), "queued" | "running" | "stopping") {
                self.book.ended(text(&job, "job_id"), state_and_status(&job));
                return Ok(job);
            }
            if waited.code.is_some_and(|code| code < 122) {
                return Err(format!("wait came back before the end: {waited}; {job}"));
            }
            let may_take_long = self.kind == Kind::Victim && !self.book.calm.load(Ordering::Relaxed);
            if began.elapsed() > PATIENCE && !may_take_long {
                return Err(format!("did not end in {PATIENCE:?}: {job}"));
            }
        }
    }

    fn compare(&mut self, job: &Value) -> Result<(), String> {
        let (id, kind) = (text(job, "job_id"), self.kind);
        let (state, status) = kind.end(self.last()).ok_or("the storm does not know its own job")?;
        if text(job, "state") != state || job["exit_status"].as_i64() != status.map(i64::from) {
            return Err(format!("{id} should be {state} with {status:?}: {job}"));
        }
        if kind == Kind::Victim && (text(job, "lost_reason") != "keeper died" || !self.book.was_keeper_killed(id)) {
            return Err(format!("{id} is lost, but not by the kill of its keeper: {job}"));
        }
        let starts = self.starts()?;
        if starts != usize::from(kind != Kind::NotFound) {
            return Err(format!("{id} was started {starts} times"));
        }
        let missing = job["output"]["missing_bytes"].as_u64().unwrap_or(u64::MAX);
        self.book.count("bytes in marked gaps", missing);
        if kind != Kind::Victim && (job["output"]["complete"] != true || missing != 0) {
            return Err(format!("{id} has no complete output: {job}"));
        }
        let streams = [self.logs(id, "--stdout")?, self.logs(id, "--stderr")?];
        self.count_recovered(id, streams.iter().map(Vec::len).sum())?;
        self.compare_streams("the log", [&streams[0], &streams[1]], job)
    }

    fn compare_follower(&self, follower: Client, job: &Value) -> Result<(), String> {
        let ended = follower.finish(PATIENCE)?;
        if ended.was_killed() {
            return Ok(());
        }
        if ended.code == Some(125) && ended.stdout.is_empty() {
            self.book.count("followers that found no server", 1);
            return Ok(());
        }
        self.book.count("followers that saw everything", 1);
        if ended.code != Some(0) && self.kind != Kind::Victim {
            return Err(format!("a follower did not come to the end: {ended}"));
        }
        self.compare_streams("a follower", [&ended.stdout, &ended.stderr], job)
    }

    fn compare_streams(&self, whose: &str, found: [&Vec<u8>; 2], job: &Value) -> Result<(), String> {
        let partly = match self.kind {
            Kind::Victim => true,
            // The deadline may come before a busy machine has let it write everything.
            Kind::TimedOut | Kind::DeafTimedOut => !self.has_written(),
            _ => false,
        };
        let truth = match self.kind {
            Kind::Victim => Script::streams_of_victim(self.seed, found.map(Vec::len)),
            kind => Script::of(kind, self.seed).streams(),
        };
        for (name, (truth, found)) in ["stdout", "stderr"].into_iter().zip(truth.iter().zip(found)) {
            let kept = job["output"][format!("{name}_bytes")].as_u64().unwrap_or(0);
            let kept = usize::try_from(kept).unwrap_or(usize::MAX);
            let found = if whose == "the log" { found.clone() } else { without_talk(found) };
            let truth = truth.get(..kept).filter(|_| partly).unwrap_or(truth);
            if sha256(truth) != sha256(&found) {
                let same = truth.iter().zip(&found).take_while(|(a, b)| a == b).count();
                return Err(format!(
                    "{name} in {whose} has {} bytes with SHA-256 {}, the truth {} with {}; the same up to {same}: {job}",
                    found.len(),
                    sha256(&found),
                    truth.len(),
                    sha256(truth)
                ));
            }
            self.book.count("bytes compared", found.len() as u64);
        }
        self.book.count(&format!("comparisons with {whose}"), 1);
        Ok(())
    }

    fn logs(&self, id: &str, stream: &str) -> Result<Vec<u8>, String> {
        let began = Instant::now();
        loop {
            let ended = self.book.clients.run(&["logs", stream, id], PATIENCE)?;
            if ended.code == Some(0) || ended.code == Some(123) && self.kind == Kind::Victim {
                return Ok(ended.stdout);
            }
            if !ended.was_killed() && ended.code != Some(125) || began.elapsed() > PATIENCE {
                return Err(format!("no log: {ended}"));
            }
            self.book.count("clients: logs repeated", 1);
        }
    }

    // Chunks that a dead executor had taken and another one sent.
    fn count_recovered(&self, id: &str, bytes: usize) -> Result<(), String> {
        if bytes > 100_000 {
            return Ok(());
        }
        let ended = self.book.clients.run(&["logs", "--format", "json", id], PATIENCE)?;
        let lines = || ended.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let has = |key: &'static str| lines().filter(move |line: &Value| !line[key].is_null()).count() as u64;
        self.book.count("lines marked as recovered", has("recovered"));
        self.book.count("marked gaps", has("gap"));
        Ok(())
    }

    fn starts(&self) -> Result<usize, String> {
        let name = format!("{:016x}.began.", self.seed);
        let entries = std::fs::read_dir(&self.book.truth).map_err(|e| e.to_string())?;
        Ok(entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).count())
    }

    fn has_written(&self) -> bool {
        self.book.truth.join(format!("{:016x}.written", self.seed)).exists()
    }
}

/// Standard error of a client without what it says for itself, such as that the server is away or how the job ended.
pub fn without_talk(found: &[u8]) -> Vec<u8> {
    const TALK: [&[u8]; 2] = [b"airlock: ", b"{\"error\":"];
    let mut rest = found;
    let mut left = Vec::with_capacity(found.len());
    while let Some(at) = (0..rest.len()).find(|at| TALK.iter().any(|talk| rest[*at..].starts_with(talk))) {
        left.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        rest = &rest[end..];
    }
    left.extend_from_slice(rest);
    left
}

/// How a job ended, for comparing it later with itself.
pub fn state_and_status(job: &Value) -> String {
    format!("{} {}", text(job, "state"), job["exit_status"])
}

fn text<'v>(job: &'v Value, field: &str) -> &'v str {
    job[field].as_str().unwrap_or_default()
}

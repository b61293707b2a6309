//! Many small jobs a second, so that every place of both programs is come to again and again with jobs of each phase around. They are
//! started, followed, stopped and deleted by the client's library in this process: a command for each of these would take the
//! machine's time away from those that are to die.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_client::{Client, Error, FollowEvent, Follower, Identity, OutputQuery, Target, api, is_live, state_word};

use crate::book::Book;
use crate::rng::Rng;
use crate::script::{Kept, Kind, Script};
use crate::seen::Seen;

const PATIENCE: Duration = Duration::from_secs(300);
/// Apart from those of the storm's other jobs.
const NUMBERS: u64 = 1 << 40;

const WEIGHTS: [(Kind, u64); 10] = [
    (Kind::Short, 30),
    (Kind::Failing, 10),
    (Kind::Signalled, 5),
    (Kind::Stopped, 15),
    (Kind::DeafStopped, 15),
    (Kind::TimedOut, 10),
    (Kind::NotFound, 5),
    (Kind::Fed, 10),
    (Kind::Overfull, 10),
    (Kind::Capped, 10),
];

/// Has so many of them in flight until the book is calm. The end of the thread says that the last one was compared.
pub fn begin(
    book: Arc<Book>,
    seed: u64,
    in_flight: u64,
    identity: Identity,
    server: &str,
) -> Result<JoinHandle<()>, String> {
    let server = server.parse().map_err(|error| format!("{server}: {error}"))?;
    let target = Target::new(server, None, identity).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    Ok(std::thread::spawn(move || {
        runtime.block_on(async {
            let (client, numbers) = (Client::new(target), Arc::new(AtomicU64::new(NUMBERS)));
            let turns =
                (0..in_flight).map(|_| tokio::spawn(in_turn(book.clone(), client.clone(), seed, numbers.clone())));
            for turn in turns.collect::<Vec<_>>() {
                if let Err(error) = turn.await {
                    book.fail(format!("a small job: {error}"));
                }
            }
        });
    }))
}

async fn in_turn(book: Arc<Book>, client: Client, storm: u64, numbers: Arc<AtomicU64>) {
    while !book.calm.load(Ordering::Relaxed) {
        let mut rng = Rng::part(storm, numbers.fetch_add(1, Ordering::Relaxed));
        let (kind, seed) = (rng.weighted(&WEIGHTS), rng.next());
        book.count(&format!("small jobs: {}", kind.word()), 1);
        let job = Small { book: &book, client: &client, kind, seed, rng };
        if let Err(why) = job.run().await {
            book.fail(format!("small {} {seed:016x}: {why}", kind.word()));
        }
    }
}

struct Small<'s> {
    book: &'s Book,
    client: &'s Client,
    kind: Kind,
    seed: u64,
    rng: Rng,
}

impl Small<'_> {
    async fn run(mut self) -> Result<(), String> {
        let truth = self.book.truth.join(format!("small-{:016x}", self.seed));
        let made = std::fs::create_dir(&truth)
            .and_then(|()| std::fs::set_permissions(&truth, PermissionsExt::from_mode(0o1777)));
        made.map_err(|error| format!("{}: {error}", truth.display()))?;
        let started = self.start(&truth).await?;
        let id = started.job_id.clone();
        if is_live(&started) {
            self.book.runs(&id, self.kind);
        }
        let (job, seen) = self.follow(&id).await?;
        let state = api::JobState::try_from(job.state).unwrap_or_default();
        self.book.ended(&id, format!("{} {}", state_word(state), job.exit_status.unwrap_or_default()));
        self.compare(&job, &seen, &truth)?;
        if self.kind.kept().is_some() {
            // Who followed may have seen what the log does not keep.
            self.compare_what_is_kept(&job).await?;
        }
        std::fs::remove_dir_all(&truth).map_err(|error| format!("{}: {error}", truth.display()))?;
        if self.rng.percent(90) { self.delete(&id).await } else { Ok(()) }
    }

    async fn start(&self, truth: &Path) -> Result<api::Job, String> {
        let name = format!("small-{:016x}", self.seed);
        let timeout_seconds = (self.kind == Kind::TimedOut).then_some(1.0);
        let limits = api::Limits { memory_bytes: Some(64 << 20), timeout_seconds, ..Default::default() };
        let command = self.kind.command(&self.book.program, self.seed, truth);
        let full = match self.kind.kept() {
            None => api::OutputFull::Unspecified,
            Some(Kept::Ends) => api::OutputFull::DropOldest,
            Some(Kept::Beginning) => api::OutputFull::Stop,
        };
        let mut request = api::StartJobRequest {
            request_id: name.clone(),
            name,
            command,
            limits: Some(limits),
            output_limit_bytes: self.kind.kept().map(|_| Kept::BYTES),
            output_full: full.into(),
            ..Default::default()
        };
        let input = Script::of(self.kind, self.seed).input();
        let (began, mut is_sent) = (Instant::now(), input.is_none());
        loop {
            if !is_sent {
                request.input_id = self.send(input.clone().unwrap_or_default(), began).await?;
                is_sent = true;
            }
            match self.client.start(&request, PATIENCE).await {
                Ok(started) => return Ok(started.job),
                // A frontend that dies takes with it what no job has yet.
                Err(Error::Answer(answer))
                    if answer.field.as_deref() == Some("input_id") && began.elapsed() < PATIENCE =>
                {
                    self.book.count("inputs sent again", 1);
                    is_sent = false;
                }
                Err(error) if is_to_be_repeated(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => return Err(format!("the start: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn send(&self, input: Vec<u8>, began: Instant) -> Result<String, String> {
        loop {
            match self.client.upload(std::io::Cursor::new(input.clone())).await {
                Ok(answer) => return Ok(answer.input_id),
                Err(error) if is_to_be_repeated(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => return Err(format!("sending the input: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // To the end; a job that somebody stops is stopped when it has written everything.
    async fn follow(&self, id: &str) -> Result<(api::Job, Seen), String> {
        let expected: usize = Script::of(self.kind, self.seed).streams().iter().map(Vec::len).sum();
        let mut seen = Seen::default();
        let mut stops = self.kind.is_stopped();
        let mut follower = Follower::new(self.client.clone(), OutputQuery::follow(id, 0), PATIENCE).persistent();
        loop {
            let event =
                tokio::time::timeout(PATIENCE, follower.next()).await.map_err(|_| format!("{id}: nothing comes"))?;
            match event.map_err(|error| format!("following {id}: {error}"))? {
                Some(FollowEvent::Chunk(chunk)) => seen.chunk(&chunk).map_err(|why| format!("{id}: {why}"))?,
                Some(FollowEvent::Gap(gap)) => seen.gap(&gap).map_err(|why| format!("{id}: {why}"))?,
                Some(FollowEvent::End { job, .. }) => return Ok((*job, seen)),
                Some(_) => {}
                None => return Err(format!("the output of {id} has no end")),
            }
            if stops && seen.bytes() >= expected as u64 {
                stops = false;
                let grace = Some(Duration::from_millis(300));
                let stopped = self.client.stop_surely(id, 0, grace, PATIENCE).await;
                stopped.map_err(|error| format!("stopping {id}: {error}"))?;
            }
        }
    }

    fn compare(&self, job: &api::Job, seen: &Seen, truth: &Path) -> Result<(), String> {
        let script = Script::of(self.kind, self.seed);
        let state = state_word(api::JobState::try_from(job.state).unwrap_or_default());
        if Some((state, job.exit_status)) != self.kind.end(script.last) {
            return Err(format!("it should have ended with {:?}: {job:?}", self.kind.end(script.last)));
        }
        let output = job.output.unwrap_or_default();
        if !output.complete || self.kind.kept().is_none() && output.missing_bytes != 0 {
            return Err(format!("its output is not complete: {job:?}"));
        }
        let entries = std::fs::read_dir(truth).map_err(|error| error.to_string())?;
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let starts = names.iter().filter(|name| name.contains(".began.")).count();
        if starts != usize::from(self.kind != Kind::NotFound) {
            return Err(format!("it was started {starts} times: {job:?}"));
        }
        // The deadline may come before a busy machine has let it write everything; who is stopped for too much has more to write.
        let wrote_all = match self.kind {
            Kind::TimedOut => names.iter().any(|name| name.ends_with(".written")),
            Kind::Capped => false,
            _ => true,
        };
        seen.compare(&script.streams(), wrote_all, self.kind.kept()).map_err(|why| format!("{why}: {job:?}"))?;
        if seen.reached() != output.bytes {
            return Err(format!("{} bytes were followed to the end: {job:?}", seen.reached()));
        }
        self.book.count("bytes compared", seen.bytes());
        self.book.count("comparisons with a follower of a small job", 1);
        Ok(())
    }

    async fn compare_what_is_kept(&self, job: &api::Job) -> Result<(), String> {
        let (_, kept) = self.follow(&job.job_id).await?;
        kept.compare(&Script::of(self.kind, self.seed).streams(), self.kind != Kind::Capped, self.kind.kept())
            .and_then(|()| kept.is_bounded())
            .map_err(|why| format!("of the log: {why}: {job:?}"))?;
        let missing = job.output.unwrap_or_default().missing_bytes;
        if kept.missing() != missing {
            return Err(format!("{} bytes are missing in the log: {job:?}", kept.missing()));
        }
        self.book.count("bytes above a limit, marked as that", missing);
        self.book.count("comparisons with a log that was full", 1);
        Ok(())
    }

    // Whoever asks again after a lost answer may find that it is done.
    async fn delete(&self, id: &str) -> Result<(), String> {
        self.book.deleted(id);
        let began = Instant::now();
        loop {
            match self.client.delete(id).await {
                Ok(_) => break,
                Err(Error::Answer(answer)) if answer.code_name() == "NOT_FOUND" => break,
                Err(error) if is_to_be_repeated(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => return Err(format!("deleting {id}: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.book.count("jobs deleted", 1);
        Ok(())
    }
}

// Refusals and losses that a person is told to answer with the same request.
fn is_to_be_repeated(error: &Error) -> bool {
    let exhausted = matches!(error, Error::Answer(answer) if answer.code_name() == "RESOURCE_EXHAUSTED");
    exhausted || error.is_passing()
}

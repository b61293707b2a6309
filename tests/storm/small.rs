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
use crate::script::{Kind, Script};

const PATIENCE: Duration = Duration::from_secs(300);
/// Apart from those of the storm's other jobs.
const NUMBERS: u64 = 1 << 40;

const WEIGHTS: [(Kind, u64); 7] = [
    (Kind::Short, 40),
    (Kind::Failing, 10),
    (Kind::Signalled, 5),
    (Kind::Stopped, 15),
    (Kind::DeafStopped, 15),
    (Kind::TimedOut, 10),
    (Kind::NotFound, 5),
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
        let (job, streams) = self.follow(&id).await?;
        let state = api::JobState::try_from(job.state).unwrap_or_default();
        self.book.ended(&id, format!("{} {}", state_word(state), job.exit_status.unwrap_or_default()));
        self.compare(&job, &streams, &truth)?;
        std::fs::remove_dir_all(&truth).map_err(|error| format!("{}: {error}", truth.display()))?;
        if self.rng.percent(90) { self.delete(&id).await } else { Ok(()) }
    }

    async fn start(&self, truth: &Path) -> Result<api::Job, String> {
        let name = format!("small-{:016x}", self.seed);
        let timeout_seconds = (self.kind == Kind::TimedOut).then_some(1.0);
        let limits = api::Limits { memory_bytes: Some(64 << 20), timeout_seconds, ..Default::default() };
        let command = self.kind.command(&self.book.program, self.seed, truth);
        let request = api::StartJobRequest {
            request_id: name.clone(),
            name,
            command,
            limits: Some(limits),
            ..Default::default()
        };
        let began = Instant::now();
        loop {
            match self.client.start(&request, PATIENCE).await {
                Ok(started) => return Ok(started.job),
                Err(error) if is_to_be_repeated(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => return Err(format!("the start: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    // To the end; a job that somebody stops is stopped when it has written everything.
    async fn follow(&self, id: &str) -> Result<(api::Job, [Vec<u8>; 2]), String> {
        let expected: usize = Script::of(self.kind, self.seed).streams().iter().map(Vec::len).sum();
        let mut streams = [Vec::new(), Vec::new()];
        let mut stops = self.kind.is_stopped();
        let mut follower = Follower::new(self.client.clone(), OutputQuery::follow(id, 0), PATIENCE).persistent();
        loop {
            let event =
                tokio::time::timeout(PATIENCE, follower.next()).await.map_err(|_| format!("{id}: nothing comes"))?;
            match event.map_err(|error| format!("following {id}: {error}"))? {
                Some(FollowEvent::Chunk(chunk)) => {
                    let to = usize::from(chunk.stream() == api::Stream::Stderr);
                    streams[to].extend_from_slice(&chunk.data);
                }
                Some(FollowEvent::Gap(gap)) => return Err(format!("{id} has a gap: {gap:?}")),
                Some(FollowEvent::End { job, .. }) => return Ok((*job, streams)),
                Some(_) => {}
                None => return Err(format!("the output of {id} has no end")),
            }
            if stops && streams.iter().map(Vec::len).sum::<usize>() >= expected {
                stops = false;
                let grace = Some(Duration::from_millis(300));
                let stopped = self.client.stop_surely(id, 0, grace, PATIENCE).await;
                stopped.map_err(|error| format!("stopping {id}: {error}"))?;
            }
        }
    }

    fn compare(&self, job: &api::Job, found: &[Vec<u8>; 2], truth: &Path) -> Result<(), String> {
        let script = Script::of(self.kind, self.seed);
        let state = state_word(api::JobState::try_from(job.state).unwrap_or_default());
        if Some((state, job.exit_status)) != self.kind.end(script.last) {
            return Err(format!("it should have ended with {:?}: {job:?}", self.kind.end(script.last)));
        }
        let output = job.output.unwrap_or_default();
        if !output.complete || output.missing_bytes != 0 {
            return Err(format!("its output is not complete: {job:?}"));
        }
        let entries = std::fs::read_dir(truth).map_err(|error| error.to_string())?;
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let starts = names.iter().filter(|name| name.contains(".began.")).count();
        if starts != usize::from(self.kind != Kind::NotFound) {
            return Err(format!("it was started {starts} times: {job:?}"));
        }
        // The deadline may come before a busy machine has let it write everything.
        let wrote_all = self.kind != Kind::TimedOut || names.iter().any(|name| name.ends_with(".written"));
        for (which, (truth, found)) in script.streams().iter().zip(found).enumerate() {
            if !(truth == found || !wrote_all && truth.starts_with(found)) {
                let same = truth.iter().zip(found).take_while(|(a, b)| a == b).count();
                let (found, truth) = (found.len(), truth.len());
                return Err(format!(
                    "stream {} has {found} bytes, the truth {truth}; the same up to {same}: {job:?}",
                    which + 1
                ));
            }
        }
        self.book.count("bytes compared", output.bytes);
        self.book.count("comparisons with a follower of a small job", 1);
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

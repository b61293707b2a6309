//! What the server knows and was told to do.

use airlock_client::api::{self, JobState};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

/// What jobs started from now on do.
#[derive(Clone, Default)]
pub struct Script {
    pub steps: Vec<Step>,
}

#[derive(Clone)]
pub enum Step {
    Out(Vec<u8>),
    Err(Vec<u8>),
    /// Bytes that the log does not have.
    Gap(u64),
    End(Ending),
    /// Lives until it is asked to stop, then ends by the signal; `Some` ignores all but SIGKILL.
    UntilStopped {
        stubborn: bool,
    },
}

#[derive(Clone)]
pub struct Ending {
    pub state: JobState,
    pub status: Option<i32>,
    pub exit: Option<api::Exit>,
}

impl Ending {
    pub fn code(code: i32) -> Self {
        let state = if code == 0 { JobState::Finished } else { JobState::Failed };
        Ending { state, status: Some(code), exit: Some(api::Exit { code: Some(code), ..Default::default() }) }
    }

    pub fn signal(state: JobState, signal: i32) -> Self {
        let exit =
            api::Exit { signal: Some(signal), signal_name: airlock_client::signal_name(signal), ..Default::default() };
        Ending { state, status: Some(128 + signal), exit: Some(exit) }
    }
}

pub struct Shared {
    inner: Mutex<Inner>,
    /// Changes with everything, so that followers look again.
    pub changed: watch::Sender<u64>,
}

#[derive(Default)]
pub struct Inner {
    pub script: Script,
    pub jobs: Vec<FakeJob>,
    pub starts: Vec<api::StartJobRequest>,
    pub stops: Vec<api::StopJobRequest>,
    pub signals: Vec<api::SignalJobRequest>,
    pub streams: Vec<api::StreamOutputRequest>,
    pub uploads: Vec<Vec<u8>>,
    pub waits: usize,
    /// Live jobs of the caller's group.
    pub group_jobs: u64,
    /// What the server tells of an executor that is not connected.
    pub executor_seen: bool,
    /// What it tells admins of its configuration.
    pub warnings: Vec<String>,
    /// Answers to StartJob are kept back while this holds.
    pub hold_start: bool,
    /// Given instead of the next answer to StartJob.
    pub refuse_start: Option<tonic::Status>,
    /// Directories that the profile standard lists beside the fresh one.
    pub standard_cwd: Vec<String>,
    /// The caller's role, user if it is empty.
    pub role: String,
    /// The profile standard has no fresh directory.
    pub no_fresh_cwd: bool,
    /// The end of a stream shows a job that lives.
    pub lie_about_the_end: bool,
}

pub struct FakeJob {
    pub job: api::Job,
    pub log: Vec<(api::Stream, u64, Vec<u8>)>,
    pub gaps: Vec<(u64, u64)>,
    pub length: u64,
    pub stubborn: bool,
}

impl Default for Shared {
    fn default() -> Self {
        Shared { inner: Mutex::default(), changed: watch::channel(0).0 }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn script(&self, steps: Vec<Step>) {
        self.lock().script = Script { steps };
    }

    /// Waits until the server's state satisfies `condition`.
    pub fn until(&self, what: &str, condition: impl Fn(&Inner) -> bool) {
        crate::harness::until(what, || condition(&self.lock()));
    }

    /// Lets a job do more.
    pub fn perform(&self, index: usize, steps: &[Step]) {
        let mut inner = self.lock();
        for step in steps {
            inner.jobs[index].perform(step);
        }
        drop(inner);
        self.notify();
    }
}

impl Inner {
    pub fn start(&mut self, request: &api::StartJobRequest) -> (api::Job, bool) {
        if let Some(known) = self.jobs.iter().find(|job| job.job.request_id == request.request_id) {
            return (known.job.clone(), true);
        }
        let number = self.jobs.len() + 1;
        let now = Some(prost_types::Timestamp { seconds: 1_795_162_172, nanos: 0 });
        let job = api::Job {
            job_id: format!("{number:08x}-5b7d-4c1a-9f60-2d8e4b7a1c05"),
            name: request.name.clone(),
            owner: "alice".into(),
            host: "build1".into(),
            profile: "standard".into(),
            state: JobState::Running.into(),
            command: request.command.clone(),
            request_id: request.request_id.clone(),
            created_at: now,
            started_at: now,
            ..Default::default()
        };
        let mut job = FakeJob { job, log: Vec::new(), gaps: Vec::new(), length: 0, stubborn: false };
        for step in &self.script.steps {
            job.perform(step);
        }
        let answer = job.job.clone();
        self.jobs.push(job);
        (answer, false)
    }

    pub fn find(&mut self, name: &str) -> Result<&mut FakeJob, tonic::Status> {
        let known = |job: &FakeJob| job.job.job_id.starts_with(name) || (!name.is_empty() && job.job.name == name);
        let index = if name == "last" { self.jobs.len().checked_sub(1) } else { self.jobs.iter().position(known) };
        match index {
            Some(index) => Ok(&mut self.jobs[index]),
            None => Err(tonic::Status::not_found(format!("no job '{name}' that you may see on build1"))),
        }
    }
}

impl FakeJob {
    fn perform(&mut self, step: &Step) {
        match step {
            Step::Out(data) => self.append(api::Stream::Stdout, data),
            Step::Err(data) => self.append(api::Stream::Stderr, data),
            Step::Gap(bytes) => {
                self.gaps.push((self.length, self.length + bytes));
                self.length += bytes;
            }
            Step::End(ending) => self.end(ending),
            Step::UntilStopped { stubborn } => self.stubborn = *stubborn,
        }
    }

    fn append(&mut self, stream: api::Stream, data: &[u8]) {
        self.log.push((stream, self.length, data.to_vec()));
        self.length += data.len() as u64;
    }

    pub fn end(&mut self, ending: &Ending) {
        self.job.set_state(ending.state);
        self.job.exit_status = ending.status;
        self.job.exit = ending.exit.clone();
        self.job.ended_at = Some(prost_types::Timestamp { seconds: 1_795_162_173, nanos: 0 });
        self.job.output = Some(api::Output { bytes: self.length, complete: true, ..Default::default() });
        if ending.state == JobState::Error {
            let message = format!("no program '{}' in /usr/bin (profile standard)", self.job.command.join(" "));
            self.job.start_error = Some(api::StartError { step: "exec".into(), errno: 2, message });
            self.job.started_at = None;
        }
    }

    pub fn stop(&mut self, request: &api::StopJobRequest) {
        if airlock_client::is_live(&self.job) {
            let first = self
                .job
                .stop
                .get_or_insert_with(|| api::Stop { by: "alice".into(), signal: request.signal, at: None })
                .signal;
            self.job.set_state(JobState::Stopping);
            if request.grace_ms == Some(0) {
                self.end(&Ending::signal(JobState::Stopped, 9));
            } else if !self.stubborn {
                self.end(&Ending::signal(JobState::Stopped, first));
            }
        }
    }
}

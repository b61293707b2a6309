//! The methods of `airlock.v1.JobService`.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use airlock_proto::identity::Role;
use airlock_proto::v1::{self, job_service_server::JobService};
use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::door::Guest;
use super::intake::UPLOAD_MESSAGE_MAX;
use super::{answer, ask, error, stream};
use crate::authorize::{Caller, Verb};
use crate::executor::LinkState;
use crate::jobs::{JobView, Jobs, JobsError, Upload, is_request_id};
use crate::output::Start;

/// Answers calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    jobs: Jobs,
    stop: CancellationToken,
}

impl Service {
    /// `stop` ends streams with UNAVAILABLE, so that clients come back.
    pub fn new(jobs: Jobs, stop: CancellationToken) -> Self {
        Self { jobs, stop }
    }

    /// Who calls, as the door found.
    fn guest<T>(&self, request: &Request<T>) -> Result<Guest, Status> {
        let guest = request.extensions().get::<Guest>().cloned();
        guest.ok_or_else(|| Status::unauthenticated("nobody comes here but through the door"))
    }

    /// The status for an error, and its line in the journal.
    fn refuse(&self, caller: &Caller, verb: Verb, error: &JobsError) -> Status {
        let status = error::status(error, &caller.request_id);
        let Caller { name, serial, peer, request_id, .. } = caller;
        let (verb, code, rule) = (verb.word(), status.code(), caller.terms.decided_by());
        match code {
            Code::Internal => tracing::error!(request_id, name, serial, %peer, verb, ?code, %error, "failed"),
            _ => tracing::info!(request_id, name, serial, %peer, %rule, verb, ?code, %error, "refused"),
        }
        status
    }

    /// Whether a role has a verb; when not, the refusal.
    pub(super) fn may(&self, caller: &Caller, verb: Verb) -> Result<(), Status> {
        self.jobs.allow(caller, verb).map_err(|error| self.refuse(caller, verb, &error))
    }

    fn answer(&self, view: JobView) -> Option<v1::Job> {
        Some(answer::job(view, self.jobs.host()))
    }

    async fn receive(
        &self,
        caller: &Caller,
        mut data: Streaming<v1::UploadInputRequest>,
    ) -> Result<v1::UploadInputResponse, Status> {
        let refuse = |e: JobsError| self.refuse(caller, Verb::Start, &e);
        self.jobs.allow(caller, Verb::Start).map_err(refuse)?;
        let mut upload = self.jobs.upload(caller).map_err(refuse)?;
        let mut unseen = 0;
        while let Some(message) = data.message().await? {
            if message.data.len() > UPLOAD_MESSAGE_MAX {
                let error =
                    JobsError::invalid("data", "a message of an upload carries more than 1 MiB; send smaller ones");
                return Err(refuse(error));
            }
            unseen += message.data.len();
            let look = (unseen >= LOOK_EVERY).then(|| self.jobs.clone());
            if look.is_some() {
                unseen = 0;
            }
            upload = add(upload, message, look).await.map_err(refuse)?;
        }
        let done = upload.finish();
        Ok(v1::UploadInputResponse {
            input_id: done.input_id,
            bytes: done.digest.bytes,
            sha256: answer::hex(&done.digest.sha256),
        })
    }
}

/// Bytes of an upload between two looks at the room that is left.
const LOOK_EVERY: usize = 16 << 20;

/// Hashing a MiB takes milliseconds: not on a thread that serves others.
async fn add(mut upload: Upload, message: v1::UploadInputRequest, look: Option<Jobs>) -> Result<Upload, JobsError> {
    let work = move || {
        look.map_or(Ok(()), |jobs| jobs.upload_has_room())?;
        upload.add(&message.data).map(|()| upload)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(JobsError::Exhausted {
            what: "host",
            message: format!("the input was not stored ({error}); send it again"),
        }),
    }
}

#[tonic::async_trait]
impl JobService for Service {
    async fn upload_input(
        &self,
        request: Request<Streaming<v1::UploadInputRequest>>,
    ) -> Result<Response<v1::UploadInputResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let uploaded = tokio::select! {
            uploaded = self.receive(&caller, request.into_inner()) => uploaded?,
            () = self.stop.cancelled() => {
                let host = self.jobs.host().to_owned();
                return Err(self.refuse(&caller, Verb::Start, &JobsError::Stopping { host }));
            }
        };
        Ok(Response::new(uploaded))
    }

    async fn start_job(&self, request: Request<v1::StartJobRequest>) -> Result<Response<v1::StartJobResponse>, Status> {
        let Guest { mut caller, .. } = self.guest(&request)?;
        let message = request.into_inner();
        if is_request_id(&message.request_id) {
            caller.request_id.clone_from(&message.request_id);
        }
        let started = match ask::start(message) {
            Ok(ask) => self.jobs.start(&caller, ask).await,
            Err(error) => Err(error),
        };
        let started = started.map_err(|e| self.refuse(&caller, Verb::Start, &e))?;
        let job = self.answer(self.jobs.view(started.job));
        Ok(Response::new(v1::StartJobResponse { job, existed: started.existed }))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::GetJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let view = self.jobs.get(&caller, &request.get_ref().job).await;
        let view = view.map_err(|e| self.refuse(&caller, Verb::See, &e))?;
        Ok(Response::new(v1::GetJobResponse { job: self.answer(self.jobs.checked(view).await) }))
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        let Guest { caller, peer } = self.guest(&request)?;
        let listing = match ask::list(request.into_inner()) {
            Ok((filter, all, page)) => {
                let turn = peer.share.search().await;
                let (jobs, caller) = (self.jobs.clone(), caller.clone());
                // On its own: a query goes on when its caller has gone, and has its turn until it ends.
                let listed = tokio::spawn(async move {
                    let _turn = turn;
                    jobs.list(&caller, filter, all, page).await
                });
                listed.await.unwrap_or_else(|_| Err(JobsError::Stopping { host: self.jobs.host().to_owned() }))
            }
            Err(error) => Err(error),
        };
        let listing = listing.map_err(|e| self.refuse(&caller, Verb::See, &e))?;
        Ok(Response::new(answer::page(listing, self.jobs.host())))
    }

    async fn wait_job(&self, request: Request<v1::WaitJobRequest>) -> Result<Response<v1::WaitJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let message = request.into_inner();
        let time = Some(Duration::from_millis(message.timeout_ms)).filter(|t| !t.is_zero());
        let waited = self.jobs.wait(&caller, &message.job, time).await;
        let waited = waited.map_err(|e| self.refuse(&caller, Verb::See, &e))?;
        Ok(Response::new(v1::WaitJobResponse { job: self.answer(waited.view), ended: waited.ended }))
    }

    async fn stop_job(&self, request: Request<v1::StopJobRequest>) -> Result<Response<v1::StopJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let message = request.into_inner();
        let view = match ask::stop(&message) {
            Ok((signal, grace)) => self.jobs.stop(&caller, &message.job, signal, grace).await,
            Err(error) => Err(error),
        };
        let view = view.map_err(|e| self.refuse(&caller, Verb::Stop, &e))?;
        Ok(Response::new(v1::StopJobResponse { job: self.answer(view) }))
    }

    async fn signal_job(
        &self,
        request: Request<v1::SignalJobRequest>,
    ) -> Result<Response<v1::SignalJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let message = request.into_inner();
        let view = match ask::signal(message.signal) {
            Ok(signal) => self.jobs.signal(&caller, &message.job, signal).await,
            Err(error) => Err(error),
        };
        let view = view.map_err(|e| self.refuse(&caller, Verb::Signal, &e))?;
        Ok(Response::new(v1::SignalJobResponse { job: self.answer(view) }))
    }

    type StreamOutputStream = Pin<Box<dyn Stream<Item = Result<v1::StreamOutputResponse, Status>> + Send>>;

    async fn stream_output(
        &self,
        request: Request<v1::StreamOutputRequest>,
    ) -> Result<Response<Self::StreamOutputStream>, Status> {
        let Guest { caller, peer } = self.guest(&request)?;
        let opened = match ask::output(request.get_ref()) {
            Ok(options) => {
                let searches = !matches!(options.from, Start::Offset(_));
                let _turn = if searches { peer.share.search().await } else { None };
                self.jobs.output(&caller, &request.get_ref().job, options).await
            }
            Err(error) => Err(error),
        };
        let (view, reader) = opened.map_err(|e| self.refuse(&caller, Verb::Output, &e))?;
        let messages = stream::messages(self.jobs.clone(), view, reader, caller.request_id, self.stop.clone());
        Ok(Response::new(Box::pin(messages)))
    }

    async fn delete_job(
        &self,
        request: Request<v1::DeleteJobRequest>,
    ) -> Result<Response<v1::DeleteJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let deleted = self.jobs.delete(&caller, &request.get_ref().job).await;
        let job = deleted.map_err(|e| self.refuse(&caller, Verb::Delete, &e))?;
        tracing::info!(request_id = caller.request_id, name = caller.name, %job, "job deleted");
        Ok(Response::new(v1::DeleteJobResponse { job_id: job.to_string() }))
    }

    async fn archive_job(
        &self,
        request: Request<v1::ArchiveJobRequest>,
    ) -> Result<Response<v1::ArchiveJobResponse>, Status> {
        let Guest { caller, .. } = self.guest(&request)?;
        let view = self.jobs.archive(&caller, &request.get_ref().job).await;
        let view = view.map_err(|e| self.refuse(&caller, Verb::Archive, &e))?;
        Ok(Response::new(v1::ArchiveJobResponse { job: self.answer(view) }))
    }

    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let Guest { caller, peer } = self.guest(&request)?;
        let group = self.jobs.group_of(&caller).await.map_err(|e| self.refuse(&caller, Verb::Ask, &e))?;
        let profiles = self.jobs.profiles_of(&caller);
        Ok(Response::new(v1::WhoAmIResponse {
            units: peer.identity.units().to_vec(),
            role: caller.role.as_str().to_owned(),
            host: self.jobs.host().to_owned(),
            certificate_not_after: Some(answer::system_time(peer.identity.not_after())),
            certificate_serial: caller.serial,
            server_version: crate::BUILD.to_owned(),
            profiles: profiles.iter().map(answer::profile).collect(),
            visibility: caller.visibility.as_str().to_owned(),
            group: group.map(answer::group),
            name: caller.name,
        }))
    }

    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let Guest { caller, peer } = self.guest(&request)?;
        let executor = match self.jobs.executor() {
            LinkState::Live { since, welcome, .. } => v1::ExecutorInfo {
                connected: true,
                since: Some(answer::system_time(since)),
                version: welcome.build,
                cgroups: welcome.cgroups,
                seen: true,
            },
            LinkState::Away { since, seen, .. } => v1::ExecutorInfo {
                connected: false,
                since: Some(answer::system_time(since)),
                version: String::new(),
                cgroups: String::new(),
                seen,
            },
        };
        // What holds by construction of this build: there is no setting that turns any of it off. What the executor promises
        // can only be said while there is one.
        let guarantees = v1::Guarantees {
            durable_records: true,
            limits_read_back: executor.connected,
            audit: executor.connected,
            output_acknowledged: true,
        };
        Ok(Response::new(v1::GetServerInfoResponse {
            host: self.jobs.host().to_owned(),
            version: crate::BUILD.to_owned(),
            time: Some(answer::system_time(SystemTime::now())),
            executor: Some(executor),
            guarantees: Some(guarantees),
            live_jobs: self.jobs.live_count() as u64,
            key_exchange: peer.key_exchange.to_owned(),
            warnings: if caller.role == Role::Admin { self.jobs.missing_profiles() } else { Vec::new() },
        }))
    }
}

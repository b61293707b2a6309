//! The interface, answered from the test's state.

use super::state::Shared;
use airlock_client::api::{
    self, job_service_server::JobService, stream_output_request::From, stream_output_response::Event,
};
use bytes::Bytes;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::Connected};

pub struct Service(pub Arc<Shared>);

pub struct Connection(pub TlsStream<TcpStream>);

#[tonic::async_trait]
impl JobService for Service {
    async fn upload_input(
        &self,
        request: Request<Streaming<api::UploadInputRequest>>,
    ) -> Result<Response<api::UploadInputResponse>, Status> {
        let mut stream = request.into_inner();
        let mut data = Vec::new();
        while let Some(part) = stream.message().await? {
            data.extend_from_slice(&part.data);
        }
        let mut inner = self.0.lock();
        let bytes = data.len() as u64;
        inner.uploads.push(data);
        Ok(Response::new(api::UploadInputResponse {
            input_id: format!("input-{}", inner.uploads.len()),
            bytes,
            sha256: String::new(),
        }))
    }

    async fn start_job(
        &self,
        request: Request<api::StartJobRequest>,
    ) -> Result<Response<api::StartJobResponse>, Status> {
        let request = request.into_inner();
        let (job, existed) = {
            let mut inner = self.0.lock();
            inner.starts.push(request.clone());
            if let Some(refusal) = inner.refuse_start.take() {
                return Err(refusal);
            }
            inner.start(&request)
        };
        let mut changed = self.0.changed.subscribe();
        while self.0.lock().hold_start {
            let _ = changed.changed().await;
        }
        Ok(Response::new(api::StartJobResponse { job: Some(job), existed }))
    }

    async fn get_job(&self, request: Request<api::GetJobRequest>) -> Result<Response<api::GetJobResponse>, Status> {
        let job = self.0.lock().find(&request.get_ref().job)?.job.clone();
        Ok(Response::new(api::GetJobResponse { job: Some(job) }))
    }

    async fn list_jobs(
        &self,
        request: Request<api::ListJobsRequest>,
    ) -> Result<Response<api::ListJobsResponse>, Status> {
        let request = request.into_inner();
        if [&request.since, &request.until].into_iter().flatten().any(|time| time.seconds < 0) {
            return Err(Status::invalid_argument("not a time after 1970"));
        }
        let inner = self.0.lock();
        let wanted = |job: &api::Job| {
            (!request.live || airlock_client::is_live(job))
                && (request.states.is_empty() || request.states.contains(&job.state))
                && (request.owner.is_empty() || request.owner == job.owner)
        };
        let all: Vec<api::Job> = inner.jobs.iter().rev().map(|job| job.job.clone()).filter(wanted).collect();
        let from: usize = request.page_token.parse().unwrap_or(0);
        // Small pages, so that asking for the next one is tested, too.
        let page: Vec<api::Job> =
            all.iter().skip(from).take(2.min(request.page_size.max(1) as usize)).cloned().collect();
        let next = from + page.len();
        let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
        Ok(Response::new(api::ListJobsResponse { jobs: page, next_page_token }))
    }

    async fn wait_job(&self, request: Request<api::WaitJobRequest>) -> Result<Response<api::WaitJobResponse>, Status> {
        let request = request.into_inner();
        self.0.lock().waits += 1;
        let mut changed = self.0.changed.subscribe();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_millis(request.timeout_ms.min(60_000));
        loop {
            let job = self.0.lock().find(&request.job)?.job.clone();
            if !airlock_client::is_live(&job) {
                return Ok(Response::new(api::WaitJobResponse { job: Some(job), ended: true }));
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                return Ok(Response::new(api::WaitJobResponse { job: Some(job), ended: false }));
            }
        }
    }

    async fn stop_job(&self, request: Request<api::StopJobRequest>) -> Result<Response<api::StopJobResponse>, Status> {
        let request = request.into_inner();
        let mut inner = self.0.lock();
        inner.stops.push(request.clone());
        let job = inner.find(&request.job)?;
        job.stop(&request);
        let job = Some(job.job.clone());
        drop(inner);
        self.0.notify();
        Ok(Response::new(api::StopJobResponse { job }))
    }

    async fn signal_job(
        &self,
        request: Request<api::SignalJobRequest>,
    ) -> Result<Response<api::SignalJobResponse>, Status> {
        let request = request.into_inner();
        let mut inner = self.0.lock();
        let job = inner.find(&request.job)?.job.clone();
        inner.signals.push(request);
        Ok(Response::new(api::SignalJobResponse { job: Some(job) }))
    }

    type StreamOutputStream = ReceiverStream<Result<api::StreamOutputResponse, Status>>;

    async fn stream_output(
        &self,
        request: Request<api::StreamOutputRequest>,
    ) -> Result<Response<Self::StreamOutputStream>, Status> {
        let request = request.into_inner();
        let mut inner = self.0.lock();
        inner.streams.push(request.clone());
        let found = inner.find(&request.job)?;
        let from = match request.from {
            Some(From::Offset(offset)) => offset,
            Some(From::TailLines(_)) => found.log.last().map_or(0, |(_, offset, _)| *offset),
            _ => 0,
        };
        if !airlock_client::is_live(&found.job) && from > found.length {
            return Err(Status::out_of_range(format!("offset {from} is beyond the end, {}", found.length)));
        }
        let id = found.job.job_id.clone();
        drop(inner);
        let (events, stream) = mpsc::channel(4);
        tokio::spawn(send_output(self.0.clone(), id, request, from, events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn delete_job(
        &self,
        request: Request<api::DeleteJobRequest>,
    ) -> Result<Response<api::DeleteJobResponse>, Status> {
        let mut inner = self.0.lock();
        let job = inner.find(&request.get_ref().job)?.job.clone();
        if airlock_client::is_live(&job) {
            return Err(Status::failed_precondition(format!("job {} is running; stop it first", &job.job_id[..8])));
        }
        inner.jobs.retain(|known| known.job.job_id != job.job_id);
        Ok(Response::new(api::DeleteJobResponse { job_id: job.job_id }))
    }

    async fn archive_job(
        &self,
        request: Request<api::ArchiveJobRequest>,
    ) -> Result<Response<api::ArchiveJobResponse>, Status> {
        let mut inner = self.0.lock();
        let job = inner.find(&request.get_ref().job)?;
        job.job.archived = true;
        Ok(Response::new(api::ArchiveJobResponse { job: Some(job.job.clone()) }))
    }

    async fn who_am_i(&self, _: Request<api::WhoAmIRequest>) -> Result<Response<api::WhoAmIResponse>, Status> {
        let limits =
            |memory, cpu| Some(api::Limits { memory_bytes: Some(memory), cpu_cores: Some(cpu), ..Default::default() });
        let (fresh_cwd, cwd, role) = {
            let inner = self.0.lock();
            let role = if inner.role.is_empty() { "user" } else { &inner.role };
            (!inner.no_fresh_cwd, inner.standard_cwd.clone(), role.to_owned())
        };
        let standard = api::Profile {
            name: "standard".into(),
            default_limits: limits(1 << 30, 2.0),
            max_limits: limits(16 << 30, 8.0),
            max_input_bytes: 256 << 20,
            fresh_cwd,
            cwd,
            ..Default::default()
        };
        let deploy = api::Profile {
            name: "deploy".into(),
            fixed_command: vec!["/usr/local/bin/deploy".into()],
            ..Default::default()
        };
        Ok(Response::new(api::WhoAmIResponse {
            name: "alice".into(),
            units: vec!["build".into()],
            role,
            host: "build1".into(),
            server_version: "9.9.9".into(),
            profiles: vec![standard, deploy],
            group: Some(api::Group {
                name: "build".into(),
                jobs: self.0.lock().group_jobs,
                max_jobs: Some(20),
                memory_bytes: 5 << 30,
                max_memory_bytes: Some(64 << 30),
                cpu_cores: 6.0,
                max_cpu_cores: Some(16.0),
            }),
            ..Default::default()
        }))
    }

    async fn get_server_info(
        &self,
        _: Request<api::GetServerInfoRequest>,
    ) -> Result<Response<api::GetServerInfoResponse>, Status> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let time = Some(prost_types::Timestamp { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() as i32 });
        let seen = self.0.lock().executor_seen;
        let executor = Some(api::ExecutorInfo { connected: false, since: time, seen, ..Default::default() });
        let held = api::Guarantees { durable_records: true, output_acknowledged: true, ..Default::default() };
        let warnings = self.0.lock().warnings.clone();
        let (host, guarantees) = ("build1".into(), Some(held));
        let info = api::GetServerInfoResponse { host, time, executor, guarantees, warnings, ..Default::default() };
        Ok(Response::new(info))
    }
}

async fn send_output(
    state: Arc<Shared>,
    id: String,
    request: api::StreamOutputRequest,
    from: u64,
    events: mpsc::Sender<Result<api::StreamOutputResponse, Status>>,
) {
    let mut changed = state.changed.subscribe();
    let mut next = from;
    let mut begun = false;
    loop {
        let (mut batch, job, length, lie) = {
            let mut inner = state.lock();
            let lie = inner.lie_about_the_end;
            let Ok(found) = inner.find(&id) else { return };
            (events_from(found, next, request.stream()), found.job.clone(), found.length, lie)
        };
        if !std::mem::replace(&mut begun, true) {
            batch.insert(0, Event::Begin(api::Begin { offset: from, job: Some(job.clone()) }));
        }
        next = length.max(next);
        for event in batch {
            if events.send(Ok(api::StreamOutputResponse { event: Some(event) })).await.is_err() {
                return;
            }
        }
        if !request.follow || !airlock_client::is_live(&job) {
            let mut job = job;
            if lie {
                job.set_state(api::JobState::Running);
            }
            let end = Event::End(api::End { offset: length, job: Some(job) });
            let _ = events.send(Ok(api::StreamOutputResponse { event: Some(end) })).await;
            return;
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = events.closed() => return,
        }
    }
}

fn events_from(job: &super::state::FakeJob, from: u64, only: api::Stream) -> Vec<Event> {
    let mut events = Vec::new();
    for (stream, offset, data) in &job.log {
        // Records larger than a message are sent in parts, as a real log has many small ones.
        for (index, part) in data.chunks(32 << 10).enumerate() {
            let offset = offset + (index as u64) * (32 << 10);
            if offset + part.len() as u64 <= from || (only != api::Stream::Unspecified && only != *stream) {
                continue;
            }
            let skip = from.saturating_sub(offset) as usize;
            let data = Bytes::copy_from_slice(&part[skip..]);
            events.push((
                offset + skip as u64,
                Event::Chunk(api::Chunk {
                    stream: (*stream).into(),
                    offset: offset + skip as u64,
                    data,
                    ..Default::default()
                }),
            ));
        }
    }
    for (start, end) in job.gaps.iter().filter(|(_, end)| *end > from) {
        events.push((*start, Event::Gap(api::Gap { from: *start, to: *end, reason: "output limit".into() })));
    }
    events.sort_by_key(|(offset, _)| *offset);
    events.into_iter().map(|(_, event)| event).collect()
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

//! One server, seen from a client: every call of the interface, with errors that can be understood.

use crate::{
    address::ServerAddress,
    api::{self, job_service_client::JobServiceClient},
    dial::{Dialer, TlsRefusal},
    error::{Answer, Error},
    identity::{CertificateFacts, Identity, IdentityError},
    patience::{Calling, Courtesy, Notice, Patience, Repeat},
    tls,
};
use rustls::pki_types::{CertificateDer, ServerName};
use std::{error::Error as StdError, sync::Arc, time::Duration};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint, Uri},
};

/// Bytes of output that may be on their way before the client has taken them.
const WINDOW: u32 = 8 << 20;
/// Largest piece of a stream that the server may send at once: more than HTTP/2's 16 KiB, each of which costs both sides a write.
const FRAME: u32 = 256 << 10;
/// A page of jobs with long command lines is the largest message.
const LARGEST_ANSWER: usize = 64 << 20;

type Service = JobServiceClient<Channel>;

/// A server and who to be towards it.
pub struct Target {
    dialer: Arc<Dialer>,
    certificate: CertificateDer<'static>,
}

/// What a bare connection shows of a server, for diagnosis.
#[derive(Clone, Debug)]
pub struct NetworkFacts {
    /// The address that answered.
    pub address: std::net::SocketAddr,
    /// Time until TCP and TLS stood.
    pub took: Duration,
    /// Such as `X25519MLKEM768`.
    pub key_exchange: String,
    /// The server's certificate.
    pub certificate: Option<CertificateFacts>,
}

/// A connection to one server, opened by the first call and reopened by the first call after a loss. Clones share it.
#[derive(Clone)]
pub struct Client {
    service: Service,
    channel: Channel,
    dialer: Arc<Dialer>,
    certificate: CertificateDer<'static>,
    pub(crate) courtesy: Courtesy,
}

impl Target {
    /// `server_name` is the name that the server's certificate must carry, when it is not the host of `server` (a tunnel).
    ///
    /// # Errors
    /// [`IdentityError`] when key and certificate do not fit, or when the name is no host name.
    pub fn new(server: ServerAddress, server_name: Option<&str>, identity: Identity) -> Result<Self, IdentityError> {
        let name = server_name.unwrap_or(server.host()).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|_| IdentityError::ServerName(name))?;
        let (configuration, certificate) = tls::configuration(identity)?;
        Ok(Target { dialer: Arc::new(Dialer::new(server, name, Arc::new(configuration))), certificate })
    }
}

impl Client {
    /// Prepares a client. Nothing is sent before the first call. Must be called within a tokio runtime.
    pub fn new(target: Target) -> Self {
        let Target { dialer, certificate } = target;
        let endpoint = Endpoint::from(authority(dialer.server()))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .user_agent(concat!("airlock/", env!("CARGO_PKG_VERSION")))
            .unwrap_or_else(|_| Endpoint::from(authority(dialer.server())));
        let connector = {
            let dialer = dialer.clone();
            tower::service_fn(move |_: Uri| {
                let dialer = dialer.clone();
                async move { dialer.connect().await }
            })
        };
        let channel = endpoint.connect_with_connector_lazy(connector);
        let service = JobServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        Client { service, channel, dialer, certificate, courtesy: Courtesy::default() }
    }

    /// How long a server that does not answer at first is waited for: nothing listens, or it says that it stops. Two seconds
    /// unless said otherwise; zero tries once.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.courtesy.patience = patience;
        self
    }

    /// Calls `tell`, once, when such a wait takes longer than half a second.
    #[must_use]
    pub fn on_waiting(mut self, tell: impl Fn() + Send + Sync + 'static) -> Self {
        self.courtesy.notice = Notice::new(tell);
        self
    }

    /// The server's address.
    pub fn server(&self) -> &ServerAddress {
        self.dialer.server()
    }

    /// The client's own certificate.
    pub fn certificate(&self) -> Option<CertificateFacts> {
        CertificateFacts::read(&self.certificate)
    }

    /// One job as it stands. `job` is an id, a unique prefix, a name or `last`.
    ///
    /// # Errors
    /// [`Error::Answer`] with NOT_FOUND, or FAILED_PRECONDITION when the prefix fits several; transport errors.
    pub async fn job(&self, job: &str) -> Result<api::Job, Error> {
        let request = api::GetJobRequest { job: job.into() };
        let call = |mut service: Service, request| async move { service.get_job(request).await };
        required(self.patiently(Repeat::Harmless, request, call).await?.job)
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Answer`] for a bad filter; transport errors.
    pub async fn list(&self, request: api::ListJobsRequest) -> Result<api::ListJobsResponse, Error> {
        let call = |mut service: Service, request| async move { service.list_jobs(request).await };
        self.patiently(Repeat::Harmless, request, call).await
    }

    /// Waits until the job has ended or `timeout` is over (`None`: for ever), across lost connections as long as each comes
    /// back within `window`. The second value tells whether it has ended. A `timeout` that is over while the connection is lost
    /// answers the job as it was last seen.
    ///
    /// # Errors
    /// As [`Client::job`]; [`Error::GaveUp`] when the connection stays away.
    pub async fn wait(
        &self,
        job: &str,
        timeout: Option<Duration>,
        window: Duration,
    ) -> Result<(api::Job, bool), Error> {
        // One long call would hide a dead connection; the server's own timeouts bound each.
        const ONE_CALL: Duration = Duration::from_secs(30);
        let started = tokio::time::Instant::now();
        let (mut first, mut patience) = (Some(Calling::new(&self.courtesy, Repeat::Harmless)), Patience::new(window));
        let mut seen = None;
        let is_over = || timeout.is_some_and(|timeout| started.elapsed() >= timeout);
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            let call = left.unwrap_or(ONE_CALL).min(ONE_CALL).max(Duration::from_millis(1));
            let timeout_ms = u64::try_from(call.as_millis()).unwrap_or(u64::MAX).max(1);
            let request = api::WaitJobRequest { job: job.into(), timeout_ms };
            match self.answer(self.service.clone().wait_job(request)).await {
                Ok(answer) => {
                    first = None;
                    patience.renew();
                    let job = required(answer.job)?;
                    if answer.ended && !crate::end::is_live(&job) {
                        return Ok((job, true));
                    }
                    if is_over() {
                        return Ok((job, false));
                    }
                    seen = Some(job);
                }
                Err(error) => {
                    // What was lost was there: from now on it is one that has to come back.
                    if matches!(error, Error::Lost(_)) {
                        first = None;
                    }
                    match (&mut first, seen.take_if(|_| is_over())) {
                        (Some(first), _) => first.pause(error).await?,
                        (None, _) if !error.is_passing() => return Err(error),
                        (None, Some(job)) => return Ok((job, false)),
                        (None, None) if is_over() => {
                            return Err(Error::GaveUp { after: started.elapsed(), cause: Box::new(error) });
                        }
                        (None, None) => patience.pause(error).await?,
                    }
                }
            }
        }
    }

    /// Asks a job to end: `signal` (0: SIGTERM) to its process group, and after `grace` (`None`: 10 s) the rest is killed.
    ///
    /// # Errors
    /// As [`Client::job`]; INVALID_ARGUMENT for a bad signal or grace.
    pub async fn stop(&self, job: &str, signal: i32, grace: Option<Duration>) -> Result<api::Job, Error> {
        let grace_ms = grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        let request = api::StopJobRequest { job: job.into(), signal, grace_ms };
        let call = |mut service: Service, request| async move { service.stop_job(request).await };
        required(self.patiently(Repeat::Unsent, request, call).await?.job)
    }

    /// As [`Client::stop`], and asks again after lost connections as long as each comes back within `window`.
    ///
    /// # Errors
    /// As [`Client::stop`]; [`Error::GaveUp`] when the connection stays away.
    pub async fn stop_surely(
        &self,
        job: &str,
        signal: i32,
        grace: Option<Duration>,
        window: Duration,
    ) -> Result<api::Job, Error> {
        let mut patience = Patience::new(window);
        loop {
            match self.stop(job, signal, grace).await {
                Err(error) if error.is_passing() => patience.pause(error).await?,
                result => return result,
            }
        }
    }

    /// Sends one signal (1 to 64) to a job's process group.
    ///
    /// # Errors
    /// As [`Client::job`]; FAILED_PRECONDITION when it does not run.
    pub async fn signal(&self, job: &str, signal: i32) -> Result<api::Job, Error> {
        let request = api::SignalJobRequest { job: job.into(), signal };
        let call = |mut service: Service, request| async move { service.signal_job(request).await };
        required(self.patiently(Repeat::Unsent, request, call).await?.job)
    }

    /// Removes an ended job's record and output, and answers its full id.
    ///
    /// # Errors
    /// As [`Client::job`]; FAILED_PRECONDITION for a live one.
    pub async fn delete(&self, job: &str) -> Result<String, Error> {
        let request = api::DeleteJobRequest { job: job.into() };
        let call = |mut service: Service, request| async move { service.delete_job(request).await };
        Ok(self.patiently(Repeat::Unsent, request, call).await?.job_id)
    }

    /// Takes an ended job out of the default list and spares it from retention.
    ///
    /// # Errors
    /// As [`Client::delete`].
    pub async fn archive(&self, job: &str) -> Result<api::Job, Error> {
        let request = api::ArchiveJobRequest { job: job.into() };
        let call = |mut service: Service, request| async move { service.archive_job(request).await };
        required(self.patiently(Repeat::Harmless, request, call).await?.job)
    }

    /// Who the caller is to the server.
    ///
    /// # Errors
    /// Transport errors, and PERMISSION_DENIED for a caller without any role.
    pub async fn who_am_i(&self) -> Result<api::WhoAmIResponse, Error> {
        let call = |mut service: Service, request| async move { service.who_am_i(request).await };
        self.patiently(Repeat::Harmless, api::WhoAmIRequest {}, call).await
    }

    /// The server: version, clock, executor.
    ///
    /// # Errors
    /// As [`Client::who_am_i`].
    pub async fn server_info(&self) -> Result<api::GetServerInfoResponse, Error> {
        let call = |mut service: Service, request| async move { service.get_server_info(request).await };
        self.patiently(Repeat::Harmless, api::GetServerInfoRequest {}, call).await
    }

    /// Opens a bare connection and tells what it shows; [`Error::Refused`] when the server then sends an alert.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Refused`].
    pub async fn examine_network(&self) -> Result<NetworkFacts, Error> {
        let started = tokio::time::Instant::now();
        let stream = self.dialer.dial().await?;
        let took = started.elapsed();
        let (tcp, tls) = stream.get_ref();
        let lost = |error: std::io::Error| Error::Lost(crate::dial::plain_reason(&error));
        let facts = NetworkFacts {
            address: tcp.get_ref().peer_addr().map_err(lost)?,
            took,
            key_exchange: tls
                .negotiated_key_exchange_group()
                .map_or_else(String::new, |group| format!("{:?}", group.name())),
            certificate: tls.peer_certificates().and_then(|chain| CertificateFacts::read(chain.first()?)),
        };
        drop(stream);
        match self.dialer.probe().await {
            Some(refusal) => Err(self.refused(refusal)),
            None => Ok(facts),
        }
    }

    pub(crate) fn service(&self) -> Service {
        self.service.clone()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A call, made again while the server may only be restarting and `repeat` allows it.
    async fn patiently<R: Clone, T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        repeat: Repeat,
        request: R,
        call: impl Fn(Service, R) -> F,
    ) -> Result<T, Error> {
        let mut calling = Calling::new(&self.courtesy, repeat);
        loop {
            match self.answer(call(self.service(), request.clone())).await {
                Err(error) => calling.pause(error).await?,
                answered => return answered,
            }
        }
    }

    pub(crate) async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        match call.await {
            Ok(response) => {
                self.dialer.note_answer();
                Ok(response.into_inner())
            }
            Err(status) => Err(self.explain(&status).await),
        }
    }

    /// The true reason behind a status: the server's words, or what happened to the connection.
    pub(crate) async fn explain(&self, status: &Status) -> Error {
        // tonic gives a source to what it made itself, and none to what came from the server.
        let local = status.source().map(|source| (TlsRefusal::among_causes(source), deepest_cause(source)));
        let Some((alert, cause)) = local else {
            self.dialer.note_answer();
            return Error::Answer(Box::new(Answer::from_status(status)));
        };
        if let Some(refusal) = alert {
            return self.refused(refusal);
        }
        if let Some(failure) = self.dialer.take_failure() {
            return match failure {
                crate::dial::DialError::Refused { refusal, .. } => self.refused(refusal),
                other => Error::Unreachable(other),
            };
        }
        if !self.dialer.has_answered()
            && let Some(refusal) = self.dialer.probe().await
        {
            return self.refused(refusal);
        }
        Error::Lost(cause)
    }

    fn refused(&self, refusal: TlsRefusal) -> Error {
        Error::Refused { server: self.server().to_string(), refusal }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", self.server()).finish_non_exhaustive()
    }
}

pub(crate) fn required(job: Option<api::Job>) -> Result<api::Job, Error> {
    job.ok_or(Error::Protocol("it names no job"))
}

// The connector ignores the URI; HTTP/2 shows it to the server as :authority.
fn authority(server: &ServerAddress) -> Uri {
    server_uri(server).unwrap_or_else(|| Uri::from_static("http://airlock"))
}

fn server_uri(server: &ServerAddress) -> Option<Uri> {
    format!("http://{server}").parse().ok()
}

fn deepest_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

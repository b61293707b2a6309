//! The running frontend: listener, services, reload, and the way it ends.

#[cfg(test)]
mod tests;
mod together;
mod transport;

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use airlock_proto::v1::job_service_server::JobServiceServer;
use arc_swap::ArcSwap;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::config::{Config, FileError};
use crate::executor::Connector;
use crate::grpc::{Calls, Door, Service};
use crate::jobs::{Jobs, SetupError, Stops};
use crate::metrics::{Metrics, Sources};
use crate::policy::Policy;
use crate::tls::{Acceptor, Registry, TlsError, TlsSetup};
use transport::Transport;

/// Why the frontend could not run. The operator is at fault, or the host.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Records, logs or the executor's connection could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The listening socket, or signals.
    #[error("the server cannot run: {0}")]
    Io(#[from] io::Error),
    /// The reflection service cannot read the interface's own description.
    #[error("the description of the interface is broken: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A part of the program ended that never should.
    #[error("a part of the server ended badly")]
    Broken,
}

/// Why a reload changed nothing. The sentence names file and line.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Certificates, keys, revocation lists.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] FileError),
    /// The program is ending.
    #[error("the frontend is ending")]
    Ending,
}

/// How long calls may take to end once the frontend is asked to.
const GRACE: Duration = Duration::from_secs(5);
/// And how long after that until connections are closed under them.
const LAST_GRACE: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);

/// What a frontend runs with.
#[derive(Debug)]
pub struct Frontend {
    config: Config,
    tls: Arc<ArcSwap<TlsSetup>>,
    policy: Arc<ArcSwap<Policy>>,
    registry: Arc<Registry>,
    stops: Stops,
}

impl Frontend {
    /// Takes what was read from the files.
    pub fn new(config: Config, tls: TlsSetup, policy: Policy) -> Self {
        Self {
            registry: Registry::new(config.limits()),
            config,
            tls: Arc::new(ArcSwap::from_pointee(tls)),
            policy: Arc::new(ArcSwap::from_pointee(policy)),
            stops: Stops::default(),
        }
    }

    /// What ends it from outside, beside signals.
    pub fn stops(&self) -> &Stops {
        &self.stops
    }

    /// Listens to signals from here on, opens records and logs, and begins to connect to the executor. Blocks; needs a runtime around
    /// it ([`Runtime::enter`](tokio::runtime::Runtime::enter)) and must not be called on one of its threads. The threads that it
    /// starts have the caller's niceness.
    ///
    /// # Errors
    /// `Setup`: the state cannot be used, by its own sentence. `Io`: the system takes no handler of signals.
    pub fn open(&self) -> Result<Opened, ServeError> {
        let (config, signals) = (&self.config, Signals::listen()?);
        let connector = Connector::new(config.executor_socket());
        let jobs = Jobs::open(config.state_dir(), config.host(), connector, self.policy.clone(), &self.stops)?;
        Ok(Opened { jobs, signals })
    }

    /// Serves on `listener` until SIGTERM, SIGINT or [`Frontend::stops`]. SIGHUP reloads.
    pub async fn serve(self: Arc<Self>, listener: StdListener, opened: Opened) -> Result<(), ServeError> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let Opened { jobs, signals } = opened;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<JobServiceServer<Service>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(airlock_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let service = Service::new(jobs.clone(), self.stops.closing.clone());
        let door = Door::new(self.config.host(), self.policy.clone());
        let messages = self.config.limits().message_bytes();
        let routes = Routes::new(JobServiceServer::new(service.clone()).max_decoding_message_size(messages))
            .add_service(health_service)
            .add_service(reflection);
        let metrics = Metrics::new(Sources {
            jobs: jobs.clone(),
            connections: self.registry.clone(),
            tls: self.tls.clone(),
            policy: self.policy.clone(),
        });
        let calls = Calls::new(door, service, routes, metrics, messages);
        let transport = Transport::new(calls, self.config.limits());

        let (ready, connections) = mpsc::channel(64);
        let acceptor = Acceptor::new(self.tls.clone(), self.registry.clone(), self.config.limits());
        let closing = self.stops.closing.clone();
        let background = [
            tokio::spawn(acceptor.run(listener, closing.clone(), ready)),
            tokio::spawn(self.clone().follow_signals(signals, jobs.clone())),
            tokio::spawn(self.clone().watch_certificates()),
            tokio::spawn(reassure()),
            tokio::spawn({
                let jobs = jobs.clone();
                async move { jobs.keep_house().await }
            }),
        ];
        notify(&[NotifyState::Ready]);
        tracing::info!(listen = %self.config.listen(), host = self.config.host(), "serving");

        tokio::select! {
            () = transport.serve(connections, closing) => {}
            () = self.run_out_of_time() => {}
        }
        self.stops.closing.cancel();
        self.stops.quit.cancel();
        background.iter().for_each(JoinHandle::abort);
        // Joins threads, which may wait for the disk.
        tokio::task::spawn_blocking(move || jobs.close()).await.map_err(|_| ServeError::Broken)?;
        tracing::info!("stopped; jobs run on");
        Ok(())
    }

    /// Reads certificates and policy again. When something is wrong with them, nothing changes. Connections whose certificate
    /// is no longer accepted are cut.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let files = self.config.tls().clone();
        let policy = self.config.policy().map(ToOwned::to_owned);
        let read = move || -> Result<(TlsSetup, Policy), ReloadError> {
            Ok((TlsSetup::load(&files)?, Policy::load(policy.as_deref())?))
        };
        let (tls, policy) = tokio::task::spawn_blocking(read).await.map_err(|_| ReloadError::Ending)??;
        for warning in &tls.warnings {
            tracing::warn!("{warning}");
        }
        let before = self.policy.swap(Arc::new(policy.clone()));
        let tls = Arc::new(tls);
        self.tls.store(tls.clone());
        let registry = self.registry.clone();
        let recheck = move || {
            registry.recheck(|peer, chain| {
                let role = |policy: &Policy| policy.judge(&peer.identity).ok().map(|standing| standing.role);
                // Calls are judged one by one; a stream was judged when it began.
                let may_go_on = role(&before) == role(&policy) && before.visibility() == policy.visibility();
                tls.accepts(chain) && may_go_on
            })
        };
        let cut = tokio::task::spawn_blocking(recheck).await.map_err(|_| ReloadError::Ending)?;
        tracing::info!(cut, "certificates and policy were read again");
        Ok(())
    }

    /// Ends when calls did not, long enough after they were asked to.
    async fn run_out_of_time(&self) {
        self.stops.closing.cancelled().await;
        tokio::time::sleep(GRACE).await;
        self.stops.quit.cancel();
        tokio::time::sleep(LAST_GRACE).await;
        tracing::warn!("some calls did not end in time");
    }

    async fn follow_signals(self: Arc<Self>, mut signals: Signals, jobs: Jobs) {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.hangup.recv() => {
                    let now = NotifyState::monotonic_usec_now();
                    match now {
                        Ok(now) => notify(&[NotifyState::Reloading, now]),
                        Err(_) => notify(&[NotifyState::Reloading]),
                    }
                    match self.reload().await {
                        Ok(()) => jobs.warn_of_missing_profiles(),
                        Err(error) => tracing::error!(%error, "reload refused; what was in force stays"),
                    }
                    notify(&[NotifyState::Ready]);
                }
            }
        }
        notify(&[NotifyState::Stopping]);
        tracing::info!("stopping: no new connections; running jobs go on");
        self.stops.closing.cancel();
    }

    /// Cuts connections whose certificates end, and once a day says what is wrong with the files.
    async fn watch_certificates(self: Arc<Self>) {
        let daily = async {
            loop {
                tokio::time::sleep(DAY).await;
                let files = self.config.tls().clone();
                match tokio::task::spawn_blocking(move || TlsSetup::load(&files)).await {
                    Ok(Ok(setup)) => setup.warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the certificate files could not be used if they were reloaded")
                    }
                    Err(_) => return,
                }
            }
        };
        tokio::join!(self.registry.cut_when_ended(), daily);
    }
}

/// What is served, and the signals that came since it was opened.
#[derive(Debug)]
pub struct Opened {
    jobs: Jobs,
    signals: Signals,
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Tells systemd, twice in the time that its watchdog gives, that the threads that serve still do.
async fn reassure() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(patience / 2);
    loop {
        tick.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Without systemd there is nobody to tell.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

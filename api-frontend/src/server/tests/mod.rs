//! The whole frontend over real TLS, with an executor that does what the test says.

mod bounds;
mod calls;
mod kept;
mod metrics;
mod pki;
mod reload;
mod rules;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use airlock_proto::v1;
use airlock_proto::v1::job_service_client::JobServiceClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::executor::fake::FakeExecutor;
use pki::{Client, Pair, Pki, put};

pub(super) struct Stack {
    pub dir: TempDir,
    pub fake: FakeExecutor,
    pub pki: Pki,
    pub frontend: Arc<Frontend>,
    pub address: SocketAddr,
    runtime: Option<Runtime>,
    serving: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Stack {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// With further lines in frontend.toml and policy.toml.
    pub fn with(config: &str, policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeExecutor::start(dir.path());
        let pki = Pki::new("test authority");
        let server = pki.server();
        let file = |name: &str| dir.path().join(name);
        put(&file("server.crt"), &server.chain);
        put(&file("server.key"), &server.key);
        put(&file("ca.crt"), &pki.pem);
        put(&file("crl.pem"), &pki.crl(&[], 3600));
        std::fs::create_dir(file("state")).unwrap();
        put(&file("policy.toml"), &format!("{policy}\n[output]\nreserve = 0\n"));
        let text = format!(
            "listen = \"127.0.0.1:0\"\nhost = \"build1\"\nexecutor_socket = \"{0}/executor.sock\"\n\
             state_dir = \"{0}/state\"\npolicy = \"{0}/policy.toml\"\n{config}\n[tls]\ncertificate = \"{0}/server.crt\"\n\
             key = \"{0}/server.key\"\nclient_ca = \"{0}/ca.crt\"\ncrl = \"{0}/crl.pem\"\n",
            dir.path().display()
        );
        let config = Config::parse(&file("frontend.toml"), &text).unwrap();
        let tls = TlsSetup::load(config.tls()).unwrap();
        let policy = Policy::load(config.policy()).unwrap();
        let listener = StdListener::bind(config.listen()).unwrap();
        let address = listener.local_addr().unwrap();
        let frontend = Arc::new(Frontend::new(config, tls, policy));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let opened = {
            let _context = runtime.enter();
            frontend.open().unwrap()
        };
        let serving = runtime.spawn(frontend.clone().serve(listener, opened));
        let stack = Self { dir, fake, pki, frontend, address, runtime: Some(runtime), serving: Some(serving) };
        stack.fake.wait("a connection", |w| w.log.iter().any(|r| matches!(r, ipc_protocol::Request::SyncEnd)));
        stack
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(Duration::from_secs(20), work).await };
        self.runtime().block_on(bounded).expect("it ends in time")
    }

    /// A client with a certificate of the stack's authority.
    pub fn client(&self, name: &str, unit: &str) -> JobServiceClient<Channel> {
        self.client_of(&self.pki.client(&Client::new(name, unit)))
    }

    pub fn client_of(&self, pair: &Pair) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel(Some(pair)))
    }

    /// One connection, made with the first call.
    pub fn channel(&self, pair: Option<&Pair>) -> Channel {
        let config = self.tls_config(pair);
        let address = self.address;
        let connect = tower::service_fn(move |_| {
            let config = config.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").unwrap();
                let stream = TlsConnector::from(config).connect(name, tcp).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        let _guard = self.runtime().enter();
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
    }

    pub fn tls_config(&self, pair: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.pem.as_bytes()).unwrap()).unwrap();
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // The client's first group decides which key share it sends.
        provider.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.frontend.stops().closing.cancel();
        let serving = self.serving.take().expect("it serves");
        self.run(serving).expect("no panic")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.frontend.stops().closing.cancel();
        self.frontend.stops().quit.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

pub(super) fn start_request(request_id: &str) -> v1::StartJobRequest {
    v1::StartJobRequest { request_id: request_id.into(), command: vec!["true".into()], ..Default::default() }
}

pub(super) async fn started(client: &mut JobServiceClient<Channel>, request_id: &str) -> v1::Job {
    client.start_job(start_request(request_id)).await.unwrap().into_inner().job.unwrap()
}

pub(super) fn id(job: &v1::Job) -> ipc_protocol::JobId {
    job.job_id.parse().unwrap()
}

pub(super) async fn who(client: &mut JobServiceClient<Channel>) -> Result<v1::WhoAmIResponse, Status> {
    client.who_am_i(v1::WhoAmIRequest {}).await.map(tonic::Response::into_inner)
}

/// Tries until it is so, at most ten seconds.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(10);
    while !look().await {
        assert!(Instant::now() < end, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

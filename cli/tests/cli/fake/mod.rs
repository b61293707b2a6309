//! A server that speaks the interface and does what each test tells it.

pub mod pki;
mod proxy;
mod service;
mod state;

pub use proxy::Proxy;
pub use state::{Ending, Shared, Step};

use pki::Authority;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use std::{path::Path, sync::Arc, thread};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;

/// A running server. It ends with the process of the test.
pub struct Fake {
    pub port: u16,
    pub state: Arc<Shared>,
    pub folder: tempfile::TempDir,
    pub authority: Authority,
}

/// How the server differs from an ordinary one.
#[derive(Default)]
pub struct Peculiarities {
    pub server_names: Option<Vec<String>>,
    pub revoked: Vec<&'static str>,
    pub server_expired: bool,
}

impl Fake {
    pub fn start() -> Self {
        Self::with(Peculiarities::default())
    }

    pub fn with(peculiarities: Peculiarities) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Test CA");
        authority.write_client(folder.path(), "alice", pki::Validity::Now);
        let names = peculiarities.server_names.clone().unwrap_or_else(|| vec!["localhost".into(), "127.0.0.1".into()]);
        let configuration = server_configuration(&authority, names, &peculiarities, folder.path());
        let state = Arc::new(Shared::default());
        let (ready, port) = std::sync::mpsc::channel();
        let shared = state.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(serve(configuration, shared, ready));
        });
        let port = port.recv().unwrap();
        Fake { port, state, folder, authority }
    }
}

fn server_configuration(
    authority: &Authority,
    names: Vec<String>,
    peculiarities: &Peculiarities,
    folder: &Path,
) -> ServerConfig {
    let validity = if peculiarities.server_expired { pki::Validity::Past } else { pki::Validity::Now };
    let (chain, key) = authority.server(names, validity);
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let crl = authority.revocation_list(folder, &peculiarities.revoked);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).with_crls([crl]).build().unwrap();
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    configuration.send_tls13_tickets = 0;
    configuration
}

async fn serve(configuration: ServerConfig, state: Arc<Shared>, ready: std::sync::mpsc::Sender<u16>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap().port()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(configuration));
    let (accepted, incoming) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => drop(accepted.send(Ok::<_, std::io::Error>(service::Connection(stream))).await),
                    Err((_, mut stream)) => {
                        // The alert must arrive before the reset.
                        use tokio::io::{AsyncReadExt, AsyncWriteExt};
                        let _ = stream.shutdown().await;
                        let drain = async { while stream.read_u8().await.is_ok() {} };
                        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), drain).await;
                    }
                }
            });
        }
    });
    let service = airlock_client::api::job_service_server::JobServiceServer::new(service::Service(state));
    tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

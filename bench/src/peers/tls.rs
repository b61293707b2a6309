//! A bare rustls pair over loopback: a file goes through TLS 1.3 and nothing else.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs,
    server::WebPkiClientVerifier, version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

/// Read, encrypted and written in pieces of this size, in bytes.
const PIECE: usize = 256 * 1024;

/// Serves a file to everybody who connects, with the certificates of a stack in `folder`, from a thread that ends with the
/// process. Answers where.
pub fn serve(folder: &Path, file: &Path) -> Result<SocketAddr> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(folder)?), provider.clone()).build()?;
    let chain = chain(&folder.join("tls/server.crt"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls/server.key"))?;
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    let config = Arc::new(config.with_client_cert_verifier(clients).with_single_cert(chain, key)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let file = file.to_owned();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            if let Err(error) = answer(config.clone(), socket, &file) {
                eprintln!("bench: the bare TLS server: {error:#}");
            }
        }
    });
    Ok(address)
}

/// The command that fetches from there; it runs this program anew, so that a process start is part of it as it is of ours.
pub fn fetch_command(folder: &Path, address: SocketAddr) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("fetch").arg(folder).arg(address.to_string());
    Ok(command)
}

/// Fetches what is served and writes it to standard output.
pub fn fetch(folder: &Path, address: &str) -> Result<()> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    let config = config.with_root_certificates(roots(folder)?);
    let key = PrivateKeyDer::from_pem_file(folder.join("certs/alice.key"))?;
    let config = config.with_client_auth_cert(chain(&folder.join("certs/alice.crt"))?, key)?;
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(b"go")?;
    let mut out = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => out.write_all(&piece[..length])?,
        }
    }
}

fn answer(config: Arc<ServerConfig>, socket: TcpStream, file: &Path) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, socket);
    stream.read_exact(&mut [0; 2])?;
    let mut file = File::open(file)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => stream.write_all(&piece[..length])?,
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

fn roots(folder: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(&folder.join("certs/ca.crt"))? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)?.collect();
    certificates.with_context(|| file.display().to_string())
}

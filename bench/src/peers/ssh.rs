//! OpenSSH on loopback with keys and a configuration of its own, and a multiplexed connection that is already open.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// A server, and a client that stays connected. Both end when dropped.
#[derive(Debug)]
pub struct Ssh {
    folder: PathBuf,
    server: Child,
    /// `None` until sshd listens.
    master: Option<Child>,
    cipher: String,
}

impl Ssh {
    /// Starts both in `folder`. `cipher` is OpenSSH's own choice unless named.
    pub fn start(folder: &Path, cipher: Option<&str>) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::create_dir_all("/run/sshd").context("sshd wants /run/sshd")?;
        for key in ["host", "user"] {
            let file = folder.join(key);
            if !file.exists() {
                let mut keygen = Command::new("ssh-keygen");
                let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status()?;
                ensure!(made.success(), "ssh-keygen ended with {made}");
            }
        }
        // Given back before sshd takes it; nobody else on this machine takes ports below the kernel's own range by chance.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let at = folder.display();
        // Another HOME, so that what root's shell reads at its start (which can take longer than all the rest) is not measured.
        fs::write(
            folder.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/user.pub\n\
                 PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n\
                 MaxSessions 100\nPrintMotd no\nSetEnv HOME={at}\n"
            ),
        )?;
        let choice = cipher.map_or(String::new(), |cipher| format!("Ciphers {cipher}\n"));
        fs::write(
            folder.join("ssh_config"),
            format!(
                "Host peer\nHostName 127.0.0.1\nPort {port}\nUser root\nIdentityFile {at}/user\nIdentitiesOnly yes\n\
                 UserKnownHostsFile {at}/known\nStrictHostKeyChecking no\nLogLevel ERROR\nControlPath {at}/control\n{choice}"
            ),
        )?;
        let log = fs::File::create(folder.join("log"))?;
        let mut server = ending_with_us("/usr/sbin/sshd");
        server.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config")).stdin(Stdio::null()).stderr(log);
        let server = server.spawn().context("/usr/sbin/sshd (package openssh-server)")?;
        let mut ssh = Self { folder: folder.to_owned(), server, master: None, cipher: String::new() };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "sshd does not listen; see {at}/log");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut master = ending_with_us("ssh");
        master.arg("-F").arg(folder.join("ssh_config")).args(["-M", "-N", "peer"]);
        ssh.master = Some(master.stdin(Stdio::null()).spawn()?);
        while !ssh.client().args(["-O", "check", "peer"]).stderr(Stdio::null()).status()?.success() {
            ensure!(begun.elapsed() < Duration::from_secs(20), "no ssh connection to sshd; see {at}/log");
            std::thread::sleep(Duration::from_millis(20));
        }
        ssh.cipher = ssh.agreed_cipher()?;
        Ok(ssh)
    }

    /// A command over the open connection.
    pub fn over_master(&self, words: &[&str]) -> Command {
        let mut command = self.client();
        command.arg("peer").args(words);
        command
    }

    /// A command over a connection of its own.
    pub fn fresh(&self, words: &[&str]) -> Command {
        let mut command = self.client();
        command.args(["-o", "ControlPath=none", "peer"]).args(words);
        command
    }

    /// The cipher that both agreed on.
    pub fn cipher(&self) -> &str {
        &self.cipher
    }

    /// Server and open client.
    pub fn pids(&self) -> Result<[i32; 2]> {
        let master = self.master.as_ref().context("ssh has no master")?;
        Ok([i32::try_from(self.server.id())?, i32::try_from(master.id())?])
    }

    fn client(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.folder.join("ssh_config"));
        command
    }

    fn agreed_cipher(&self) -> Result<String> {
        let mut verbose = self.client();
        verbose.args(["-v", "-o", "ControlPath=none", "-o", "LogLevel=DEBUG1", "peer", "true"]).stdin(Stdio::null());
        let said = String::from_utf8_lossy(&verbose.output()?.stderr).into_owned();
        let line = said.lines().find_map(|line| line.split_once("kex: client->server cipher: "));
        match line.and_then(|(_, rest)| rest.split_whitespace().next()) {
            Some(cipher) => Ok(cipher.to_owned()),
            None => bail!("ssh names no cipher: {said}"),
        }
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        for child in self.master.iter_mut().chain([&mut self.server]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// The kernel ends it when the bench dies, in whatever way.
fn ending_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", program]);
    command
}

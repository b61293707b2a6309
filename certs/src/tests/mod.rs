//! What people and other programs see of the certificates made here. The judge is openssl wherever there is one.

mod authority;
mod foreign;
mod lifetimes;
mod permissions;
mod rollover;
mod tls;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ran};

use crate::{Authority, Grant, InitOptions, Initialised, Name, Output, init};

/// A folder with an authority in `ca/`, a server and an admin in `out/`.
struct Fixture {
    root: tempfile::TempDir,
    made: Initialised,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let made = init(&options(root.path())).expect("a new authority");
        Fixture { root, made }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn open(&self) -> Authority {
        Authority::open(&self.path("ca")).expect("the authority opens")
    }

    fn out(&self) -> Output {
        Output::new(self.path("out"))
    }

    /// `openssl verify` of a file below the folder against `ca.crt`, with revocation lists and strict rules.
    fn verify(&self, relative: &str, purpose: &str) -> Ran {
        let file = self.path(relative);
        let (ca, crl) = (self.path("ca/ca.crt"), self.path("ca/crl.pem"));
        openssl(&[
            "verify",
            "-x509_strict",
            "-crl_check",
            "-purpose",
            purpose,
            "-CAfile",
            text(&ca),
            "-CRLfile",
            text(&crl),
            text(&file),
        ])
    }

    fn describe(&self, relative: &str) -> String {
        shown(openssl(&["x509", "-noout", "-text", "-nameopt", "RFC2253", "-in", text(&self.path(relative))]))
    }
}

fn options(root: &Path) -> InitOptions {
    InitOptions {
        output: root.join("out"),
        server: Some("localhost,build1.example.org,127.0.0.1,::1".parse().expect("server names")),
        admin: Some(name("admin")),
        ..InitOptions::new(root.join("ca"))
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn grant_with_unit(unit: &str) -> Grant {
    Grant { unit: Some(unit.parse().expect("a unit")), ..Grant::default() }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Whether openssl is here; a test that needs it says so by name when it is not, on standard error and in the file that
/// `AIRLOCK_SKIPPED` names.
fn has_openssl() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|ran| ran.status.success());
    if !found {
        let line = format!("{}: openssl is not installed\n", std::thread::current().name().unwrap_or("a test"));
        eprint!("skipped: {line}");
        if let Some(file) = std::env::var_os("AIRLOCK_SKIPPED") {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
            file.and_then(|mut file| file.write_all(line.as_bytes()))
                .expect("the list of skipped tests can be written");
        }
    }
    found
}

fn openssl(arguments: &[&str]) -> Ran {
    Command::new("openssl").args(arguments).output().expect("openssl runs")
}

fn openssl_must(arguments: &[&str]) {
    let ran = openssl(arguments);
    assert!(ran.status.success(), "openssl {arguments:?}: {}", shown(ran));
}

fn shown(ran: Ran) -> String {
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

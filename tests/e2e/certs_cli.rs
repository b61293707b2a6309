//! The certificate commands, and what they make, against a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use airlock_e2e::{Outcome, Stack, Tool};

fn airlock(stack: &Stack, folder: &Path, words: &[&str]) -> Outcome {
    Tool::new(stack.path("bin/airlock")).args(words).within_folder(folder).run()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).permissions().mode() & 0o777
}

#[test]
fn a_request_signed_by_the_authority_is_a_working_identity_and_no_key_travels() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let ca = stack.path("ca").display().to_string();
    let told = airlock(&stack, folder.path(), &["certs", "request", "erin"]).ends_with(0);
    assert!(told.out().contains("fingerprint") || told.err().contains("fingerprint"), "{told}");
    assert_eq!(mode(&folder.path().join("erin.key")), 0o600);
    let signed =
        airlock(&stack, folder.path(), &["certs", "sign", "erin.csr", "--dir", &ca, "--ou", "user", "--days", "30"])
            .ends_with(0);
    let told = signed.out() + &signed.err();
    for word in ["erin", "ou user", "valid until", "serial", "fingerprint"] {
        assert!(told.contains(word), "'{word}' in\n{signed}");
    }
    fs::copy(stack.path("certs/ca.crt"), folder.path().join("ca.crt")).expect("ca.crt");
    let whoami = stack.airlock("erin").env("AIRLOCK_CERTS", folder.path()).arg("whoami").run().ends_with(0).out();
    assert!(whoami.contains("erin (ou user)") && whoami.contains("role user"), "{whoami}");
    let list = airlock(&stack, folder.path(), &["certs", "list", "--dir", &ca]).ends_with(0).out();
    assert!(list.contains("erin") && list.contains("alice"), "{list}");
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    airlock(&stack, folder.path(), &["certs", "request", "frank"]).ends_with(0);
    let before = fs::read(folder.path().join("frank.key")).expect("the key");
    let again = airlock(&stack, folder.path(), &["certs", "request", "frank"]).ends_with(125);
    assert!(again.err().contains("frank.key"), "{again}");
    assert_eq!(fs::read(folder.path().join("frank.key")).expect("the key"), before);
    airlock(&stack, folder.path(), &["certs", "init", "--dir", "ca"]).ends_with(0);
    airlock(&stack, folder.path(), &["certs", "init", "--dir", "ca"]).ends_with(125);
}

#[test]
fn keys_of_every_kind_on_offer_work() {
    let stack = Stack::shared();
    let ca = stack.path("ca").display().to_string();
    for kind in ["p256", "ed25519", "rsa4096"] {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("holder-{kind}");
        airlock(
            &stack,
            folder.path(),
            &["certs", "issue", &name, "--dir", &ca, "--out", ".", "--key", kind, "--role", "user"],
        )
        .ends_with(0);
        assert_eq!(mode(&folder.path().join(format!("{name}.key"))), 0o600);
        stack.airlock(&name).env("AIRLOCK_CERTS", folder.path()).arg("whoami").run().ends_with(0);
    }
}

#[test]
fn openssl_agrees_with_every_certificate_of_the_stack() {
    let stack = Stack::shared();
    for name in ["admin", "alice", "bob", "rita"] {
        let verify =
            Tool::new("openssl").args(["verify", "-purpose", "sslclient", "-CAfile"]).arg(stack.path("certs/ca.crt"));
        verify.arg(stack.path(&format!("certs/{name}.crt"))).run().ends_with(0);
        assert_eq!(mode(&stack.path(&format!("certs/{name}.key"))), 0o600);
    }
    let verify =
        Tool::new("openssl").args(["verify", "-purpose", "sslserver", "-verify_hostname", "localhost", "-CAfile"]);
    verify.arg(stack.path("certs/ca.crt")).arg(stack.path("tls/server.crt")).run().ends_with(0);
}

#[test]
fn a_context_replaces_options_and_doctor_finds_nothing_wrong() {
    let stack = Stack::shared();
    let home = tempfile::tempdir().expect("a home");
    let bare = |words: &[&str]| Tool::new(stack.path("bin/airlock")).env("HOME", home.path()).args(words).run();
    let certs = stack.certs().display().to_string();
    let (server, identity) = (stack.address(), "bob");
    bare(&["context", "add", "here", "--server", &server, "--identity", identity, "--certs", &certs]).ends_with(0);
    assert!(bare(&["context"]).ends_with(0).out().contains("* here"));
    assert_eq!(bare(&["run", "--", "echo", "by context"]).ends_with(0).out(), "by context");
    let doctor = bare(&["doctor"]).ends_with(0);
    for line in
        ["ok    config", "ok    identity", "ok    server", "ok    tls", "TLS 1.3", "X25519MLKEM768", "ok    access"]
    {
        assert!(doctor.out().contains(line), "'{line}' in\n{doctor}");
    }
    assert!(bare(&["-i", "rita", "whoami"]).ends_with(0).out().contains("rita"), "an option stands above the context");
    bare(&["context", "remove", "here"]).ends_with(0);
    assert_eq!(bare(&["whoami"]).code(), Some(125));
}

#[test]
fn root_who_names_no_folder_gets_what_the_frontends_unit_looks_for_and_an_administrator() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    // In a mount namespace of its own, whose /etc is empty: the host's stays as it is.
    let first_run = |after: &str| {
        let script = format!(
            "umask 077 && mount -t tmpfs none /etc && airlock() {{ {} \"$@\"; }} && \
             airlock certs init --server build1.example.org && {after} && cp -a /etc/airlock \"$HOME\"",
            stack.path("bin/airlock").display()
        );
        let unshare = Tool::new("unshare").args(["--mount", "sh", "-c", &script]);
        unshare.env("HOME", folder.path()).within_folder(folder.path()).run()
    };
    let done = first_run("true").ends_with(0);
    assert!(
        done.err().contains("next: systemctl enable --now airlock-executor airlock-frontend; airlock doctor"),
        "{done}"
    );
    let unit = include_str!("../../deploy/systemd/airlock-frontend.service");
    let configuration = include_str!("../../deploy/deb/etc/frontend.toml");
    for (asked_by, key, file, wanted) in [
        (unit, "LoadCredential=server.key:", "tls/server.key", 0o600),
        (configuration, "certificate = \"", "tls/server.crt", 0o644),
        (configuration, "client_ca = \"", "tls/ca.crt", 0o644),
        (configuration, "crl = \"", "tls/crl.pem", 0o644),
    ] {
        assert!(asked_by.contains(&format!("\n{key}/etc/airlock/{file}")), "{key} is no longer /etc/airlock/{file}");
        assert_eq!(mode(&folder.path().join("airlock").join(file)), wanted, "{file}");
    }
    assert_eq!(mode(&folder.path().join("airlock/tls")), 0o755, "the frontend's user reads there");
    assert_eq!(mode(&folder.path().join("airlock/ca")), 0o700);
    let certs = folder.path().join(".config/airlock/certs");
    assert_eq!((mode(&certs), mode(&certs.join("root.key"))), (0o700, 0o600));
    let verify = |words: &[&str], certificate: &Path| {
        let authority = folder.path().join("airlock/ca/ca.crt");
        let openssl = Tool::new("openssl").arg("verify").args(words).arg("-CAfile").arg(authority);
        openssl.arg(certificate).run().ends_with(0);
    };
    let server = folder.path().join("airlock/tls/server.crt");
    for name in ["build1.example.org", "localhost"] {
        verify(&["-purpose", "sslserver", "-verify_hostname", name], &server);
    }
    verify(&["-purpose", "sslclient"], &certs.join("root.crt"));
    let context = Tool::new(stack.path("bin/airlock")).env("HOME", folder.path()).arg("context").run().ends_with(0);
    assert_eq!(context.out(), "* here  localhost as root");

    let again = first_run("true").ends_with(125);
    assert!(again.err().contains("root.key exists already") && again.err().contains("nothing was made"), "{again}");
}

#[test]
fn a_servers_files_made_elsewhere_come_with_where_they_belong() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let words = ["certs", "init", "--server", "build1.example.org", "--dir", "ca", "--out", "build1"];
    let told = airlock(&stack, folder.path(), &words).ends_with(0);
    let next = "airlock: next, on the server: copy server.key (root, mode 0600), server.crt, ca.crt and crl.pem (root, mode 0644) \
                from build1 to /etc/airlock/tls, then: systemctl enable --now airlock-executor airlock-frontend";
    assert_eq!(told.err().trim_end(), next, "{told}");
}

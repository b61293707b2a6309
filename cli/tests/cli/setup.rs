//! Contexts, doctor, whoami, certificates, help: what needs no job.

use crate::{
    fake::Fake,
    harness::{airlock, command, spawn},
};
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn a_context_names_server_and_identity_and_options_and_environment_stand_above_it() {
    let fake = Fake::start();
    let bare = |words: &[&str]| {
        let mut call = command(&fake, fake.port, words);
        call.env_remove("AIRLOCK_SERVER").env_remove("AIRLOCK_CERTS").env_remove("AIRLOCK_IDENTITY");
        spawn(call).finish()
    };
    let certs = fake.folder.path().to_str().unwrap();
    let server = format!("localhost:{}", fake.port);
    let added = bare(&["context", "add", "here", "--server", &server, "--identity", "alice", "--certs", certs]);
    assert_eq!(added.text(), "context here added and current; airlock doctor tests it\n", "{}", added.stderr);
    assert!(bare(&["context", "add", "away", "--server", "localhost:1"]).code() == 0);
    let listed = bare(&["context"]).text();
    assert_eq!(listed, format!("* away  localhost:1\n  here  {server} as alice\n"));
    assert_eq!(bare(&["-c", "here", "list"]).code(), 0);
    assert!(bare(&["-c", "here", "doctor"]).text().contains("/config.toml, context here (from option -c); server "));
    assert_eq!(bare(&["list"]).code(), 125, "away is current");
    bare(&["context", "use", "here"]);
    assert!(bare(&["doctor"]).text().contains("/config.toml, context here (from: current); server "));
    let verbose = bare(&["-v", "list"]);
    assert_eq!(verbose.code(), 0);
    assert!(
        verbose.stderr.contains(&format!("server {server} (from context here), identity alice (from context here)")),
        "{}",
        verbose.stderr
    );
    let overridden = bare(&["-v", "-i", "nobody", "list"]);
    assert!(overridden.stderr.contains("identity nobody (from option -i)"), "{}", overridden.stderr);
    let mut by_environment = command(&fake, 1, &["-v", "list"]);
    by_environment.env("AIRLOCK_CONTEXT", "here");
    assert!(spawn(by_environment).finish().stderr.contains("server localhost:1 (from AIRLOCK_SERVER)"));
    let removed = bare(&["context", "remove", "here"]).text();
    assert_eq!(removed, "context here removed; none is current now: airlock context use NAME\n");
    let kept = fs::read_to_string(fake.folder.path().join(".config/airlock/config.toml")).unwrap();
    assert!(kept.starts_with("[context.away]\n"), "{kept}");
    assert!(bare(&["context", "use", "here"]).stderr.contains("no context 'here'"));
}

#[test]
fn whoami_shows_role_and_profiles() {
    let fake = Fake::start();
    let text = airlock(&fake, &["whoami"]).text();
    assert!(text.starts_with("alice (ou build) on build1, role user\nairlock "), "{text}");
    assert!(text.contains("profiles   standard*  cpu 2 (at most 8) · memory 1G (16G) · input 256M"), "{text}");
    assert!(text.contains("           deploy     fixed command: /usr/local/bin/deploy"), "{text}");
    assert!(text.ends_with("group      build: 0 of 20 jobs, 5G of 64G memory, 6 of 16 cores in use\n"), "{text}");
    let json = airlock(&fake, &["whoami", "--format", "json"]).text();
    assert!(json.starts_with(r#"{"name":"alice","units":["build"],"role":"user","host":"build1""#), "{json}");
    let group = r#""group":{"name":"build","jobs":0,"max_jobs":20,"memory_bytes":5368709120,"max_memory_bytes":68719476736,"cpu_cores":6,"max_cpu_cores":16}"#;
    assert!(json.contains(group), "{json}");
    fake.state.lock().role = "reader".into();
    let text = airlock(&fake, &["whoami"]).text();
    assert!(
        text.contains("role reader\n") && text.contains("\nprofiles   none: you may look, and start nothing\n"),
        "{text}"
    );
}

#[test]
fn doctor_says_what_is_right_and_fails_with_what_is_not() {
    let fake = Fake::start();
    fake.state.lock().executor_seen = true;
    let found = airlock(&fake, &["doctor"]);
    assert_eq!(found.code(), 1, "the server has no executor");
    let text = found.text();
    for line in [
        "ok    config        ",
        "ok    identity      alice: certificate, key and CA belong together",
        "ok    server        localhost:",
        "ok    tls           TLS 1.3, X25519MLKEM768, server certificate names localhost, 127.0.0.1",
        "ok    clock         ",
        "ok    access        alice has role user, 2 profiles, group build 0 of 20 jobs",
        "FAIL  executor      the server has no executor since ",
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(line)), "missing: {line}\n{text}");
    }
    assert!(text.ends_with("1 failed\n"), "{text}");
    let json = airlock(&fake, &["doctor", "--format", "json"]).text();
    assert!(json.starts_with(r#"{"failed":1,"warnings":0,"checks":["#) && json.lines().count() == 1, "{json}");
}

#[test]
fn doctor_says_when_no_executor_ever_came_and_nothing_of_what_only_it_can_promise() {
    let fake = Fake::start();
    let text = airlock(&fake, &["doctor"]).text();
    let line = text.lines().find(|line| line.starts_with("FAIL  executor")).unwrap_or_default();
    assert!(
        line.contains("the server has no executor and has seen none since ") && line.ends_with("until one runs"),
        "{text}"
    );
    assert!(text.contains("on the server: systemctl enable --now airlock-executor; "), "{text}");
    assert!(!text.contains("switched off"), "{text}");
}

#[test]
fn doctor_says_what_to_do_about_a_name_that_nobody_knows() {
    let fake = Fake::start();
    let found = airlock(&fake, &["--server", "nowhere.invalid", "doctor"]);
    let text = found.text();
    assert_eq!(found.code(), 1);
    assert!(text.contains("FAIL  server        no address is known for nowhere.invalid:7443"), "{text}");
    assert!(
        text.contains("\n                    write the server's whole name or its address; getent hosts "),
        "{text}"
    );
}

#[test]
fn doctor_shows_what_the_server_warns_of() {
    let fake = Fake::start();
    let warning = "policy.toml:9 (ou build): the executor has no profile 'ofline'; correct the rule";
    fake.state.lock().warnings = vec![warning.to_owned()];
    let text = airlock(&fake, &["doctor"]).text();
    assert!(
        text.contains(&format!("warn  policy        {warning}\n")) && text.ends_with("1 failed, 1 warning\n"),
        "{text}"
    );
}

#[test]
fn doctor_warns_when_the_group_has_no_room_left() {
    let fake = Fake::start();
    fake.state.lock().group_jobs = 20;
    let text = airlock(&fake, &["doctor"]).text();
    let line = "warn  access        alice has role user, 2 profiles, group build 20 of 20 jobs; the group is full (jobs), so \
                starts are refused";
    assert!(text.contains(line), "{text}");
}

#[test]
fn doctor_names_a_readable_key_and_an_unreachable_server() {
    let fake = Fake::start();
    let unreachable = spawn(command(&fake, 1, &["doctor"])).finish();
    assert_eq!(unreachable.code(), 1);
    let lines = "FAIL  server        cannot reach localhost:1: connection refused, nothing listens there\n                    \
                 on the server: systemctl status airlock-frontend\n";
    assert!(unreachable.text().contains(lines), "it does not advise to ask itself: {}", unreachable.text());
    let key = fake.folder.path().join("alice.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let readable = airlock(&fake, &["doctor"]);
    assert_eq!(readable.code(), 1);
    assert!(readable.text().contains("FAIL  identity") && readable.text().contains("chmod 600"), "{}", readable.text());
}

#[test]
fn a_request_is_signed_and_revoked_without_the_key_travelling() {
    let fake = Fake::start();
    let (home, office) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = office.path().join("ca");
    let ca = ca.to_str().unwrap();
    let out = home.path().to_str().unwrap();
    let made = airlock(&fake, &["certs", "init", "--dir", ca, "--server", "build1.example.org,127.0.0.1"]);
    assert_eq!(made.code(), 0, "{}", made.stderr);
    assert!(made.text().contains("authority ") && made.text().contains("server.crt: "), "{}", made.text());
    let requested = airlock(&fake, &["certs", "request", "bob", "--out", out]);
    assert!(requested.text().contains("bob.csr: key fingerprint "), "{}{}", requested.text(), requested.stderr);
    let csr = home.path().join("bob.csr");
    let signed =
        airlock(&fake, &["certs", "sign", csr.to_str().unwrap(), "--dir", ca, "--ou", "build", "--days", "90"]);
    let text = signed.text();
    assert!(
        text.contains("bob.crt: bob (ou build), valid until ") && text.contains(", serial "),
        "{text}{}",
        signed.stderr
    );
    assert!(!office.path().join("ca/bob.key").exists());
    let again = airlock(&fake, &["certs", "request", "bob", "--out", out]);
    assert_eq!(again.code(), 125);
    assert!(again.stderr.contains("bob.key exists already"), "{}", again.stderr);
    let listed = airlock(&fake, &["certs", "list", "--dir", ca]).text();
    assert!(listed.lines().next().is_some_and(|line| line.contains("  bob (ou build)               ")), "{listed}");
    assert!(listed.lines().nth(1).is_some_and(|line| line.contains("  build1.example.org (server)  ")), "{listed}");
    let revoked = airlock(&fake, &["certs", "revoke", "nobody", "bob", "--dir", ca]);
    assert!(revoked.text().starts_with("bob revoked (serial "), "nobody does not keep bob: {revoked:?}");
    assert!(revoked.code() == 125 && revoked.stderr.contains("no certificate 'nobody'"), "{revoked:?}");
    assert!(revoked.stderr.contains("crl.pem to every server"), "{revoked:?}");
    assert!(airlock(&fake, &["certs", "list", "--dir", ca]).text().contains("revoked "));
    let json = airlock(&fake, &["certs", "list", "--dir", ca, "--format", "json"]).text();
    assert!(
        json.lines().any(|line| line.contains(r#""name":"bob""#) && line.contains(r#""state":"revoked""#)),
        "{json}"
    );
}

#[test]
fn files_made_here_are_called_by_their_names_alone() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let here = |words: &[&str]| {
        let mut call = command(&fake, fake.port, words);
        call.current_dir(folder.path());
        spawn(call).finish()
    };
    let asked = here(&["certs", "request", "bob"]);
    assert!(asked.text().starts_with("bob.csr: key fingerprint "), "{asked:?}");
    assert_eq!(asked.stderr, "airlock: send bob.csr to your operator; bob.key stays here\n");
    let again = here(&["certs", "request", "bob"]);
    assert!(again.stderr.contains("ask with the same one: airlock certs request bob --renew"), "{again:?}");
}

#[test]
fn certificate_commands_refuse_what_cannot_be_meant() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().to_str().unwrap();
    assert!(airlock(&fake, &["certs", "list", "--dir", ca]).stderr.contains("holds no authority"));
    assert!(airlock(&fake, &["certs", "request", "../x"]).code() == 125);
    assert!(airlock(&fake, &["certs", "request", "bob", "--key", "rsa1024"]).stderr.contains("rsa1024"));
}

#[test]
fn help_explains_files_and_commands_and_knows_its_limits() {
    let fake = Fake::start();
    let files = airlock(&fake, &["help", "files"]);
    assert!(files.code() == 0 && files.text().contains("tar c src | airlock run --stdin"));
    let json = airlock(&fake, &["help", "json"]);
    assert!(json.code() == 0 && json.text().contains("\"error\":{\"code\""), "{json:?}");
    assert!(airlock(&fake, &["help", "run"]).text().contains("--memory"));
    assert!(airlock(&fake, &["help", "certs", "sign"]).text().contains("--days"));
    assert_eq!(airlock(&fake, &["help", "nonsense"]).code(), 125);
}

#[test]
fn completions_exist_for_three_shells_and_manual_pages_for_every_command() {
    let fake = Fake::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(airlock(&fake, &["completions", shell]).text().contains("airlock"), "{shell}");
    }
    let folder = fake.folder.path().join("man");
    assert_eq!(airlock(&fake, &["man", folder.to_str().unwrap()]).code(), 0);
    for page in ["airlock.1", "airlock-run.1", "airlock-certs-sign.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
    let bash = airlock(&fake, &["completions", "bash"]).text();
    let script = folder.join("completions");
    fs::write(&script, bash).unwrap();
    assert!(std::process::Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
}

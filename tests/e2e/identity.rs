//! Who may do what, and who is nobody: roles, owners, certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use airlock_e2e::{Outcome, Signal, Stack, StackOptions, Tool, scale, wait_until};

#[test]
fn whoami_tells_name_role_and_what_may_be_asked_for() {
    let stack = Stack::shared();
    for (name, role) in [("admin", "admin"), ("alice", "user"), ("bob", "user"), ("rita", "reader")] {
        let told = stack.airlock(name).arg("whoami").run().ends_with(0).out();
        assert!(told.contains(name) && told.contains(&format!("role {role}")), "{told}");
        let (starts, nothing) =
            (told.contains("standard*") && told.contains("offline"), told.contains("start nothing"));
        assert_eq!((starts, nothing), (role != "reader", role == "reader"), "{told}");
    }
}

#[test]
fn somebody_elses_job_does_not_exist_whatever_is_asked_about_it() {
    let stack = Stack::shared();
    let job = stack.job(&["--name", "alices-own", "--", "sh", "-c", "echo secret; sleep 1000"]);
    let id = job.id();
    for words in [
        vec!["status", id],
        vec!["logs", id],
        vec!["attach", id],
        vec!["wait", id],
        vec!["stop", id],
        vec!["signal", id, "KILL"],
        vec!["delete", id],
        vec!["archive", id],
        vec!["status", job.short()],
        vec!["status", "alices-own"],
    ] {
        let refused = stack.airlock("bob").args(&words).run().says(125, &["no job", "may see"]);
        assert!(!refused.err().contains("alice ") && !refused.err().contains("secret"), "{refused}");
        let json = stack.airlock("bob").args(&words).args(["--format", "json"]).run();
        assert!(json.err().contains("\"NOT_FOUND\""), "{json}");
        // Exactly what is said of a job that never was.
        let never = stack.airlock("bob").args(["status", "00000000-0000-4000-8000-00000000dead"]).run();
        assert_eq!(never.err().replace("00000000-0000-4000-8000-00000000dead", words[1]), refused.err());
    }
    assert!(!stack.airlock("bob").args(["list", "-q"]).run().ends_with(0).out().contains(id));
    assert_eq!(job.state(), "running");
    wait_until("the frontend's note", scale::seconds(10), || {
        stack.log("frontend").contains("owned by alice").then_some(())
    });
    job.kill();
}

#[test]
fn an_admin_sees_and_stops_everybodys_jobs() {
    let stack = Stack::shared();
    let job = stack.job_sh("echo for admins; sleep 1000");
    assert!(stack.airlock("admin").args(["list", "-q"]).run().ends_with(0).out().contains(job.id()));
    job.has_said("for admins");
    assert_eq!(stack.airlock("admin").args(["logs", job.id()]).run().ends_with(0).out(), "for admins");
    stack.airlock("admin").args(["stop", job.id()]).run().ends_with(0);
    assert_eq!(job.status()["stop"]["by"], "admin");
}

#[test]
fn a_reader_sees_all_jobs_and_changes_nothing() {
    let stack = Stack::shared();
    let job = stack.job_sh("echo readable; sleep 1000");
    job.has_said("readable");
    assert_eq!(stack.airlock("rita").args(["logs", job.id()]).run().ends_with(0).out(), "readable");
    assert!(stack.airlock("rita").args(["list", "--owner", "alice", "-q"]).run().ends_with(0).out().contains(job.id()));
    stack.airlock("rita").args(["run", "--", "true"]).run().says(125, &["rita is a reader", "may not start jobs"]);
    for words in
        [vec!["stop", job.id()], vec!["signal", job.id(), "TERM"], vec!["delete", job.id()], vec!["archive", job.id()]]
    {
        let refused = stack.airlock("rita").args(&words).args(["--format", "json"]).run().ends_with(125);
        assert!(refused.err().contains("PERMISSION_DENIED"), "{refused}");
    }
    assert_eq!(job.state(), "running");
    job.kill();
}

#[test]
fn the_same_request_id_twice_is_one_job() {
    let stack = Stack::shared();
    let start = |identity: &str, words: &[&str]| {
        stack.airlock(identity).args(["start", "--format", "json", "--request-id", "only-once"]).args(words).run()
    };
    let first = start("alice", &["--", "true"]).ends_with(0).json();
    let second = start("alice", &["--", "true"]).ends_with(0).json();
    assert_eq!(first["job_id"], second["job_id"]);
    let other = start("alice", &["--", "false"]).ends_with(125);
    assert!(other.err().contains("ALREADY_EXISTS"), "another request under that id\n{other}");
    let bobs = start("bob", &["--", "true"]);
    assert!(bobs.code() != Some(0) || bobs.json()["job_id"] != first["job_id"], "bob must not get alice's job\n{bobs}");
    let count = stack.airlock("alice").args(["list", "--format", "json"]).run().json_lines();
    assert_eq!(count.iter().filter(|job| job["request_id"] == "only-once").count(), 1);
}

#[test]
fn a_certificate_of_another_authority_is_refused_in_a_sentence() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path();
    let airlock =
        |words: &[&str]| Tool::new(stack.path("bin/airlock")).args(words).within_folder(certs).run().ends_with(0);
    airlock(&["certs", "init", "--dir", "other"]);
    airlock(&["certs", "issue", "alice", "--dir", "other", "--out", "mixed", "--role", "admin"]);
    // Her certificate is foreign, but she trusts the right server.
    fs::copy(stack.path("certs/ca.crt"), certs.join("mixed/ca.crt")).expect("ca.crt");
    let run = stack.airlock("alice").env("AIRLOCK_CERTS", certs.join("mixed")).arg("whoami").run();
    run.says(125, &["refused", "certificate"]);
    // And the other way round: who trusts another authority is not fooled by this server.
    for suffix in ["crt", "key"] {
        fs::copy(stack.path(&format!("certs/alice.{suffix}")), certs.join(format!("mixed/alice.{suffix}")))
            .expect("a copy");
    }
    fs::copy(certs.join("other/ca.crt"), certs.join("mixed/ca.crt")).expect("ca.crt");
    stack.airlock("alice").env("AIRLOCK_CERTS", certs.join("mixed")).arg("whoami").run().says(125, &["cannot trust"]);
}

/// A key and a certificate for `name` signed by the stack's authority, all by openssl, valid between the two dates.
fn by_openssl(stack: &Stack, folder: &Path, name: &str, from: &str, to: &str) {
    fs::write(
        folder.join("ca.cnf"),
        "[ca]\ndefault_ca=own\n[own]\nnew_certs_dir=.\ndatabase=index\nserial=serial\ndefault_md=sha256\npolicy=any\n\
         x509_extensions=client\n[any]\ncommonName=supplied\norganizationalUnitName=optional\n\
         [client]\nextendedKeyUsage=clientAuth\nauthorityKeyIdentifier=keyid\n",
    )
    .and_then(|()| fs::write(folder.join("index"), ""))
    .and_then(|()| fs::write(folder.join("serial"), "0123456789ABCDEF\n"))
    .and_then(|()| fs::copy(stack.path("certs/ca.crt"), folder.join("ca.crt")))
    .expect("files for openssl");
    let openssl = |words: &str| {
        Tool::new("openssl").args(words.split(' ')).within_folder(folder).run().ends_with(0);
    };
    openssl(&format!("req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /OU=user/CN={name}"));
    let key = stack.path("ca/ca.key");
    let dates = format!("-startdate {from} -enddate {to}");
    openssl(&format!(
        "ca -batch -config ca.cnf -in {name}.csr -out {name}.crt -cert ca.crt -keyfile {} {dates} -notext",
        key.display()
    ));
    fs::set_permissions(folder.join(format!("{name}.key")), fs::Permissions::from_mode(0o600)).expect("mode");
}

#[test]
fn certificates_made_by_openssl_work_just_as_well() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    by_openssl(&stack, folder.path(), "carol", "20200101000000Z", "20491231235959Z");
    let told = stack.airlock("carol").env("AIRLOCK_CERTS", folder.path()).arg("whoami").run().ends_with(0).out();
    assert!(told.contains("carol") && told.contains("role user"), "the role from the OU: {told}");
    let run = stack.airlock("carol").env("AIRLOCK_CERTS", folder.path()).args(["run", "--", "echo", "hello"]).run();
    assert_eq!(run.ends_with(0).out(), "hello");
}

#[test]
fn an_expired_certificate_is_refused_as_expired() {
    let stack = Stack::shared();
    let folder = tempfile::tempdir().expect("a folder");
    by_openssl(&stack, folder.path(), "dave", "20200101000000Z", "20210101000000Z");
    let run = stack.airlock("dave").env("AIRLOCK_CERTS", folder.path()).arg("whoami").run();
    run.says(125, &["expired"]);
}

fn s_client(stack: &Stack, words: &[&str]) -> Outcome {
    let port = stack.address().rsplit(':').next().expect("a port").to_owned();
    let client = Tool::new("openssl").args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-CAfile"]);
    client.arg(stack.path("certs/ca.crt")).args(words).stdin("x").run()
}

#[test]
fn tls_1_2_is_refused_and_so_is_a_client_without_a_certificate() {
    let stack = Stack::shared();
    let old = s_client(&stack, &["-tls1_2"]);
    assert!(
        old.err().contains("protocol version") && !old.out().contains("Verify return code: 0 (ok)\n---\nread"),
        "{old}"
    );
    let anonymous = s_client(&stack, &["-tls1_3", "-alpn", "h2", "-ign_eof"]);
    assert!((anonymous.err() + &anonymous.out()).contains("certificate required"), "{anonymous}");
    stack.airlock("alice").arg("whoami").run().ends_with(0);
}

#[test]
fn a_server_of_another_name_is_not_trusted() {
    let stack = Stack::shared();
    let run = stack.airlock("alice").env("AIRLOCK_SERVER_NAME", "elsewhere.example.org").arg("whoami").run();
    run.says(125, &["cannot trust", "elsewhere.example.org", "localhost"]);
}

#[test]
fn a_missing_identity_and_a_key_that_others_may_read_are_named() {
    let stack = Stack::shared();
    stack.airlock("nobody-here").arg("whoami").run().says(125, &["nobody-here"]);
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["ca.crt", "alice.crt", "alice.key"] {
        fs::copy(stack.certs().join(file), folder.path().join(file)).expect("a copy");
    }
    fs::set_permissions(folder.path().join("alice.key"), fs::Permissions::from_mode(0o644)).expect("mode");
    let run = stack.airlock("alice").env("AIRLOCK_CERTS", folder.path()).arg("whoami").run();
    run.says(125, &["alice.key", "0644"]);
}

#[test]
fn a_revoked_certificate_is_refused_and_its_open_streams_end() {
    let stack = Stack::start();
    let job = stack.job_of("bob", &["--", "sh", "-c", "echo ready; sleep 1000"]);
    let mut follower = stack.airlock("bob").args(["logs", "-f", "--reconnect", "1s", job.id()]).start();
    follower.wait_for_out("ready");
    let mut unharmed = stack.airlock("admin").args(["logs", "-f", job.id()]).start();
    unharmed.wait_for_out("ready");
    Tool::new(stack.path("bin/airlock"))
        .args(["certs", "revoke", "bob", "--dir"])
        .arg(stack.path("ca"))
        .run()
        .ends_with(0);
    fs::copy(stack.path("ca/crl.pem"), stack.path("tls/crl.pem")).expect("the list");
    stack.signal("frontend", Signal::HUP);
    let cut = follower.finish();
    assert!(cut.code() != Some(0), "{cut}");
    stack.airlock("bob").arg("whoami").run().says(125, &["revoked"]);
    assert!(!unharmed.has_ended(), "the others' streams go on");
    assert_eq!(stack.airlock("admin").args(["status", job.id(), "--format", "json"]).run().json()["state"], "running");
}

#[test]
fn who_has_all_connections_that_one_identity_may_have_is_told_so_and_others_come_in() {
    let stack = StackOptions::new().edit("frontend.toml", "[tls]", "[limits]\nconnections = 4\n\n[tls]").start();
    let job = stack.job_sh("echo ready; sleep 1000");
    let mut followers: Vec<_> = (0..3)
        .map(|_| {
            let mut follower = stack.airlock("alice").args(["logs", "-f", job.id()]).start();
            follower.wait_for_out("ready");
            follower
        })
        .collect();
    let refused = stack.airlock("alice").args(["whoami", "--format", "json"]).run();
    refused.says(125, &["alice has 3 connections open here", "RESOURCE_EXHAUSTED"]);
    stack.airlock("bob").arg("whoami").run().ends_with(0);
    let one = followers.pop().expect("there are three");
    one.signal(Signal::KILL);
    one.finish();
    wait_until("alice's place", scale::seconds(10), || {
        (stack.airlock("alice").arg("whoami").run().code() == Some(0)).then_some(())
    });
    assert!(followers.iter_mut().all(|follower| !follower.has_ended()), "the others go on");
}

#[test]
fn what_somebody_wrote_at_length_does_not_come_back_at_length() {
    let stack = Stack::shared();
    let long = "x".repeat(100_000);
    for words in [["run", "--profile", &long, "--", "true"], ["run", "--cwd", &long, "--", "true"]] {
        let refused = stack.airlock("alice").args(words).run().says(125, &["xxx…"]);
        assert!(refused.err().chars().count() < 400, "{refused}");
    }
    for length in [10_000, 100_000] {
        // The longer one is refused before it is read.
        let refused = stack.airlock("alice").args(["status", &long[..length]]).run().ends_with(125);
        assert!(refused.err().chars().count() < 400, "{refused}");
    }
    let program = stack.airlock("alice").args(["run", "--", &long]).run();
    assert!(program.err().chars().count() < 600 && program.err().contains("xxx…"), "{program}");
}

//! What programs get: with --format json, standard output is one JSON object a line, whatever the command.

use crate::{
    fake::Fake,
    harness::{Finished, airlock, command, spawn},
};
use serde_json::Value;

fn objects(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.code(), 0, "{finished:?}");
    assert_eq!(finished.stderr, "", "{finished:?}");
    let object = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(object) if object.is_object() => object,
        other => panic!("not an object: {line}: {other:?}"),
    };
    finished.text().lines().map(object).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn every_certificate_command_answers_programs_in_objects() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, out) = (path("ca"), path("out"));
    let run = |words: &[&str]| objects(&airlock(&fake, &[words, &["--format", "json"]].concat()));
    let made =
        run(&["certs", "init", "--dir", &ca, "--out", &out, "--server", "build1.example.org", "--admin", "root"]);
    let [authority, server, admin] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(keys(authority), ["file", "key_fingerprint", "name", "not_after"]);
    assert_eq!(authority["file"], path("ca/ca.crt"));
    assert_eq!(
        (&server["file"], &server["key_file"]),
        (&path("out/server.crt").into(), &path("out/server.key").into())
    );
    assert_eq!(admin["role"], "admin");
    let requested = run(&["certs", "request", "bob", "--out", &out]);
    assert_eq!(keys(&requested[0]), ["file", "key_file", "key_fingerprint", "name"]);
    assert_eq!((&requested[0]["file"], &requested[0]["name"]), (&path("out/bob.csr").into(), &"bob".into()));
    let signed = run(&["certs", "sign", &path("out/bob.csr"), "--dir", &ca, "--ou", "build"]);
    assert_eq!((&signed[0]["file"], &signed[0]["unit"]), (&path("out/bob.crt").into(), &"build".into()));
    assert_eq!(signed[0]["key_fingerprint"], requested[0]["key_fingerprint"]);
    assert!(signed[0].get("key_file").is_none() && signed[0].get("same_name").is_none(), "{signed:?}");
    let issued = run(&["certs", "issue", "bob", "--dir", &ca, "--out", &path("other")]);
    assert_eq!(issued[0]["same_name"], serde_json::json!([signed[0]["serial"]]));
    let renewed = run(&["certs", "renew", "root", "--dir", &ca, "--out", &out, "--replace"]);
    assert_eq!(renewed[0]["issuance"], "renewed");
    let revoked = run(&["certs", "revoke", "bob", "--dir", &ca, "--reason", "key-compromise"]);
    assert_eq!(revoked.len(), 2, "both of that name");
    assert_eq!(keys(&revoked[0]), ["crl_file", "name", "serial", "state"]);
    let serial = revoked[0]["serial"].as_str().unwrap();
    let again = run(&["certs", "revoke", serial, "--dir", &ca]);
    assert!(again[0]["revoked_before"].is_string(), "{again:?}");
    let listed = run(&["certs", "list", "--dir", &ca]);
    let bob = listed.iter().find(|one| one["serial"] == serial).unwrap();
    assert_eq!((&bob["state"], &bob["reason"]), (&"revoked".into(), &"key-compromise".into()));
    assert!(bob["revoked_at"].is_string() && bob.get("by_retiring_authority").is_none(), "{bob}");
    let fresh = run(&["certs", "crl", "--dir", &ca]);
    assert_eq!((keys(&fresh[0]), &fresh[0]["file"]), (vec!["file", "next_update"], &path("ca/crl.pem").into()));
    assert_eq!(run(&["certs", "init", "--next", "--dir", &ca])[0]["authorities"], 2);
    assert!(run(&["certs", "list", "--dir", &ca]).iter().all(|one| one["by_retiring_authority"] == true));
    let retired = run(&["certs", "init", "--retire-old", "--anyway", "--dir", &ca]);
    assert_eq!(retired[0]["authorities"], 1);
    assert_eq!(retired[0]["left_behind"], serde_json::json!(["root", "build1.example.org"]));
}

#[test]
fn every_context_command_answers_programs_in_objects() {
    let fake = Fake::start();
    let run = |words: &[&str]| {
        let mut call = command(&fake, fake.port, &[words, &["--format", "json"]].concat());
        call.env_remove("AIRLOCK_SERVER").env_remove("AIRLOCK_CERTS").env_remove("AIRLOCK_IDENTITY");
        objects(&spawn(call).finish())
    };
    assert!(run(&["context"]).is_empty());
    let added = run(&["context", "add", "build1", "--server", "build1.example.org", "--identity", "bob"]);
    let object = serde_json::json!({
        "name": "build1", "current": true, "server": "build1.example.org", "identity": "bob"
    });
    assert_eq!(added, std::slice::from_ref(&object));
    run(&["context", "add", "build2", "--server", "build2"]);
    assert_eq!(run(&["context", "use", "build1"]), std::slice::from_ref(&object));
    let listed = run(&["context"]);
    assert_eq!(listed, [object, serde_json::json!({"name": "build2", "current": false, "server": "build2"})]);
    assert_eq!(run(&["context", "remove", "build2"]), [serde_json::json!({"name": "build2", "removed": true})]);
}

#[test]
fn what_verbose_adds_is_an_object_too() {
    let fake = Fake::start();
    let finished = airlock(&fake, &["-v", "list", "--format", "json"]);
    assert_eq!((finished.code(), finished.text().as_str()), (0, ""));
    let told: Value = serde_json::from_str(&finished.stderr).unwrap();
    let server = serde_json::json!({ "value": format!("localhost:{}", fake.port), "source": "from AIRLOCK_SERVER" });
    assert_eq!(told["settings"]["server"], server, "{told}");
    assert_eq!(keys(&told["settings"]), ["certs", "identity", "server"]);
    let refused = airlock(&fake, &["-v", "status", "nope", "--format", "json"]);
    let lines: Vec<Value> = refused.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 2 && lines[1]["error"]["code"] == "NOT_FOUND", "{refused:?}");
}

#[test]
fn failures_of_certificates_and_contexts_are_one_line_of_json_too() {
    let fake = Fake::start();
    for words in
        [&["certs", "list", "--dir", "/nonexistent"][..], &["context", "use", "nope"], &["certs", "request", "../x"]]
    {
        let finished = airlock(&fake, &[words, &["--format", "json"]].concat());
        assert_eq!((finished.code(), finished.text().as_str()), (125, ""));
        let error: Value = serde_json::from_str(&finished.stderr).unwrap();
        assert!(error["error"]["code"].is_string() && error["error"]["message"].is_string(), "{error}");
    }
}

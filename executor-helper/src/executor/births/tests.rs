//! The audit line of a start: everything that says what was started, and no value of a variable.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use ipc_protocol::{Claimed, InputDigest, Spawn};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{started_line, whole, words};
use crate::{
    admission::{
        admit,
        tests::{JOB, config, spawn},
    },
    audit::hex,
};

fn line(spawn: &Spawn) -> Map<String, Value> {
    let plan = admit(spawn, config(), 1_900_000_412, 1).unwrap();
    started_line(spawn, &plan).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_line_says_who_asked_for_what_and_what_it_may_use() {
    let claimed =
        Claimed { owner: "alice".into(), serial: "5e1f".into(), peer: "10.0.4.17".into(), request: "0c5e".into() };
    let line = line(&Spawn { claimed, ..spawn("standard", &["make", "test"]) });
    assert_eq!(line["job"], json!(JOB.to_string()));
    assert_eq!(line["request"], json!("0c5e"));
    assert_eq!(line["claimed"], json!({ "owner": "alice", "serial": "5e1f", "peer": "10.0.4.17" }));
    assert_eq!((&line["profile"], &line["uid"]), (&json!("standard"), &json!(1_900_000_412)));
    assert_eq!((&line["argv"], &line["argv_whole"]), (&json!(["make", "test"]), &Value::Null));
    assert_eq!((&line["cwd"], &line["merge"]), (&json!("default"), &json!(false)));
    assert_eq!(line["input"], json!({ "bytes": 0 }));
    let limits = json!({
        "cpu": 2000, "cpu_weight": 100, "memory": 1 << 30, "swap": 0, "pids": 512, "timeout": 86_400_000
    });
    assert_eq!(line["limits"], limits);
}

#[test]
fn the_input_is_named_by_its_length_and_hash() {
    let input = Some(InputDigest { bytes: 7, sha256: [0xab; 32] });
    let line = line(&Spawn { input, merge: true, cwd: Some("/srv/src".into()), ..spawn("standard", &["cat"]) });
    assert_eq!(line["input"], json!({ "bytes": 7, "sha256": "ab".repeat(32) }));
    assert_eq!((&line["cwd"], &line["merge"]), (&json!("/srv/src"), &json!(true)));
}

#[test]
fn names_of_variables_are_written_and_values_are_not() {
    let env = vec![("CI_TOKEN".into(), b"hunter2".to_vec()), ("HOME".into(), b"hunter2".to_vec())];
    let line = line(&Spawn { env, ..spawn("standard", &["env"]) });
    assert_eq!(line["env_names"], json!(["CI_TOKEN", "HOME"]));
    assert!(!Value::Object(line).to_string().contains("hunter2"));
}

#[test]
fn words_that_are_cut_are_named_by_the_length_and_hash_of_all_of_them() {
    let long = "x".repeat(5000);
    let line = line(&spawn("standard", &["echo", &long, "end"]));
    let shown: usize = line["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().len()).sum();
    assert!(shown <= 4096);
    let all = format!("echo\0{long}\0end\0");
    assert_eq!(line["argv_whole"], json!({ "bytes": all.len(), "sha256": hex(&Sha256::digest(&all)) }));
}

#[test]
fn the_hash_is_there_exactly_when_something_is_not_shown() {
    let words_of = |count: usize, length: usize| vec![vec![b'x'; length]; count];
    for argv in [words_of(1, 0), words_of(256, 1), words_of(1, 4096)] {
        assert_eq!(whole(&argv), Value::Null, "{} words", argv.len());
    }
    for argv in [words_of(257, 1), words_of(1, 4097), words_of(2, 2048), words_of(257, 0)] {
        assert!(whole(&argv).is_object(), "{} words", argv.len());
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such_and_stay_one_word() {
    let argv = [vec![0xff, b'a'], b"two words".to_vec()];
    assert_eq!(words(argv.iter().map(Vec::as_slice)), json!(["\u{fffd}a", "two words"]));
}

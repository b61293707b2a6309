//! The bytes of version 1, written down. A change of any of them is a change of the protocol and needs a new version.

use super::samples;
use crate::{Hello, decode_answer, decode_request, encode_answer, encode_request};

const HELLO: &str = "0201fb2c01026231";

const REQUESTS: [(&str, &str); 8] = [
    ("Resume", "00a00102030405060708090a0b0c0d0eaffafbfb00"),
    ("SyncEnd", "01"),
    ("Input", "02a00102030405060708090a0b0c0d0eaf0103010203"),
    (
        "Spawn",
        concat!(
            "03a00102030405060708090a0b0c0d0eaf05616c69636504356531660931302e302e342e31370430633565087374616e",
            "6461726403027368022d6302fffe01024349013101082f7372762f73726301fbdc050001fc00000040010001400001fd",
            "ffffffffffffffff0001fa01fbfb000001fc000001000707070707070707070707070707070707070707070707070707",
            "07070707070701",
        ),
    ),
    ("Ack", "04a00102030405060708090a0b0c0d0eaf01fd0000000002000000"),
    ("Stop", "05a00102030405060708090a0b0c0d0eaf0ffb102705616c69636504356531660931302e302e342e31370430633565"),
    ("Signal", "06a00102030405060708090a0b0c0d0eaf0100000000"),
    ("Release", "07a00102030405060708090a0b0c0d0eaf"),
];

const ANSWERS: [(&str, &str); 28] = [
    ("Welcome", "0001010101fb2c01026232027632"),
    ("Welcome without a version", "00000102000006687962726964"),
    (
        "Profiles",
        concat!(
            "0101087374616e6461726401fbdc050001fc00000040010001400001fdffffffffffffffff0001fa01fbfb0000000000",
            "0000000000000001fc0000001001092f62696e2f74727565010002042f737276042f746d70042f62696e",
        ),
    ),
    (
        "Job",
        concat!(
            "02a00102030405060708090a0b0c0d0eaf05616c69636504356531660931302e302e342e31370430633565087374616e",
            "6461726401047472756501fc70110100fd0000000000000010fc9cb43f7101fbd007016401fc00000040010001fb0002",
            "0001fc00001000000001fc005c2605000000fb001000",
        ),
    ),
    (
        "Job starting",
        concat!(
            "02a00102030405060708090a0b0c0d0eaf05616c69636504356531660931302e302e342e31370430633565087374616e",
            "6461726401047472756500fc9cb43f7101fbd007016401fc00000040010001fb00020001fc00001000000001fc005c26",
            "05000000fb001000",
        ),
    ),
    (
        "Job never started",
        concat!(
            "02a00102030405060708090a0b0c0d0eaf05616c69636504356531660931302e302e342e31370430633565087374616e",
            "6461726401047472756502fc9cb43f7101fbd007016401fc00000040010001fb00020001fc00001000000001fc005c26",
            "05000000fb001000",
        ),
    ),
    ("SyncEnd", "03"),
    (
        "Spawned",
        concat!(
            "04a00102030405060708090a0b0c0d0eaffbfb00fc00000100fd000000000100000001fbd007016401fc000000400100",
            "01fb00020001fc00001000000001fc005c260500",
        ),
    ),
    ("NotStarted", "05a00102030405060708090a0b0c0d0eaf1403fba481fbe803fc0000010003776879"),
    ("Refused Invalid", "06a00102030405060708090a0b0c0d0eaf0003656e76026e6f"),
    ("Refused Profile", "06a00102030405060708090a0b0c0d0eaf0103656e76026e6f"),
    ("Refused Ceiling", "06a00102030405060708090a0b0c0d0eaf0203656e76026e6f"),
    ("Refused Host", "06a00102030405060708090a0b0c0d0eaf0303656e76026e6f"),
    ("Refused StaleEpoch", "06a00102030405060708090a0b0c0d0eaf0403656e76026e6f"),
    ("Refused Conflict", "06a00102030405060708090a0b0c0d0eaf0503656e76026e6f"),
    ("Output", "07a00102030405060708090a0b0c0d0eaf01fbfb00fd000000000001000001056279746573"),
    ("Stopped", "08a00102030405060708090a0b0c0d0eaf00"),
    ("Signalled Sent", "09a00102030405060708090a0b0c0d0eaf00"),
    ("Signalled NotRunning", "09a00102030405060708090a0b0c0d0eaf01"),
    ("Signalled Unknown", "09a00102030405060708090a0b0c0d0eaf02"),
    ("Signalled Invalid", "09a00102030405060708090a0b0c0d0eaf03"),
    ("Signalled Failed", "09a00102030405060708090a0b0c0d0eaf0402"),
    (
        "Exited with all facts",
        concat!(
            "0aa00102030405060708090a0b0c0d0eaf00fbfe0101010105616c6963650f0501fc0000002000fb870301000001fbfb",
            "00fc0000100000fd0000000000000010",
        ),
    ),
    ("Exited Signaled", "0aa00102030405060708090a0b0c0d0eaf010901000000000000000000030409"),
    (
        "Exited StartFailed",
        "0aa00102030405060708090a0b0c0d0eaf021403fba481fbe803fc0000010003776879000000000000000000030409",
    ),
    ("Exited KeeperDied", "0aa00102030405060708090a0b0c0d0eaf0300000000000000000000030409"),
    ("Exited JobsUnitStopped", "0aa00102030405060708090a0b0c0d0eaf0301000000000000000000030409"),
    ("Exited Untrusted", "0aa00102030405060708090a0b0c0d0eaf0302000000000000000000030409"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn a_hello_has_the_bytes_of_every_version() {
    assert_eq!(hex(&samples::hello().encode(2).unwrap()), HELLO);
    assert_eq!(Hello::decode(&bytes(HELLO)).unwrap().1, samples::hello());
}

#[test]
fn every_request_has_the_bytes_of_version_1() {
    let requests = samples::requests();
    assert_eq!(requests.len(), REQUESTS.len());
    for ((name, request), (listed, golden)) in requests.into_iter().zip(REQUESTS) {
        assert_eq!(name, listed);
        assert_eq!(hex(&encode_request(&request).unwrap()), golden, "{name}");
        assert_eq!(decode_request(&bytes(golden)), Ok(request), "{name}");
    }
}

#[test]
fn every_answer_has_the_bytes_of_version_1() {
    let answers = samples::answers();
    assert_eq!(answers.len(), ANSWERS.len());
    for ((name, answer), (listed, golden)) in answers.into_iter().zip(ANSWERS) {
        assert_eq!(name, listed);
        assert_eq!(hex(&encode_answer(&answer).unwrap()), golden, "{name}");
        assert_eq!(decode_answer(&bytes(golden)), Ok(answer), "{name}");
    }
}

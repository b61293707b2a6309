//! What makes two requests the same.

use ipc_protocol::{Claimed, InputDigest, JobId, Limit, Spawn};

use super::spawn;
use crate::admission::fingerprint;

#[test]
fn a_repeated_request_is_the_same_whoever_repeats_it() {
    let first = spawn("standard", &["make"]);
    let mut again = first.clone();
    again.claimed = Claimed { request: "another".into(), ..Claimed::default() };
    assert_eq!(fingerprint(&first), fingerprint(&again));
}

#[test]
fn a_request_that_differs_in_anything_is_another() {
    let first = spawn("standard", &["make"]);
    let changes: [fn(&mut Spawn); 11] = [
        |s| s.job = JobId::from_bytes([8; 16]),
        |s| s.profile.push('x'),
        |s| s.argv.push(Vec::new()),
        |s| s.argv = vec![b"mak".to_vec(), b"e".to_vec()],
        |s| s.env.push(("A".into(), Vec::new())),
        |s| s.cwd = Some("/".into()),
        |s| s.limits.set(Limit::Memory, Some(1)),
        |s| s.limits.set(Limit::Timeout, Some(0)),
        |s| s.limits.set(Limit::Input, Some(0)),
        |s| s.merge = true,
        |s| s.input = Some(InputDigest { bytes: 1, sha256: [0; 32] }),
    ];
    for change in changes {
        let mut other = first.clone();
        change(&mut other);
        assert_ne!(fingerprint(&first), fingerprint(&other), "{other:?}");
    }
}

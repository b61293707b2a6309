//! The trail of decisions, where it can no longer be written.

use std::fs;

use airlock_e2e::StackOptions;
use ipc_protocol::{End, Refusal};

use super::{
    Executor, Mounted,
    peer::{sleeper, spawn},
};

#[test]
fn nothing_is_started_while_no_line_can_be_written_and_running_jobs_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = Mounted::over(folder.path(), &["-t", "tmpfs", "-o", "size=64k,mode=0700", "airlock-e2e"]);
    let stack = StackOptions::new().prepare();
    let (old, new) = (stack.path("audit/audit.jsonl"), small.path().join("audit.jsonl"));
    stack.edit("executor.toml", &old.display().to_string(), &new.display().to_string());
    let executor = Executor::of(stack);
    let mut peer = executor.live();
    let running = sleeper();
    peer.starts(&running);
    let filler = small.path().join("filler");
    // Up to the last byte of the last page, so that no line finds room beside it.
    assert!(fs::write(&filler, vec![0; 64 * 1024]).is_err(), "more fits than there is room for");
    let mut trail = fs::OpenOptions::new().append(true).open(&new).expect("the trail");
    let whole = trail.metadata().expect("its length").len();
    while std::io::Write::write(&mut trail, b"x").is_ok() {}
    let full = trail.metadata().expect("its length").len();
    let refused = spawn(&["true"]);
    let (refusal, _, message) = peer.is_refused(&refused);
    assert_eq!(refusal, Refusal::Host, "{message}");
    assert!(message.contains("the audit line cannot be written, so nothing is started"), "{message}");
    let (groups, id) = (executor.stack().job_groups(), refused.job.to_string());
    assert!(!groups.iter().any(|group| group.ends_with(format!("job-{id}"))), "{groups:?}");
    peer.stop(running.job, 9, 0);
    assert_eq!(peer.ends(running.job), End::Signaled { signal: 9, core: false });
    assert!(full >= whole);
    trail.set_len(whole).expect("the trail without what was written here");
    fs::remove_file(&filler).expect("room again");
    peer.runs_true();
}

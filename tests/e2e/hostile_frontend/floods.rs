//! Too much of what is allowed.

use std::fs;

use airlock_e2e::{Signal, StackOptions, catch, scale, wait_until};
use ipc_protocol::{Answer, Claimed, End, JobId, Refusal, Request, Spawn, Stream};

use super::{
    Executor, Mounted, attack,
    peer::{fresh_id, sleeper, spawn},
};

#[test]
fn more_starts_than_a_second_may_have_are_refused_and_later_ones_are_not() {
    let executor =
        Executor::start(StackOptions::new().edit("executor.toml", "starts_per_second = 200", "starts_per_second = 5"));
    let mut peer = executor.live();
    let (mut started, mut refused) = (0, 0);
    let begin = std::time::Instant::now();
    for _ in 0..60 {
        peer.say(&Request::Spawn(Box::new(spawn(&["true"]))));
    }
    while started + refused < 60 {
        let said = peer.waits_for("an answer to each", |answer| match answer {
            Answer::Exited { job, .. } => Some(Some(*job)),
            Answer::Refused { refusal: Refusal::Ceiling, message, .. } => {
                assert!(message.contains("more than 5 starts a second"), "{message}");
                Some(None)
            }
            _ => None,
        });
        match said {
            Some(job) => {
                started += 1;
                peer.say(&Request::Release { job });
            }
            None => refused += 1,
        }
    }
    // Two seconds' worth may come at once; the flood may meet the end of one such time and, where it takes long, more of them.
    let most = 10 * (begin.elapsed().as_secs() / 2 + 2);
    assert!((5..=most).contains(&started), "{started} were started, and {most} might have been");
    wait_until("a start after the flood", scale::seconds(10), || {
        let job = spawn(&["true"]);
        peer.say(&Request::Spawn(Box::new(job.clone())));
        peer.waits_for("an answer", |answer| match answer {
            Answer::Exited { job, .. } => Some(Some(*job)),
            Answer::Refused { .. } => Some(None),
            _ => None,
        })
        .map(|job| peer.say(&Request::Release { job }))
    });
}

#[test]
fn more_jobs_than_the_host_may_hold_are_refused_ended_ones_included() {
    let executor = Executor::start(StackOptions::new().edit("executor.toml", "jobs = 1000", "jobs = 3"));
    let mut peer = executor.live();
    let (ended, running) = (spawn(&["true"]), sleeper());
    peer.starts(&ended);
    peer.ends(ended.job);
    peer.starts(&running);
    peer.starts(&sleeper());
    let (refusal, _, message) = peer.is_refused(&spawn(&["true"]));
    assert_eq!((refusal, message.as_str()), (Refusal::Ceiling, "this host holds 3 jobs, its most"));
    // What exists is told all the same.
    peer.starts(&running);
    peer.say(&Request::Release { job: ended.job });
    peer.starts(&sleeper());
    drop(peer);
    executor.serves_and_nothing_is_left();
}

#[test]
fn a_frontend_that_asks_and_never_reads_is_closed_and_costs_a_bounded_memory() {
    attack(|executor| {
        let mut peer = executor.live();
        let body =
            ipc_protocol::encode_request(&Request::Signal { job: fresh_id(), signal: 1, by: Claimed::default() });
        let body = body.unwrap_or_default();
        let frames = [&ipc_protocol::frame_header(body.len())[..], &body].concat().repeat(1000);
        let begin = std::time::Instant::now();
        while peer.send(&frames) {
            assert!(begin.elapsed() < scale::seconds(60), "the executor still listens");
        }
        assert!(executor.memory_kib("VmRSS") < 32 * 1024);
    });
}

#[test]
fn jobs_that_write_to_a_frontend_that_never_reads_wait_and_the_rest_goes_on() {
    attack(|executor| {
        let mut peer = executor.live();
        let writers: Vec<Spawn> = (0..8).map(|_| spawn(&["sh", "-c", "exec head -c 30000000 /dev/zero"])).collect();
        for writer in &writers {
            peer.say(&Request::Spawn(Box::new(writer.clone())));
        }
        wait_until("all writers", scale::seconds(10), || (executor.keepers().len() == 8).then_some(()));
        // As long as nobody reads, none of them ends; the executor's own memory does not grow with what they write.
        std::thread::sleep(scale::seconds(1));
        assert_eq!(executor.keepers().len(), 8);
        assert!(executor.memory_kib("VmRSS") < 32 * 1024);
        let mut newer = executor.live();
        newer.runs_true();
        assert_eq!(newer.listed.len(), 8);
    });
}

#[test]
fn jobs_whose_output_is_never_acknowledged_wait_at_their_window() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["head", "-c", "30000000", "/dev/zero"]);
        let (pid, _) = peer.starts(&job);
        let mut arrived = 0;
        while arrived < 1024 * 1024 {
            arrived = peer.waits_for("output up to the window", |answer| match answer {
                Answer::Output { offset, bytes, .. } => Some(offset + bytes.len() as u64),
                _ => None,
            });
        }
        wait_until("a job that waits", scale::seconds(20), || waits(pid).then_some(()));
        for _ in 0..20 {
            peer.is_open();
        }
        assert_eq!(arrived + peer.unread_output(), 1024 * 1024, "more than a window was sent");
        // From there on all of it comes, once.
        peer.say(&Request::Ack { job: job.job, stream: ipc_protocol::Stream::Stdout, offset: arrived });
        let (rest, end) = peer.output_until_end(job.job);
        assert_eq!((rest.len() as u64 + arrived, end), (30_000_000, End::Exited(0)));
    });
}

#[test]
fn acknowledgements_byte_by_byte_cost_only_time() {
    attack(|executor| {
        let mut peer = executor.live();
        let job = spawn(&["sh", "-c", "head -c 20000 /dev/zero; sleep 1000"]);
        peer.starts(&job);
        let mut arrived = 0;
        while arrived < 20_000 {
            arrived = peer.waits_for("output", |answer| match answer {
                Answer::Output { offset, bytes, .. } => Some(offset + bytes.len() as u64),
                _ => None,
            });
        }
        for offset in 0..=20_000 {
            peer.say(&Request::Ack { job: job.job, stream: ipc_protocol::Stream::Stdout, offset });
        }
        peer.is_open();
    });
}

#[test]
fn a_frontend_can_connect_however_long_the_commands_are_that_the_executor_holds() {
    attack(|executor| {
        let long = || "x".repeat(250);
        let claimed = Claimed { owner: long(), serial: long(), peer: long(), request: long() };
        let word = "y".repeat(4000);
        let count = 900 / scale::factor() as usize;
        let mut peer = executor.live();
        let mut held = 0;
        while held < count {
            let job = Spawn { claimed: claimed.clone(), ..spawn(&["true", &word]) };
            peer.say(&Request::Spawn(Box::new(job)));
            held += usize::from(peer.waits_for("a start", |answer| match answer {
                Answer::Spawned { .. } => Some(true),
                Answer::Refused { refusal: Refusal::Ceiling, .. } => Some(false),
                Answer::Refused { message, .. } => panic!("{message}"),
                _ => None,
            }));
        }
        drop(peer);
        assert_eq!(executor.live().listed.len(), count);
    });
}

#[test]
fn refusals_without_end_are_counted_in_the_audit_trail_and_not_each_written() {
    attack(|executor| {
        let mut peer = executor.live();
        let (begin, before) = (std::time::Instant::now(), executor.audit_bytes());
        for n in 0..2000u128 {
            let asked = Spawn { job: JobId::from_bytes(n.to_be_bytes()), profile: "nope".into(), ..spawn(&["true"]) };
            peer.say(&Request::Spawn(Box::new(asked)));
            peer.waits_for("a refusal", |answer| matches!(answer, Answer::Refused { .. }).then_some(()));
        }
        // A hundred lines for each second that it took here, in part or whole.
        let most = 50_000 * (begin.elapsed().as_secs() + 2);
        let grown = executor.audit_bytes() - before;
        assert!(grown < most, "2000 refusals made {grown} bytes of audit, and {most} might have been");
    });
}

#[test]
fn a_ceiling_of_output_in_flight_holds_over_all_jobs_and_nothing_is_lost() {
    let options = StackOptions::new().edit("executor.toml", "jobs = 1000", "jobs = 1000\noutput_in_flight = \"1M\"");
    let executor = Executor::start(options);
    let mut peer = executor.live();
    let jobs: Vec<Spawn> = (0..4).map(|_| spawn(&["head", "-c", "3000000", "/dev/zero"])).collect();
    let pids: Vec<u32> = jobs.iter().map(|job| peer.starts(job).0).collect();
    // Nothing is acknowledged: what is sent comes to the ceiling, and all of them wait.
    let mut totals = std::collections::HashMap::<JobId, u64>::new();
    // Half is for whoever comes first, the rest in a thousand shares.
    while totals.values().sum::<u64>() < 1 << 19 {
        peer.waits_for("output up to the ceiling", |answer| match answer {
            Answer::Output { job, bytes, .. } => {
                *totals.entry(*job).or_default() += bytes.len() as u64;
                Some(())
            }
            _ => None,
        });
    }
    wait_until("jobs that wait", scale::seconds(20), || pids.iter().copied().all(waits).then_some(()));
    for _ in 0..20 {
        peer.is_open();
    }
    let in_flight = peer.unread_output() + totals.values().sum::<u64>();
    assert!(in_flight <= 1 << 20, "{in_flight} bytes in flight");
    for (job, total) in &totals {
        peer.say(&Request::Ack { job: *job, stream: Stream::Stdout, offset: *total });
    }
    let mut ended = 0;
    while ended < jobs.len() {
        let said = peer.waits_for("output and ends", |answer| match answer {
            Answer::Output { job, stream, offset, bytes, .. } => {
                let total = totals.entry(*job).or_default();
                assert_eq!(*offset, *total);
                *total += bytes.len() as u64;
                Some(Request::Ack { job: *job, stream: *stream, offset: *total })
            }
            Answer::Exited { job, end, .. } => {
                assert_eq!(*end, End::Exited(0));
                Some(Request::Release { job: *job })
            }
            _ => None,
        });
        ended += usize::from(matches!(said, Request::Release { .. }));
        peer.say(&said);
    }
    assert!(totals.values().all(|total| *total == 3_000_000), "{totals:?}");
    drop(peer);
    executor.serves_and_nothing_is_left();
}

#[test]
fn output_that_nobody_acknowledges_leaves_every_other_job_its_share() {
    let options = StackOptions::new().edit("executor.toml", "jobs = 1000", "jobs = 8\noutput_in_flight = \"2M\"");
    let executor = Executor::start(options);
    let mut peer = executor.live();
    let hogs = [(); 4].map(|()| spawn(&["head", "-c", "3000000", "/dev/zero"]));
    let pids: Vec<u32> = hogs.iter().map(|hog| peer.starts(hog).0).collect();
    wait_until("jobs that wait", scale::seconds(20), || pids.iter().copied().all(waits).then_some(()));
    let other = spawn(&["head", "-c", "1000000", "/dev/zero"]);
    peer.starts(&other);
    let mut total = 0;
    loop {
        let said = peer.waits_for("the other's output and end", |answer| match answer {
            Answer::Output { job, offset, bytes, .. } if *job == other.job => Some(Some(offset + bytes.len() as u64)),
            Answer::Exited { job, .. } if *job == other.job => Some(None),
            _ => None,
        });
        let Some(to) = said else { break };
        total = to;
        peer.say(&Request::Ack { job: other.job, stream: Stream::Stdout, offset: to });
    }
    assert_eq!(total, 1_000_000);
    drop(peer);
    let mut peer = executor.live();
    peer.ends_and_releases_everything();
    drop(peer);
    executor.serves_and_nothing_is_left();
}

#[test]
fn directories_that_are_still_being_emptied_count_as_jobs_that_the_host_holds() {
    let stack = StackOptions::new().edit("executor.toml", "jobs = 1000", "jobs = 3").prepare();
    // In memory: what a file system on a disk needs for so many files depends on what was removed there before.
    let folder = tempfile::tempdir().expect("a folder");
    let work = Mounted::over(folder.path(), &["-t", "tmpfs", "-o", "mode=0711", "airlock-e2e"]);
    stack.edit("executor.toml", &stack.path("work").display().to_string(), &work.path().display().to_string());
    let executor = Executor::of(stack);
    let mut peer = executor.live();
    let mut sweepers: Vec<i32> = Vec::new();
    for _ in 0..3 {
        let job = spawn(&["sh", "-c", "seq 100000 | xargs touch"]);
        peer.starts(&job);
        assert_eq!(peer.ends(job.job), End::Exited(0));
        peer.say(&Request::Release { job: job.job });
        // It stands still, as on a disk that does; not before it is the sweeper's program, for the executor waits for that.
        let sweeps =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0sweep\0"));
        sweepers.push(catch("what empties the directory", scale::seconds(20), || {
            let new = executor.sweepers().into_iter().find(|pid| !sweepers.contains(pid) && sweeps(pid))?;
            signal(new, Signal::STOP);
            Some(new)
        }));
    }
    assert_eq!(peer.is_refused(&spawn(&["true"])).0, Refusal::Ceiling);
    sweepers.into_iter().for_each(|pid| signal(pid, Signal::CONT));
    wait_until("room after the sweep", scale::seconds(30), || executor.sweepers().is_empty().then_some(()));
    drop(peer);
    executor.serves_and_nothing_is_left();
}

#[test]
fn an_executor_that_is_short_of_descriptors_refuses_jobs_and_serves_on() {
    use rustix::process::{Resource, Rlimit, prlimit};
    let executor = Executor::start(StackOptions::new());
    let pid = rustix::process::Pid::from_raw(executor.stack().pid("executor"));
    let few = Rlimit { current: Some(300), maximum: Some(300) };
    prlimit(pid, Resource::Nofile, few).unwrap_or_else(|error| panic!("{error}"));
    let mut peer = executor.live();
    for _ in 0..(300 - 256) / 5 {
        peer.starts(&sleeper());
    }
    let (refusal, _, message) = peer.is_refused(&sleeper());
    assert_eq!(
        (refusal, message.contains("limit of 300 descriptors holds 8 jobs")),
        (Refusal::Ceiling, true),
        "{message}"
    );
    for n in 0..1000u128 {
        peer.say(&Request::Input { job: JobId::from_bytes(n.to_be_bytes()), offset: 0, bytes: vec![1] });
    }
    peer.is_open();
    let half: Vec<_> = (0..20).map(|_| executor.connect()).collect();
    peer.is_open();
    assert!(executor.descriptors() < 300);
    drop(half);
    drop(peer);
    let mut newer = executor.live();
    newer.ends_and_releases_everything();
    newer.runs_true();
}

/// Whether a process is held up by a full pipe, or gone.
fn waits(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).map_or(true, |place| place.contains("pipe_write"))
}

fn signal(pid: i32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap_or_else(|| panic!("no process {pid}"));
    rustix::process::kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?}: {error}"));
}

//! One message of every variant, with values whose bytes are easy to find again in a dump.

use crate::{
    Answer, Claimed, End, Facts, Hello, InputDigest, JobEntry, JobId, Limit, Limits, LostReason, Phase, ProfileInfo,
    Refusal, Request, SignalOutcome, Spawn, StartError, Step, StopFact, Stream,
};

pub const JOB: JobId = JobId::from_bytes([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xaf]);

/// Every step, in its order.
pub const STEPS: [Step; 21] = {
    use Step::*;
    [
        Directory, Cgroup, Limits, Descriptors, Keeper, Plan, Mounts, Birth, JoinV1, Signals, Session,
        CloseDescriptors, OomScore, Rlimits, BoundingSet, Ids, VerifyIds, Chdir, NoNewPrivs, Seccomp, Exec,
    ]
};

pub fn hello() -> Hello {
    Hello { min_version: 1, epoch: 300, build: "b1".into() }
}

pub fn claimed() -> Claimed {
    Claimed { owner: "alice".into(), serial: "5e1f".into(), peer: "10.0.4.17".into(), request: "0c5e".into() }
}

pub fn limits_asked() -> Limits {
    Limits::default()
        .with(Limit::Cpu, 1500)
        .with(Limit::Memory, 1 << 30)
        .with(Limit::Swap, 0)
        .with(Limit::Pids, 64)
        .with(Limit::IoWrite, u64::MAX)
        .with(Limit::IoWriteOps, 250)
        .with(Limit::Timeout, 251)
}

pub fn limits() -> Limits {
    Limits::default()
        .with(Limit::Cpu, 2000)
        .with(Limit::CpuWeight, 100)
        .with(Limit::Memory, 1 << 30)
        .with(Limit::Swap, 0)
        .with(Limit::Pids, 512)
        .with(Limit::IoWrite, 1 << 20)
        .with(Limit::Timeout, 86_400_000)
}

pub fn spawn() -> Spawn {
    Spawn {
        job: JOB,
        claimed: claimed(),
        profile: "standard".into(),
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), vec![0xff, 0xfe]],
        env: vec![("CI".into(), b"1".to_vec())],
        cwd: Some("/srv/src".into()),
        limits: limits_asked(),
        input: Some(InputDigest { bytes: 65_536, sha256: [7; 32] }),
        merge: true,
    }
}

pub fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("Resume", Request::Resume { job: JOB, have: [250, 251] }),
        ("SyncEnd", Request::SyncEnd),
        ("Input", Request::Input { job: JOB, offset: 1, bytes: vec![1, 2, 3] }),
        ("Spawn", Request::Spawn(Box::new(spawn()))),
        ("Ack", Request::Ack { job: JOB, stream: Stream::Stderr, offset: 1 << 33 }),
        ("Stop", Request::Stop { job: JOB, signal: 15, grace_ms: 10_000, by: claimed() }),
        ("Signal", Request::Signal { job: JOB, signal: 1, by: Claimed::default() }),
        ("Release", Request::Release { job: JOB }),
    ]
}

pub fn profile() -> ProfileInfo {
    ProfileInfo {
        name: "standard".into(),
        default: limits_asked(),
        max: Limits::default().with(Limit::Input, 1 << 28),
        command: vec!["/bin/true".into()],
        network: true,
        fresh_cwd: false,
        cwd: vec!["/srv".into(), "/tmp".into()],
        path: "/bin".into(),
    }
}

pub fn entry() -> JobEntry {
    JobEntry {
        job: JOB,
        claimed: claimed(),
        profile: "standard".into(),
        argv: vec![b"true".to_vec()],
        phase: Phase::Started { pid: 70_000, started_ns: 1 << 60 },
        uid: 1_900_000_412,
        limits: limits(),
        input: None,
        merge: false,
        acked: [4096, 0],
    }
}

pub fn start_error() -> StartError {
    StartError { step: Step::Exec, errno: -2, mode: 0o100_644, owner: 1000, uid: 65_536, detail: "why".into() }
}

pub fn facts() -> Facts {
    Facts {
        oom_kills: 1,
        deadline_hit: true,
        stop: Some(StopFact { by: "alice".into(), signal: 15, at_ns: 5 }),
        memory_peak: Some(1 << 29),
        pids_peak: None,
        cpu_ns: 903,
        throttled_ns: Some(0),
        io_read: None,
        io_written: Some(251),
    }
}

pub fn exited(end: End) -> Answer<'static> {
    Answer::Exited { job: JOB, end, facts: Box::new(Facts::default()), totals: [3, 4], ended_ns: 9 }
}

pub fn signalled(outcome: SignalOutcome) -> Answer<'static> {
    Answer::Signalled { job: JOB, outcome }
}

pub fn refused(refusal: Refusal) -> Answer<'static> {
    Answer::Refused { job: JOB, refusal, field: "env".into(), message: "no".into() }
}

pub fn answers() -> Vec<(&'static str, Answer<'static>)> {
    vec![
        (
            "Welcome",
            Answer::Welcome {
                version: Some(1),
                speaks: [1, 1],
                epoch_seen: 300,
                build: "b2".into(),
                cgroups: "v2".into(),
            },
        ),
        (
            "Welcome without a version",
            Answer::Welcome {
                version: None,
                speaks: [1, 2],
                epoch_seen: 0,
                build: String::new(),
                cgroups: "hybrid".into(),
            },
        ),
        ("Profiles", Answer::Profiles(vec![profile()])),
        ("Job", Answer::Job(Box::new(entry()))),
        ("Job starting", Answer::Job(Box::new(JobEntry { phase: Phase::Starting, ..entry() }))),
        ("Job never started", Answer::Job(Box::new(JobEntry { phase: Phase::NeverStarted, ..entry() }))),
        ("SyncEnd", Answer::SyncEnd),
        ("Spawned", Answer::Spawned { job: JOB, pid: 251, uid: 65_536, started_ns: 1 << 32, limits: limits() }),
        ("NotStarted", Answer::NotStarted { job: JOB, error: start_error() }),
        ("Refused Invalid", refused(Refusal::Invalid)),
        ("Refused Profile", refused(Refusal::Profile)),
        ("Refused Ceiling", refused(Refusal::Ceiling)),
        ("Refused Host", refused(Refusal::Host)),
        ("Refused StaleEpoch", refused(Refusal::StaleEpoch)),
        ("Refused Conflict", refused(Refusal::Conflict)),
        (
            "Output",
            Answer::Output {
                job: JOB,
                stream: Stream::Stderr,
                offset: 251,
                time_ns: 1 << 40,
                recovered: true,
                bytes: b"bytes",
            },
        ),
        ("Stopped", Answer::Stopped { job: JOB, outcome: SignalOutcome::Sent }),
        ("Signalled Sent", signalled(SignalOutcome::Sent)),
        ("Signalled NotRunning", signalled(SignalOutcome::NotRunning)),
        ("Signalled Unknown", signalled(SignalOutcome::Unknown)),
        ("Signalled Invalid", signalled(SignalOutcome::Invalid)),
        ("Signalled Failed", signalled(SignalOutcome::Failed(1))),
        (
            "Exited with all facts",
            Answer::Exited {
                job: JOB,
                end: End::Exited(255),
                facts: Box::new(facts()),
                totals: [1 << 20, 0],
                ended_ns: 1 << 60,
            },
        ),
        ("Exited Signaled", exited(End::Signaled { signal: 9, core: true })),
        ("Exited StartFailed", exited(End::StartFailed(start_error()))),
        ("Exited KeeperDied", exited(End::Lost(LostReason::KeeperDied))),
        ("Exited JobsUnitStopped", exited(End::Lost(LostReason::JobsUnitStopped))),
        ("Exited Untrusted", exited(End::Lost(LostReason::Untrusted))),
    ]
}

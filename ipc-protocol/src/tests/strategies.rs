//! Every request and answer that the types can hold.

use proptest::{collection::vec, option, prelude::*};

use super::samples;
use crate::{
    Claimed, End, Facts, Hello, InputDigest, JobEntry, JobId, Limit, Limits, LostReason, Phase, ProfileInfo, Refusal,
    Request, SignalOutcome, Spawn, StartError, Step, StopFact, Stream,
};

pub fn job() -> impl Strategy<Value = JobId> {
    any::<[u8; 16]>().prop_map(JobId::from_bytes)
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", vec(any::<char>(), 0..12).prop_map(String::from_iter)]
}

pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

pub fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]
}

// Numbers around the borders of the integer encoding are as likely as all others together.
pub fn number() -> impl Strategy<Value = u64> {
    const BORDERS: [u64; 11] = [0, 1, 250, 251, 252, 0xff, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    prop_oneof![any::<u64>(), proptest::sample::select(&BORDERS[..])]
}

pub fn hello() -> impl Strategy<Value = Hello> {
    (any::<u8>(), number(), text()).prop_map(|(min_version, epoch, build)| Hello { min_version, epoch, build })
}

pub fn claimed() -> impl Strategy<Value = Claimed> {
    (text(), text(), text(), text()).prop_map(|(owner, serial, peer, request)| Claimed { owner, serial, peer, request })
}

pub fn limits() -> impl Strategy<Value = Limits> {
    vec(option::of(number()), Limit::ALL.len()).prop_map(|values| {
        let mut limits = Limits::default();
        Limit::ALL.into_iter().zip(values).for_each(|(limit, value)| limits.set(limit, value));
        limits
    })
}

pub fn input() -> impl Strategy<Value = InputDigest> {
    (number(), any::<[u8; 32]>()).prop_map(|(bytes, sha256)| InputDigest { bytes, sha256 })
}

pub fn spawn() -> impl Strategy<Value = Spawn> {
    let names = (job(), claimed(), text(), vec(bytes(), 0..6), vec((text(), bytes()), 0..6));
    (names, option::of(text()), limits(), option::of(input()), any::<bool>()).prop_map(
        |((job, claimed, profile, argv, env), cwd, limits, input, merge)| Spawn {
            job,
            claimed,
            profile,
            argv,
            env,
            cwd,
            limits,
            input,
            merge,
        },
    )
}

pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (job(), [number(), number()]).prop_map(|(job, have)| Request::Resume { job, have }),
        Just(Request::SyncEnd),
        (job(), number(), bytes()).prop_map(|(job, offset, bytes)| Request::Input { job, offset, bytes }),
        spawn().prop_map(|spawn| Request::Spawn(Box::new(spawn))),
        (job(), stream(), number()).prop_map(|(job, stream, offset)| Request::Ack { job, stream, offset }),
        (job(), any::<u8>(), number(), claimed()).prop_map(|(job, signal, grace_ms, by)| Request::Stop {
            job,
            signal,
            grace_ms,
            by
        }),
        (job(), any::<u8>(), claimed()).prop_map(|(job, signal, by)| Request::Signal { job, signal, by }),
        job().prop_map(|job| Request::Release { job }),
    ]
}

pub fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Starting),
        (any::<u32>(), number()).prop_map(|(pid, started_ns)| Phase::Started { pid, started_ns }),
        Just(Phase::NeverStarted),
    ]
}

pub fn entry() -> impl Strategy<Value = JobEntry> {
    let who = (job(), claimed(), text(), vec(bytes(), 0..4));
    let how = (limits(), option::of(input()), any::<bool>(), [number(), number()]);
    (who, phase(), any::<u32>(), how).prop_map(
        |((job, claimed, profile, argv), phase, uid, (limits, input, merge, acked))| JobEntry {
            job,
            claimed,
            profile,
            argv,
            phase,
            uid,
            limits,
            input,
            merge,
            acked,
        },
    )
}

pub fn profile() -> impl Strategy<Value = ProfileInfo> {
    let places = (vec(text(), 0..4), text());
    (text(), [limits(), limits()], vec(text(), 0..4), any::<[bool; 2]>(), places).prop_map(
        |(name, [default, max], command, [network, fresh_cwd], (cwd, path))| ProfileInfo {
            name,
            default,
            max,
            command,
            network,
            fresh_cwd,
            cwd,
            path,
        },
    )
}

pub fn step() -> impl Strategy<Value = Step> {
    proptest::sample::select(&samples::STEPS[..])
}

pub fn start_error() -> impl Strategy<Value = StartError> {
    (step(), any::<i32>(), any::<[u32; 3]>(), text()).prop_map(|(step, errno, [mode, owner, uid], detail)| StartError {
        step,
        errno,
        mode,
        owner,
        uid,
        detail,
    })
}

pub fn refusal() -> impl Strategy<Value = Refusal> {
    use Refusal::{Ceiling, Conflict, Host, Invalid, Profile, StaleEpoch};
    proptest::sample::select(&[Invalid, Profile, Ceiling, Host, StaleEpoch, Conflict][..])
}

pub fn outcome() -> impl Strategy<Value = SignalOutcome> {
    use SignalOutcome::{Failed, Invalid, NotRunning, Sent, Unknown};
    prop_oneof![Just(Sent), Just(NotRunning), Just(Unknown), Just(Invalid), any::<i32>().prop_map(Failed)]
}

pub fn end() -> impl Strategy<Value = End> {
    use LostReason::{JobsUnitStopped, KeeperDied, Untrusted};
    prop_oneof![
        any::<i32>().prop_map(End::Exited),
        (any::<u8>(), any::<bool>()).prop_map(|(signal, core)| End::Signaled { signal, core }),
        start_error().prop_map(End::StartFailed),
        proptest::sample::select(&[KeeperDied, JobsUnitStopped, Untrusted][..]).prop_map(End::Lost),
    ]
}

pub fn facts() -> impl Strategy<Value = Facts> {
    let stop = (text(), any::<u8>(), number()).prop_map(|(by, signal, at_ns)| StopFact { by, signal, at_ns });
    let optional = proptest::array::uniform5(option::of(number()));
    (number(), any::<bool>(), option::of(stop), number(), optional).prop_map(
        |(oom_kills, deadline_hit, stop, cpu_ns, [memory_peak, pids_peak, throttled_ns, io_read, io_written])| Facts {
            oom_kills,
            deadline_hit,
            stop,
            memory_peak,
            pids_peak,
            cpu_ns,
            throttled_ns,
            io_read,
            io_written,
        },
    )
}

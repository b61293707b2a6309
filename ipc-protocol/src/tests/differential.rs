//! wincode, another implementation of the same format, gives and takes the same bytes. It proves that the wire does not depend
//! on one library.

use proptest::{collection::vec, prelude::*};
use wincode::{config::Configuration, len::UseIntLen};

use super::{samples, strategies};
use crate::{Answer, Hello, Request, decode_request, encode_answer, encode_request};

macro_rules! other {
    ($value:expr) => {
        wincode::config::serialize(
            $value,
            Configuration::default()
                .with_varint_encoding()
                .with_length_encoding::<UseIntLen<usize>>()
                .with_tag_encoding::<u32>(),
        )
        .unwrap()
    };
}

macro_rules! other_reads {
    ($bytes:expr) => {
        wincode::config::deserialize_exact(
            $bytes,
            Configuration::default()
                .with_varint_encoding()
                .with_length_encoding::<UseIntLen<usize>>()
                .with_tag_encoding::<u32>(),
        )
        .unwrap()
    };
}

// An answer borrows, which wincode's derive does not follow: its number and its fields are compared instead.
macro_rules! assert_parts {
    ($answer:expr, $number:literal, $parts:expr) => {{
        let body = encode_answer(&$answer).unwrap();
        prop_assert_eq!(body[0], $number);
        prop_assert_eq!(&body[1..], &other!(&$parts)[..]);
    }};
}

#[test]
fn every_kind_of_request_has_the_same_bytes() {
    for (name, request) in samples::requests() {
        assert_eq!(other!(&request), encode_request(&request).unwrap(), "{name}");
    }
    assert_eq!(other!(&samples::hello()), samples::hello().encode(9).unwrap()[1..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_have_the_same_bytes_both_ways(request in strategies::request()) {
        let bytes = other!(&request);
        prop_assert_eq!(&bytes, &encode_request(&request).unwrap());
        prop_assert_eq!(&decode_request(&bytes).unwrap(), &request);
        let back: Request = other_reads!(&bytes);
        prop_assert_eq!(back, request);
    }

    #[test]
    fn a_hello_has_the_same_bytes_both_ways(hello in strategies::hello()) {
        let bytes = other!(&hello);
        prop_assert_eq!(&bytes, &hello.encode(0).unwrap()[1..]);
        let back: Hello = other_reads!(&bytes);
        prop_assert_eq!(back, hello);
    }

    #[test]
    fn what_the_executor_tells_about_itself_has_the_same_bytes(
        (version, speaks, epoch_seen) in (any::<Option<u8>>(), any::<[u8; 2]>(), strategies::number()),
        (build, cgroups) in (strategies::text(), strategies::text()),
        profiles in vec(strategies::profile(), 0..3),
        entry in strategies::entry(),
    ) {
        let welcome = Answer::Welcome { version, speaks, epoch_seen, build: build.clone(), cgroups: cgroups.clone() };
        assert_parts!(welcome, 0, (version, speaks, epoch_seen, build, cgroups));
        assert_parts!(Answer::Profiles(profiles.clone()), 1, profiles);
        assert_parts!(Answer::Job(Box::new(entry.clone())), 2, entry);
        assert_parts!(Answer::SyncEnd, 3, ());
    }

    #[test]
    fn what_the_executor_tells_about_jobs_has_the_same_bytes(
        (job, uid, pid) in (strategies::job(), any::<u32>(), any::<u32>()),
        (limits, at, outcome) in (strategies::limits(), strategies::number(), strategies::outcome()),
        (error, refusal) in (strategies::start_error(), strategies::refusal()),
        (field, message) in (strategies::text(), strategies::text()),
        (stream, recovered, bytes) in (strategies::stream(), any::<bool>(), strategies::bytes()),
        (end, facts, totals) in (strategies::end(), strategies::facts(), [strategies::number(), strategies::number()]),
    ) {
        let spawned = Answer::Spawned { job, pid, uid, started_ns: at, limits };
        assert_parts!(spawned, 4, (job, pid, uid, at, limits));
        assert_parts!(Answer::NotStarted { job, error: error.clone() }, 5, (job, error));
        let refused = Answer::Refused { job, refusal, field: field.clone(), message: message.clone() };
        assert_parts!(refused, 6, (job, refusal, field, message));
        let output = Answer::Output { job, stream, offset: at, time_ns: at, recovered, bytes: &bytes };
        assert_parts!(output, 7, (job, stream, at, at, recovered, bytes.clone()));
        assert_parts!(Answer::Stopped { job, outcome }, 8, (job, outcome));
        assert_parts!(Answer::Signalled { job, outcome }, 9, (job, outcome));
        let exited = Answer::Exited { job, end: end.clone(), facts: Box::new(facts.clone()), totals, ended_ns: at };
        assert_parts!(exited, 10, (job, end, facts, totals, at));
    }
}

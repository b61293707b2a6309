//! What holds for every message, not only for those somebody thought of.

use proptest::{collection::vec, prelude::*};

use super::strategies;
use crate::{
    Answer, CodecError, Hello, VersionRange, decode_answer, decode_request, encode_answer, encode_request,
    output_prefix,
};

fn comes_back(answer: &Answer<'_>) -> Result<(), TestCaseError> {
    let body = encode_answer(answer).unwrap();
    prop_assert_eq!(&decode_answer(&body).unwrap(), answer);
    let longer = [&body[..], &[0]].concat();
    prop_assert_eq!(decode_answer(&longer), Err(CodecError::Trailing(1)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_comes_back_as_it_was(request in strategies::request()) {
        let body = encode_request(&request).unwrap();
        prop_assert_eq!(decode_request(&body).unwrap(), request);
    }

    #[test]
    fn a_hello_comes_back_as_it_was(hello in strategies::hello(), max in any::<u8>()) {
        let body = hello.encode(max).unwrap();
        let range = VersionRange { min: hello.min_version, max };
        prop_assert_eq!(Hello::decode(&body).unwrap(), (range, hello));
    }

    #[test]
    fn a_request_with_bytes_after_it_is_refused(request in strategies::request(), after in vec(any::<u8>(), 1..20)) {
        let body = [encode_request(&request).unwrap(), after.clone()].concat();
        prop_assert_eq!(decode_request(&body), Err(CodecError::Trailing(after.len())));
    }

    #[test]
    fn a_request_cut_anywhere_is_refused(request in strategies::request(), at in any::<prop::sample::Index>()) {
        let body = encode_request(&request).unwrap();
        prop_assert!(decode_request(&body[..at.index(body.len())]).is_err());
    }

    #[test]
    fn what_decodes_has_no_other_form(body in vec(any::<u8>(), 0..400)) {
        if let Ok(request) = decode_request(&body) {
            prop_assert_eq!(&encode_request(&request).unwrap(), &body);
        }
        if let Ok((range, hello)) = Hello::decode(&body) {
            prop_assert_eq!(&hello.encode(range.max).unwrap(), &body);
        }
        let _ = decode_answer(&body);
    }

    // Arbitrary bytes seldom get far; real messages with some bytes changed do.
    #[test]
    fn a_request_with_changed_bytes_is_refused_or_has_no_other_form(
        request in strategies::request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = encode_request(&request).unwrap();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(request) = decode_request(&body) {
            prop_assert_eq!(encode_request(&request).unwrap(), body);
        }
    }

    #[test]
    fn a_job_entry_comes_back_as_it_was(entry in strategies::entry()) {
        comes_back(&Answer::Job(Box::new(entry)))?;
    }

    #[test]
    fn profiles_come_back_as_they_were(profiles in vec(strategies::profile(), 0..4)) {
        comes_back(&Answer::Profiles(profiles))?;
    }

    #[test]
    fn an_end_comes_back_as_it_was(
        (job, end, facts) in (strategies::job(), strategies::end(), strategies::facts()),
        totals in [strategies::number(), strategies::number()],
        ended_ns in strategies::number(),
    ) {
        comes_back(&Answer::Exited { job, end, facts: Box::new(facts), totals, ended_ns })?;
    }

    #[test]
    fn answers_to_requests_come_back_as_they_were(
        (job, uid, pid) in (strategies::job(), any::<u32>(), any::<u32>()),
        (limits, started_ns, outcome) in (strategies::limits(), strategies::number(), strategies::outcome()),
        (error, refusal) in (strategies::start_error(), strategies::refusal()),
        (field, message) in (strategies::text(), strategies::text()),
    ) {
        comes_back(&Answer::Spawned { job, pid, uid, started_ns, limits })?;
        comes_back(&Answer::NotStarted { job, error })?;
        comes_back(&Answer::Refused { job, refusal, field, message })?;
        comes_back(&Answer::Stopped { job, outcome })?;
        comes_back(&Answer::Signalled { job, outcome })?;
    }

    #[test]
    fn a_welcome_comes_back_as_it_was(
        (version, speaks) in (any::<Option<u8>>(), any::<[u8; 2]>()),
        (epoch_seen, build, cgroups) in (strategies::number(), strategies::text(), strategies::text()),
    ) {
        comes_back(&Answer::Welcome { version, speaks, epoch_seen, build, cgroups })?;
    }

    // The executor sends the payload straight from the spool, so only the prefix is ever encoded.
    #[test]
    fn prefix_and_payload_are_the_encoded_output(
        (job, stream, offset) in (strategies::job(), strategies::stream(), strategies::number()),
        (time_ns, recovered) in (strategies::number(), any::<bool>()),
        length in prop_oneof![0usize..600, 65_000usize..66_000, Just(crate::OUTPUT_BYTES_MAX)],
    ) {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let answer = Answer::Output { job, stream, offset, time_ns, recovered, bytes: &bytes };
        let whole = encode_answer(&answer).unwrap();
        let mut sent = output_prefix(job, stream, offset, time_ns, recovered, length).unwrap();
        sent.extend_from_slice(&bytes);
        prop_assert!(sent == whole);
        prop_assert!(decode_answer(&sent).unwrap() == answer);
    }
}

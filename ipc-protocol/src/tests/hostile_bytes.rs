//! Bodies that no honest peer sends.

use super::samples::{self, JOB};
use crate::{
    ANSWER_FRAME_MAX, ARGUMENT_BYTES_MAX, Answer, CodecError, Hello, INPUT_BYTES_MAX, JobId, OUTPUT_BYTES_MAX,
    REQUEST_FRAME_MAX, Request, Spawn, Stream, decode_answer, decode_request, encode_answer, encode_request,
};

// The same number in every width above the shortest that holds it.
fn longer_forms(number: u64) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    if let Ok(n) = u16::try_from(number)
        && number <= 250
    {
        forms.push([&[251][..], &n.to_le_bytes()].concat());
    }
    if let Ok(n) = u32::try_from(number)
        && number <= 0xffff
    {
        forms.push([&[252][..], &n.to_le_bytes()].concat());
    }
    if number <= 0xffff_ffff {
        forms.push([&[253][..], &number.to_le_bytes()].concat());
    }
    forms
}

fn is_refused(body: &[u8]) -> CodecError {
    match decode_request(body) {
        Err(error) => error,
        Ok(request) => panic!("{body:02x?} was taken as {request:?}"),
    }
}

#[test]
fn an_integer_longer_than_it_must_be_is_refused() {
    let tag_and_job = |tag: u8| [&[tag][..], JOB.as_bytes()].concat();
    for form in longer_forms(1) {
        let body = [&tag_and_job(0)[..], &form, &[2]].concat();
        assert_eq!(decode_request(&body), Err(CodecError::NotCanonical), "Resume with {form:02x?} for 1");
        let body = [&tag_and_job(4)[..], &form, &[0]].concat();
        is_refused(&body); // the number of a variant: one of 64 bits is malformed, the others not canonical
        let body = [&tag_and_job(2)[..], &[0], &form, b"x"].concat();
        assert_eq!(decode_request(&body), Err(CodecError::NotCanonical), "Input of length {form:02x?}");
        is_refused(&form);
    }
    for number in [250, 251, 0xffff, 0x1_0000, 0xffff_ffff] {
        for form in longer_forms(number) {
            let body = [&tag_and_job(0)[..], &form, &[0]].concat();
            assert_eq!(decode_request(&body), Err(CodecError::NotCanonical), "{number} as {form:02x?}");
        }
    }
    let hello = [&[1, 1][..], &longer_forms(1)[0], &[0]].concat();
    assert_eq!(Hello::decode(&hello), Err(CodecError::NotCanonical));
}

#[test]
fn the_shortest_form_of_the_same_message_is_taken() {
    let body = [&[0][..], JOB.as_bytes(), &[1, 2]].concat();
    assert_eq!(decode_request(&body), Ok(Request::Resume { job: JOB, have: [1, 2] }));
}

#[test]
fn an_unknown_variant_is_refused() {
    let known = samples::requests().len() as u8;
    for tag in known..=250 {
        let body = [&[tag][..], JOB.as_bytes(), &[0; 64]].concat();
        assert!(matches!(is_refused(&body), CodecError::Malformed(_)), "variant {tag}");
    }
    let wide = [&[252, 0, 0, 1, 0][..], JOB.as_bytes()].concat();
    assert!(matches!(is_refused(&wide), CodecError::Malformed(_)));
}

#[test]
fn a_bool_or_an_option_that_is_neither_is_refused() {
    let body = encode_request(&Request::Spawn(Box::new(samples::spawn()))).unwrap();
    let (merge, rest) = body.split_last().unwrap();
    assert_eq!(*merge, 1);
    for other in [2, 3, 255] {
        assert!(matches!(is_refused(&[rest, &[other]].concat()), CodecError::Malformed(_)));
    }
    // The option before the digest of 1 + 5 + 32 bytes and the bool.
    let at = body.len() - 1 - 32 - 5 - 1;
    assert_eq!(body[at], 1);
    let mut body = body;
    body[at] = 2;
    assert!(matches!(is_refused(&body), CodecError::Malformed(_)));
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    assert!(matches!(Hello::decode(&[1, 1, 0, 1, 0xff]), Err(CodecError::Malformed(_))));
    let body = encode_request(&Request::Spawn(Box::new(samples::spawn()))).unwrap();
    let at = body.windows(5).position(|w| w == b"alice").unwrap();
    let mut body = body;
    body[at] = 0xc3;
    assert!(matches!(is_refused(&body), CodecError::Malformed(_)));
}

#[test]
fn an_empty_body_is_refused() {
    assert!(matches!(is_refused(&[]), CodecError::Malformed(_)));
    assert!(matches!(Hello::decode(&[]), Err(CodecError::Malformed(_))));
    assert!(decode_answer(&[]).is_err());
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_length_beyond_reason_is_refused_before_anything_is_allocated() {
    let before = peak_kib();
    for length in [1u64 << 32, 1 << 36, 1 << 40, 1 << 62, u64::MAX] {
        let claim = [&[253][..], &length.to_le_bytes()].concat();
        let input = [&[2][..], JOB.as_bytes(), &[0], &claim].concat();
        assert!(matches!(is_refused(&input), CodecError::Malformed(_)), "input of {length}");
        let names = [&[3][..], JOB.as_bytes(), &[0, 0, 0, 0, 0]].concat();
        assert!(matches!(is_refused(&[&names[..], &claim].concat()), CodecError::Malformed(_)), "{length} words");
        let env = [&names[..], &[0], &claim].concat();
        assert!(matches!(is_refused(&env), CodecError::Malformed(_)), "{length} variables");
        let name = [&[3][..], JOB.as_bytes(), &claim].concat();
        assert!(matches!(is_refused(&name), CodecError::Malformed(_)), "a name of {length}");
        let hello = [&[1, 1, 0][..], &claim].concat();
        assert!(matches!(Hello::decode(&hello), Err(CodecError::Malformed(_))));
        assert!(decode_answer(&[&[1][..], &claim].concat()).is_err(), "{length} profiles");
    }
    // Address space, not only memory: an allocation of that length, touched or not, would show.
    let grown = peak_kib().saturating_sub(before);
    assert!(grown < 1024 * 1024, "the address space grew by {grown} KiB");
}

#[test]
fn the_most_that_may_be_said_fits_its_frame() {
    let spawn = |argv: Vec<Vec<u8>>, env| Spawn { argv, env, ..samples::spawn() };
    let one_word = spawn(vec![vec![b'x'; ARGUMENT_BYTES_MAX - 1]], Vec::new());
    let many_words = spawn(vec![b"x".to_vec(); ARGUMENT_BYTES_MAX / 2], Vec::new());
    let no_letters = spawn(vec![Vec::new(); ARGUMENT_BYTES_MAX], Vec::new());
    let variables = spawn(vec![b"env".to_vec()], vec![("A".to_owned(), Vec::new()); ARGUMENT_BYTES_MAX / 3 - 2]);
    for (what, spawn) in
        [("one word", one_word), ("words of a letter", many_words), ("empty words", no_letters), ("env", variables)]
    {
        let request = Request::Spawn(Box::new(spawn));
        let body = encode_request(&request).unwrap_or_else(|e| panic!("{what}: {e}"));
        let back = decode_request(&body).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(back == request, "{what}");
    }
    let input = Request::Input { job: JOB, offset: u64::MAX, bytes: vec![0; INPUT_BYTES_MAX] };
    assert!(decode_request(&encode_request(&input).unwrap()).unwrap() == input);
    let bytes = vec![0; OUTPUT_BYTES_MAX];
    let output = Answer::Output {
        job: JobId::from_bytes([255; 16]),
        stream: Stream::Stderr,
        offset: u64::MAX,
        time_ns: u64::MAX,
        recovered: true,
        bytes: &bytes,
    };
    assert!(decode_answer(&encode_answer(&output).unwrap()).unwrap() == output);
}

#[test]
fn what_is_too_long_for_a_frame_is_not_encoded() {
    let request = Request::Input { job: JOB, offset: 0, bytes: vec![0; REQUEST_FRAME_MAX] };
    assert!(matches!(encode_request(&request), Err(CodecError::TooLong(n)) if n > REQUEST_FRAME_MAX));
    let hello = Hello { build: "x".repeat(REQUEST_FRAME_MAX), ..samples::hello() };
    assert!(matches!(hello.encode(1), Err(CodecError::TooLong(_))));
    let bytes = vec![0; ANSWER_FRAME_MAX];
    let output =
        Answer::Output { job: JOB, stream: Stream::Stdout, offset: 0, time_ns: 0, recovered: false, bytes: &bytes };
    assert!(matches!(encode_answer(&output), Err(CodecError::TooLong(_))));
}

#[test]
fn errors_say_what_is_wrong() {
    assert_eq!(CodecError::Trailing(3).to_string(), "3 bytes after the message");
    assert_eq!(CodecError::TooLong(9).to_string(), "a message of 9 bytes, too long for a frame");
    assert_eq!(CodecError::NotCanonical.to_string(), "a message in an encoding that is not the canonical one");
    assert!(is_refused(&[]).to_string().starts_with("not a message: "));
}

//! A job id has one text.

use proptest::prelude::*;

use super::samples::JOB;
use crate::{JobId, ParseJobIdError};

#[test]
fn a_job_id_is_written_as_a_uuid() {
    assert_eq!(JOB.to_string(), "a0010203-0405-0607-0809-0a0b0c0d0eaf");
    assert_eq!(format!("{JOB:?}"), JOB.to_string());
    assert_eq!("a0010203-0405-0607-0809-0a0b0c0d0eaf".parse(), Ok(JOB));
}

#[test]
fn any_other_text_is_refused() {
    for text in [
        "",
        "a001020304050607080910a0b0c0d0eaf0000",
        "A0010203-0405-0607-0809-0a0b0c0d0eaf",
        "a0010203-0405-0607-0809-0a0b0c0d0ea",
        "a0010203-0405-0607-0809-0a0b0c0d0eaf0",
        "a0010203x0405-0607-0809-0a0b0c0d0eaf",
        "a00102030-405-0607-0809-0a0b0c0d0eaf",
        "+0010203-0405-0607-0809-0a0b0c0d0eaf",
        "-a0010203-0405-0607-0809-0a0b0c0d0ea",
        "a0010203-0405-0607-0809-0a0b0c0d0eaf\n",
        "a001020304050607080-90a0b0c0d0eaf---",
        "a001020304050607-0809-0a0b-0c0d-0eaf",
        "g0010203-0405-0607-0809-0a0b0c0d0eaf",
        "{0010203-0405-0607-0809-0a0b0c0d0ea}",
        "a0010203-0405-0607-0809-0a0b0c0d0e/.",
        "../../../../../../../../../../../../",
        "a0010203-0405-0607-0809-0a0b0c0dé0e",
    ] {
        assert_eq!(text.parse::<JobId>(), Err(ParseJobIdError), "'{text}'");
    }
}

proptest! {
    #[test]
    fn every_job_id_comes_back_from_its_text(bytes in any::<[u8; 16]>()) {
        let id = JobId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_text_that_is_taken_is_the_text_of_its_id(text in "[0-9a-f-]{36}") {
        if let Ok(id) = text.parse::<JobId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}

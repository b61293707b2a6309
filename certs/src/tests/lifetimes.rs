//! Who ends when.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{Error, KeyKind, Lifetime, State};

const DAY: i64 = 24 * 60 * 60;

#[test]
fn the_list_begins_with_whoever_ends_first() {
    let fixture = Fixture::new();
    let mut authority = fixture.open();
    for (who, days) in [("late", 300), ("soon", 1), ("middle", 30)] {
        let grant = Grant { lifetime: Some(Lifetime::from_days(days).expect("days")), ..Grant::default() };
        authority.issue(&name(who), KeyKind::P256, &grant, &fixture.out()).expect("issued");
    }
    let names: Vec<String> = authority.list().into_iter().map(|listed| listed.record.name).collect();
    assert_eq!(names, ["soon", "middle", "admin", "late", "localhost"]);
    assert!(authority.list().iter().all(|listed| listed.state == State::Valid));
}

#[test]
fn lifetimes_are_as_asked_or_usual_and_begin_a_little_earlier_for_late_clocks() {
    let fixture = Fixture::new();
    let span = |listed: &crate::Listed| listed.record.not_after.duration_since(listed.record.issued_at).as_secs();
    let list = fixture.open().list();
    assert_eq!(list.iter().map(span).collect::<Vec<_>>(), [90 * DAY, 365 * DAY]);
    let years = fixture.made.not_after.duration_since(Timestamp::now()).as_secs();
    assert!((3651 * DAY..=3652 * DAY).contains(&years), "{years}");
    if !has_openssl() {
        return;
    }
    let early = Timestamp::now() - SignedDuration::from_mins(4);
    let at = early.as_second().to_string();
    let (ca, file) = (fixture.path("ca/ca.crt"), fixture.path("out/admin.crt"));
    let verified = openssl(&["verify", "-attime", &at, "-CAfile", text(&ca), text(&file)]);
    assert!(verified.status.success(), "{}", shown(verified));
}

#[test]
fn an_expired_certificate_is_listed_as_such_and_can_be_renewed() {
    if !has_openssl() {
        return;
    }
    let fixture = Fixture::new();
    let past = Timestamp::now() - SignedDuration::from_hours(48);
    let grant = Grant { lifetime: Some(Lifetime::from_days(1).expect("a day")), ..grant_with_unit("build") };
    let mut yesterday = Authority::open_at(&fixture.path("ca"), past).expect("opens");
    yesterday.issue(&name("bob"), KeyKind::P256, &grant, &fixture.out()).expect("issued");
    drop(yesterday);
    let expired = fixture.verify("out/bob.crt", "sslclient");
    assert!(shown(expired).contains("expired"));
    let mut today = fixture.open();
    let first = today.list().into_iter().next().expect("bob");
    assert_eq!((first.record.name.as_str(), first.state), ("bob", State::Expired));
    let refused = today.revoke(&crate::RevokeTarget::NameOrSerial("bob".to_owned()), crate::Reason::Unspecified);
    assert!(refused.expect_err("nothing left to revoke").to_string().contains("have ended"));
    let replace = Output { existing: crate::Existing::Replace, ..fixture.out() };
    let renewed = today.renew("bob", None, &replace).expect("renewed");
    assert_eq!(renewed.record.unit.expect("unit").as_str(), "build");
    assert!(fixture.verify("out/bob.crt", "sslclient").status.success());
    assert!(today.list().first().expect("bob").superseded);
}

#[test]
fn a_certificate_never_outlives_its_authority() {
    let root = tempfile::tempdir().expect("a folder");
    let short = Lifetime::from_days(60).expect("days");
    let made = init(&InitOptions { lifetime: short, ..InitOptions::new(root.path().join("ca")) }).expect("authority");
    let fixture = Fixture { root, made };
    let refused = fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out());
    assert!(matches!(refused, Err(Error::OutlivesAuthority { .. })), "{refused:?}");
    assert!(!fixture.path("out").exists(), "something was made for a certificate that was refused");
    let grant = Grant { lifetime: Some(Lifetime::from_days(59).expect("days")), ..Grant::default() };
    fixture.open().issue(&name("bob"), KeyKind::P256, &grant, &fixture.out()).expect("a shorter one");
}

#[test]
fn lifetimes_of_nothing_and_of_centuries_are_refused() {
    assert!(Lifetime::from_days(0).is_err());
    assert!(Lifetime::from_days(Lifetime::LONGEST_DAYS + 1).is_err());
    assert!(Lifetime::from_duration(Duration::from_millis(900)).is_err());
    assert_eq!(Lifetime::from_duration(Duration::from_millis(1900)).expect("a second").as_duration().as_secs(), 1);
}

#[test]
fn a_revocation_list_is_written_anew_when_half_of_its_time_is_over() {
    let fixture = Fixture::new();
    let before = std::fs::read(fixture.path("ca/crl.pem")).expect("list");
    fixture.open().issue(&name("bob"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    assert_eq!(std::fs::read(fixture.path("ca/crl.pem")).expect("list"), before, "a fresh list was written anew");
    let later = Timestamp::now() + SignedDuration::from_hours(46 * 24);
    let mut authority = Authority::open_at(&fixture.path("ca"), later).expect("opens");
    authority.issue(&name("carol"), KeyKind::P256, &Grant::default(), &fixture.out()).expect("issued");
    assert_ne!(std::fs::read(fixture.path("ca/crl.pem")).expect("list"), before);
}

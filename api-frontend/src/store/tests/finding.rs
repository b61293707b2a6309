use super::*;

fn alice() -> Scope {
    Scope::Owner("alice".into())
}

async fn resolve(records: &Records, reference: &str, scope: &Scope) -> Result<JobId, ResolveError> {
    records.store.resolve(reference, "alice", scope).await.map(|job| job.id)
}

#[tokio::test]
async fn a_job_is_found_by_its_id_and_by_the_beginning_of_it() {
    let records = Records::new();
    for number in [0x1234_5678, 0x1234_9999, 0xabcd_0000] {
        records.create(new_job(number)).await;
    }
    let full = id(0x1234_5678).to_string();
    for length in [5, 8, 9, 20, 36] {
        assert_eq!(resolve(&records, &full[..length], &alice()).await, Ok(id(0x1234_5678)), "{length}");
    }
    assert_eq!(resolve(&records, "abcd", &alice()).await, Ok(id(0xabcd_0000)));
    for unknown in ["abe", "ffff", "ABCD", "1234-", "", "%", "1234_"] {
        assert_eq!(resolve(&records, unknown, &alice()).await, Err(ResolveError::NotFound(unknown.into())));
    }
}

#[tokio::test]
async fn a_beginning_that_fits_several_names_them() {
    let records = Records::new();
    records.create(new_job(0x1234_5678)).await;
    records.create(new_job(0x1234_9999)).await;
    records.create(NewJob { owner: "bob".into(), ..new_job(0x1234_0000) }).await;
    let candidates = vec![id(0x1234_5678), id(0x1234_9999)];
    let refused = resolve(&records, "1234", &alice()).await.unwrap_err();
    assert_eq!(refused, ResolveError::Ambiguous { reference: "1234".into(), candidates });
    assert!(refused.to_string().contains("12345678, 12349999"));
}

#[tokio::test]
async fn a_beginning_that_is_too_short_names_what_it_fits_and_a_name_goes_first() {
    let records = Records::new();
    for number in [0x1234_5678, 0x1299_9999, 0x5555_0000] {
        records.create(new_job(number)).await;
    }
    records.create(NewJob { owner: "bob".into(), ..new_job(0x1234_0000) }).await;
    let fits = async |text: &str, scope: &Scope| match resolve(&records, text, scope).await {
        Err(ResolveError::TooShort { candidates, .. }) => {
            let mut candidates = candidates;
            candidates.sort_by_key(ToString::to_string);
            candidates
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(fits("12", &alice()).await, [id(0x1234_5678), id(0x1299_9999)]);
    assert_eq!(fits("123", &alice()).await, [id(0x1234_5678)]);
    assert_eq!(fits("123", &Scope::All).await, [id(0x1234_0000), id(0x1234_5678)]);
    let bob = Scope::Owner("bob".into());
    assert_eq!(fits("1", &bob).await, [id(0x1234_0000)], "of nobody else's jobs");
    for unknown in ["13", "5-", "5%", "_", "x"] {
        assert_eq!(resolve(&records, unknown, &alice()).await, Err(ResolveError::NotFound(unknown.into())));
    }
    records.create(NewJob { name: Some("12".into()), ..new_job(0x7777_0000) }).await;
    assert_eq!(resolve(&records, "12", &alice()).await, Ok(id(0x7777_0000)));
}

#[tokio::test]
async fn a_beginning_that_fits_very_many_names_eleven_of_them() {
    let records = Records::new();
    for number in 0..12 {
        records.create(new_job(0x1234_0000 + number)).await;
    }
    for text in ["1", "1234"] {
        let (Err(ResolveError::TooShort { candidates, .. }) | Err(ResolveError::Ambiguous { candidates, .. })) =
            resolve(&records, text, &alice()).await
        else {
            panic!("{text} was taken for one job")
        };
        assert_eq!(candidates.len(), 11, "{text}");
    }
}

#[tokio::test]
async fn what_one_may_not_see_does_not_exist() {
    let records = Records::new();
    let bobs = NewJob { owner: "bob".into(), name: Some("secret".into()), ..new_job(0xbbbb_0001) };
    records.create(bobs).await;
    for reference in [&id(0xbbbb_0001).to_string(), "bbbb", "secret", "last"] {
        assert_eq!(resolve(&records, reference, &alice()).await, Err(ResolveError::NotFound(reference.into())));
    }
    assert_eq!(records.store.get(id(0xbbbb_0001), &alice()).await.unwrap(), None);
    assert_eq!(resolve(&records, "secret", &Scope::All).await, Ok(id(0xbbbb_0001)));
    assert_eq!(resolve(&records, "bbbb", &Scope::All).await, Ok(id(0xbbbb_0001)));
    assert!(records.store.get(id(0xbbbb_0001), &Scope::All).await.unwrap().is_some());
}

#[tokio::test]
async fn last_is_the_newest_of_the_callers_own() {
    let records = Records::new();
    records.create(new_job(5)).await;
    records.create(new_job(7)).await;
    records.create(new_job(6)).await;
    records.create(NewJob { owner: "bob".into(), ..new_job(9) }).await;
    assert_eq!(resolve(&records, "last", &Scope::All).await, Ok(id(7)));
}

#[tokio::test]
async fn a_name_means_the_live_job_else_the_newest() {
    let records = Records::new();
    let named = |number, owner: &str| NewJob { name: Some("nightly".into()), owner: owner.into(), ..new_job(number) };
    records.create(named(5, "alice")).await;
    records.end(id(5), finished(6)).await;
    records.create(named(3, "alice")).await;
    assert_eq!(resolve(&records, "nightly", &alice()).await, Ok(id(3)), "the live one, though older");
    records.end(id(3), finished(7)).await;
    assert_eq!(resolve(&records, "nightly", &alice()).await, Ok(id(5)), "the newest");
    records.create(named(8, "bob")).await;
    assert_eq!(resolve(&records, "nightly", &alice()).await, Ok(id(5)));
    assert_eq!(resolve(&records, "nightly", &Scope::All).await, Ok(id(8)), "the only live one");
    records.create(named(9, "carol")).await;
    let several = resolve(&records, "nightly", &Scope::All).await;
    assert!(matches!(several, Err(ResolveError::Ambiguous { candidates, .. }) if candidates == [id(9), id(8)]));
    records.create(named(1, "alice")).await;
    assert_eq!(resolve(&records, "nightly", &Scope::All).await, Ok(id(1)), "the caller's own first");
}

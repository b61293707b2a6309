use super::*;

#[tokio::test]
async fn every_field_of_a_new_job_comes_back() {
    let records = Records::new();
    let new = NewJob {
        name: Some("nightly".into()),
        argv: vec![b"sh".to_vec(), Vec::new(), vec![0xff, b'\n', 0xfe], "ä ö".into()],
        env_names: vec!["CI".into(), "ODD NAME\"\n".into()],
        cwd: Some("/srv/src".into()),
        merge: true,
        input: Some(input()),
        output_limit: OutputLimit::new(123_456, WhenFull::Wait),
        ..new_job(1)
    };
    let created = records.store.create(new.clone()).await.unwrap();
    assert!(!created.existed);
    let job = records.again().store.get(new.id, &Scope::All).await.unwrap().unwrap();
    assert_eq!(job, created.job);
    assert_eq!(job.state, JobState::Queued);
    let same = NewJob {
        id: job.id,
        owner: job.owner,
        name: job.name,
        request_id: job.request_id,
        fingerprint: job.fingerprint,
        serial: job.serial,
        peer: job.peer,
        profile: job.profile,
        argv: job.argv,
        env_names: job.env_names,
        cwd: job.cwd,
        merge: job.merge,
        input: job.input,
        output_limit: job.output_limit,
        created_ns: job.created_ns,
    };
    assert_eq!(same, new);
    let nothing =
        (job.pid, job.uid, job.started_ns, job.ended_ns, job.limits, job.stop, job.end, job.usage, job.output);
    assert_eq!(nothing, (None, None, None, None, None, None, None, None, None));
}

#[tokio::test]
async fn a_job_without_words_is_kept_without_words() {
    let records = Records::new();
    let job = records.create(NewJob { argv: Vec::new(), env_names: Vec::new(), ..new_job(1) }).await;
    assert_eq!(job.argv, Vec::<Vec<u8>>::new());
    assert_eq!(job.env_names, Vec::<String>::new());
}

#[tokio::test]
async fn the_same_request_id_twice_is_one_job() {
    let records = Records::new();
    let first = records.create(new_job(1)).await;
    let again = records.store.create(NewJob { id: id(2), ..new_job(1) }).await.unwrap();
    assert!(again.existed);
    assert_eq!(again.job, first);
    assert_eq!(records.store.get(id(2), &Scope::All).await.unwrap(), None);
    // Also when the job has a name, is over, and the process was restarted.
    let named = NewJob { name: Some("n".into()), ..new_job(3) };
    records.create(named.clone()).await;
    records.end(id(3), finished(4)).await;
    let records = records.again();
    let again = records.store.create(NewJob { id: id(4), ..named }).await.unwrap();
    assert_eq!((again.existed, again.job.id), (true, id(3)));
}

#[tokio::test]
async fn a_request_id_with_other_parameters_is_refused_and_another_owner_may_use_it() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let other = NewJob { id: id(2), fingerprint: [99; 32], ..new_job(1) };
    let refused = records.store.create(other.clone()).await;
    assert_eq!(refused, Err(CreateError::RequestIdReused { request_id: "request-1".into(), job: id(1) }));
    let bobs = records.store.create(NewJob { owner: "bob".into(), ..other }).await.unwrap();
    assert!(!bobs.existed);
}

#[tokio::test]
async fn a_name_belongs_to_one_live_job_of_an_owner_and_is_free_again_at_its_end() {
    let records = Records::new();
    let named = |number| NewJob { name: Some("nightly".into()), ..new_job(number) };
    records.create(named(1)).await;
    let refused = records.store.create(named(2)).await.unwrap_err();
    assert_eq!(refused, CreateError::NameTaken { name: "nightly".into(), job: id(1) });
    assert!(refused.to_string().contains("nightly") && refused.to_string().contains(&id(1).to_string()));
    records.create(NewJob { owner: "bob".into(), ..named(3) }).await;
    records.end(id(1), finished(4)).await;
    assert!(!records.store.create(named(2)).await.unwrap().existed);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_with_one_request_id_at_once_one_starts_the_job() {
    let records = Records::new();
    let asked: Vec<_> = (0..50)
        .map(|number| {
            let store = records.store.clone();
            tokio::spawn(async move { store.create(NewJob { id: id(number), ..new_job(1) }).await.unwrap() })
        })
        .collect();
    let mut fresh = 0;
    let mut ids = Vec::new();
    for answer in asked {
        let created = answer.await.unwrap();
        fresh += usize::from(!created.existed);
        ids.push(created.job.id);
    }
    ids.dedup();
    assert_eq!((fresh, ids.len()), (1, 1));
}

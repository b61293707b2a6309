use super::*;

#[tokio::test]
async fn a_job_that_was_never_born_can_be_taken_back_with_its_name_and_request_id() {
    let records = Records::new();
    let named = |number| NewJob { name: Some("nightly".into()), request_id: "again".into(), ..new_job(number) };
    records.create(named(1)).await;
    records.store.remove_unborn(id(1)).await.unwrap();
    records.store.remove_unborn(id(1)).await.unwrap();
    assert!(!records.store.create(named(2)).await.unwrap().existed);
    records.store.update(id(2), started(3)).await.unwrap();
    records.store.remove_unborn(id(2)).await.unwrap();
    assert!(records.store.get(id(2), &Scope::All).await.unwrap().is_some(), "what was born stays");
}

#[tokio::test]
async fn a_job_that_only_the_executor_knows_is_recorded_as_it_runs() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let job = records.store.update(id(1), started(3)).await.unwrap();
    let unknown = Job { id: id(2), ..job.clone() };
    records.store.adopt(unknown.clone()).await.unwrap();
    let adopted = records.store.get(id(2), &Scope::All).await.unwrap().unwrap();
    assert_eq!(adopted, Job { request_id: id(2).to_string(), ..unknown }, "the request id belongs to another job");
    assert_eq!(adopted.state, JobState::Running);
    // One that is recorded, and has ended here, is not made alive again.
    let ended = records.end(id(1), finished(4)).await;
    records.store.adopt(job).await.unwrap();
    assert_eq!(records.store.get(id(1), &Scope::All).await.unwrap(), Some(ended));
    let unborn = Job { id: id(3), started_ns: None, request_id: "own".into(), ..adopted };
    records.store.adopt(unborn).await.unwrap();
    let queued = records.store.get(id(3), &Scope::All).await.unwrap().unwrap();
    assert_eq!((queued.state, queued.pid, queued.request_id.as_str()), (JobState::Queued, None, "own"));
}

#[tokio::test]
async fn the_epoch_of_a_restored_backup_is_raised_above_what_was_seen_and_stays_there() {
    let records = Records::new();
    assert_eq!(records.store.raise_epoch(41).await.unwrap(), 42);
    assert_eq!(records.store.epoch(), 42);
    assert_eq!(records.store.raise_epoch(7).await.unwrap(), 42, "it never sinks");
    assert_eq!(records.again().store.epoch(), 43);
}

#[tokio::test]
async fn a_deleted_job_is_remembered_until_the_executor_does_not_hold_it() {
    let records = Records::new();
    for number in [1, 2] {
        records.create(new_job(number)).await;
        records.end(id(number), finished(2)).await;
        records.store.delete(id(number)).await.unwrap();
    }
    let records = records.again();
    assert!(records.store.was_deleted(id(1)).await.unwrap());
    records.store.forget_deleted([id(1)].into()).await.unwrap();
    assert!(records.store.was_deleted(id(1)).await.unwrap());
    assert!(!records.store.was_deleted(id(2)).await.unwrap());
    records.store.forget_deleted([].into()).await.unwrap();
    assert!(!records.store.was_deleted(id(1)).await.unwrap());
}

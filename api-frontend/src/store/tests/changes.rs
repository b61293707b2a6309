use std::{future::poll_fn, sync::mpsc, task::Poll};

use super::*;

#[tokio::test]
async fn a_life_is_recorded_from_birth_to_end() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let job = records.store.update(id(1), started(5)).await.unwrap();
    assert_eq!((job.state, job.pid, job.uid), (JobState::Running, Some(4821), Some(1_900_000_412)));
    assert_eq!((job.started_ns, job.limits), (Some(5), Some(limits())));
    let job = records.store.update(id(1), Change::StopAsked(stop("bob"))).await.unwrap();
    assert_eq!((job.state, job.stop), (JobState::Stopping, Some(stop("bob"))));
    let usage = Usage {
        cpu_ns: 1,
        memory_peak: Some(2),
        pids_peak: Some(3),
        io_read: Some(4),
        io_written: None,
        throttled_ns: Some(6),
    };
    let end = Ended {
        state: EndState::Stopped,
        how: HowEnded::Signaled { signal: 15, core: true },
        oom_kills: 2,
        deadline_hit: true,
        stop: Some(stop("bob")),
        usage: Some(usage),
        ..finished(9)
    };
    let job = records.end(id(1), end.clone()).await;
    let job = records.again().store.get(job.id, &Scope::All).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Ended(EndState::Stopped));
    assert_eq!(job.stop, Some(stop("bob")));
    assert_eq!((job.end, job.usage, job.output), (Some(end.how), Some(usage), Some(end.output)));
    assert_eq!((job.oom_kills, job.deadline_hit, job.ended_ns), (2, true, Some(9_000_000_000)));
}

#[tokio::test]
async fn who_asked_first_is_kept_and_the_executor_has_the_last_word_on_who_that_was() {
    let records = Records::new();
    records.create(new_job(1)).await;
    records.store.update(id(1), started(5)).await.unwrap();
    for by in ["bob", "root"] {
        let job = records.store.update(id(1), Change::StopAsked(stop(by))).await.unwrap();
        assert_eq!(job.stop, Some(stop("bob")));
    }
    let first = StopFact { by: "output limit".into(), signal: 2, at_ns: 76 };
    let job = records.end(id(1), Ended { stop: Some(first.clone()), ..finished(9) }).await;
    assert_eq!(job.stop, Some(first));
    records.create(new_job(2)).await;
    records.store.update(id(2), Change::StopAsked(stop("bob"))).await.unwrap();
    let job = records.end(id(2), finished(9)).await;
    assert_eq!(job.stop, Some(stop("bob")), "it knows nobody, so what was recorded stays");
}

#[tokio::test]
async fn every_way_to_end_comes_back_as_it_was() {
    let records = Records::new();
    let message = "no program 'mkae'".to_owned();
    let ways = [
        (EndState::Failed, HowEnded::Exited(-1)),
        (EndState::OutOfMemory, HowEnded::Signaled { signal: 9, core: false }),
        (EndState::Error, HowEnded::NotStarted { step: "exec".into(), errno: 2, message }),
        (EndState::Lost, HowEnded::Lost { reason: "the host was restarted".into() }),
    ];
    for (number, (state, how)) in (1..).zip(ways) {
        records.create(new_job(number)).await;
        let end = Ended { state, how: how.clone(), usage: None, stop: Some(stop("root")), ..finished(9) };
        let job = records.end(id(number), end).await;
        assert_eq!((job.state, job.end, job.usage), (JobState::Ended(state), Some(how), None));
        assert_eq!(job.stop, Some(stop("root")), "the executor knew who asked");
    }
}

#[tokio::test]
async fn what_has_ended_never_changes() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let ended = records.end(id(1), finished(2)).await;
    let lost = Ended { state: EndState::Lost, how: HowEnded::Lost { reason: "?".into() }, ..finished(3) };
    for change in [started(9), Change::StopAsked(stop("bob")), Change::Ended(Box::new(lost))] {
        let refused = records.store.update(id(1), change).await;
        assert_eq!(refused, Err(UpdateError::Ended { job: id(1), state: ended.state }));
    }
    assert_eq!(records.store.get(id(1), &Scope::All).await.unwrap(), Some(ended));
}

#[test]
fn the_table_of_states_is_complete() {
    let events = [JobEvent::Started, JobEvent::StopAsked, JobEvent::Ended(EndState::Failed)];
    for state in JobState::ALL {
        assert_eq!(state.name().parse(), Ok(state));
        for event in events {
            let after = state.after(event, false);
            assert_eq!(after.is_some(), state.is_live(), "{state} {event:?}");
            if let Some(after) = after {
                assert!(after >= state, "{state} never goes back to {after}");
            }
        }
    }
    assert!("sleeping".parse::<JobState>().unwrap_err().to_string().contains("out-of-memory"));
    assert_eq!(JobState::Queued.after(JobEvent::Started, true), Some(JobState::Stopping));
}

#[tokio::test]
async fn a_job_that_is_asked_to_stop_before_its_birth_is_born_stopping() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let job = records.store.update(id(1), Change::StopAsked(stop("bob"))).await.unwrap();
    assert_eq!((job.state, job.stop), (JobState::Queued, Some(stop("bob"))));
    let job = records.store.update(id(1), started(3)).await.unwrap();
    assert_eq!(job.state, JobState::Stopping);
    // Adoption tells it again.
    assert_eq!(records.store.update(id(1), started(3)).await.unwrap(), job);
}

#[tokio::test]
async fn a_job_with_limits_beyond_what_a_record_holds_is_recorded_with_the_most() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let Change::Started { pid, uid, started_ns, limits } = started(3) else { panic!("it is a start") };
    let limits = limits.with(Limit::IoRead, u64::MAX);
    let job = records.store.update(id(1), Change::Started { pid, uid, started_ns, limits }).await.unwrap();
    assert_eq!(job.limits.and_then(|limits| limits.get(Limit::IoRead)), Some(i64::MAX.unsigned_abs()));
}

#[tokio::test]
async fn only_what_has_ended_can_be_archived_or_deleted() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let live = Err(UpdateError::StillLive { job: id(1), state: JobState::Queued });
    assert_eq!(records.store.archive(id(1)).await, live);
    assert_eq!(records.store.delete(id(1)).await, live);
    records.end(id(1), finished(2)).await;
    assert!(records.store.archive(id(1)).await.unwrap().archived);
    assert!(records.store.archive(id(1)).await.unwrap().archived);
    assert_eq!(records.store.delete(id(1)).await.unwrap().id, id(1));
    assert_eq!(records.store.delete(id(1)).await, Err(UpdateError::NotFound(id(1))));
    assert_eq!(records.store.update(id(1), started(1)).await, Err(UpdateError::NotFound(id(1))));
    assert_eq!(records.store.exist(vec![id(1)]).await.unwrap(), [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_come_together_are_all_made_and_all_on_disk() {
    let records = Records::new();
    let lives: Vec<_> = (0..200)
        .map(|number| {
            let store = records.store.clone();
            tokio::spawn(async move {
                store.create(new_job(number)).await.unwrap();
                store.update(id(number), started(number)).await.unwrap();
                if number % 2 == 0 {
                    store.update(id(number), Change::Ended(Box::new(finished(1)))).await.unwrap();
                }
            })
        })
        .collect();
    for life in lives {
        life.await.unwrap();
    }
    let records = records.again();
    assert_eq!(records.store.live_count().await.unwrap(), 100);
    let live = records.store.live().await.unwrap();
    assert!(live.len() == 100 && live.iter().all(|job| job.state == JobState::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_wait_together_share_a_commit() {
    let records = Records::new();
    records.create(new_job(1000)).await;
    let journal = || std::fs::metadata(records.path().with_extension("db-wal")).unwrap().len();
    let before = journal();
    let (release, released) = mpsc::channel();
    let busy = tokio::spawn({
        let store = records.store.clone();
        async move { store.write(move |_| released.recv().map_err(|_| StoreError::Closing)).await }
    });
    let mut creates: Vec<_> = (0..50).map(|number| Box::pin(records.store.create(new_job(number)))).collect();
    // Polled once, each stands in the queue.
    poll_fn(|context| {
        for create in &mut creates {
            assert!(create.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    for create in creates {
        assert!(!create.await.unwrap().existed);
    }
    // Alone, each would write a page of every index: some 500 pages.
    let pages = (journal() - before) / 4096;
    assert!(pages < 150, "{pages} pages were written");
}

#[tokio::test]
async fn a_birth_and_an_end_become_true_together_and_a_late_birth_changes_nothing() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let both = vec![started(2), Change::Ended(Box::new(finished(3)))];
    let ended = records.store.update_all(id(1), both).await.unwrap();
    assert_eq!((ended.state, ended.pid, ended.started_ns), (JobState::Ended(EndState::Finished), Some(4821), Some(2)));
    let late = records.store.update_soon(id(1), started(9)).await;
    assert_eq!(late, Err(UpdateError::Ended { job: id(1), state: ended.state }));
    assert_eq!(records.store.get(id(1), &Scope::All).await.unwrap(), Some(ended));
}

#[tokio::test]
async fn what_is_recorded_soon_can_be_read_at_once() {
    let records = Records::new();
    records.create(new_job(1)).await;
    let running = records.store.update_soon(id(1), started(2)).await.unwrap();
    assert_eq!(running.state, JobState::Running);
    assert_eq!(records.store.get(id(1), &Scope::All).await.unwrap(), Some(running.clone()));
    assert_eq!(records.again().store.get(id(1), &Scope::All).await.unwrap(), Some(running));
}

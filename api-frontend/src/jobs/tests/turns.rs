use futures_util::future::join_all;

use super::*;
use crate::executor::fake::OnSpawn;
use ipc_protocol::Request;

/// Starts of alice, all at once and under way until the executor answers; `bytes` of words each.
fn flood(
    rig: &Rig,
    of: &Caller,
    count: usize,
    bytes: usize,
) -> tokio::task::JoinHandle<Vec<Result<Started, JobsError>>> {
    let (jobs, of) = (rig.jobs(), of.clone());
    rig.runtime().spawn(async move {
        let start = |n| {
            let command = vec![b"true".to_vec(), vec![b'x'; bytes]];
            let (jobs, of) = (jobs.clone(), of.clone());
            async move { jobs.start(&of, StartAsk { command, ..ask(&format!("flood-{n}")) }).await }
        };
        join_all((0..count).map(start)).await
    })
}

fn asked(rig: &Rig) -> Vec<JobId> {
    let spawn = |request: &Request| match request {
        Request::Spawn(spawn) => Some(spawn.job),
        _ => None,
    };
    rig.fake.world().log.iter().filter_map(spawn).collect()
}

#[test]
fn a_flood_of_starts_waits_for_its_own_and_another_identity_does_not_wait_for_it() {
    for (bytes, at_once) in [(10, 32), (120_000, 2)] {
        let rig = Rig::new();
        rig.fake.world().script.extend((0..at_once).map(|_| OnSpawn::Silent));
        let of = alice();
        let flood = flood(&rig, &of, 100, bytes);
        rig.until("the first of the flood", || (asked(&rig).len() >= at_once).then_some(()));
        rig.start(&bob(), ask("bobs")).unwrap();
        let under_way = asked(&rig);
        assert_eq!(under_way.len(), at_once + 1, "the executor is asked for few of them at a time");
        under_way[..at_once].iter().for_each(|job| rig.fake.bear(*job));
        let outcomes = rig.run(flood).unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "each has its turn in the end");
    }
}

#[test]
fn starts_that_wait_for_their_turn_are_told_together_that_the_executor_is_away() {
    let rig = Rig::new();
    let known = rig.running();
    let of = alice();
    rig.start(&of, ask("flood-7")).unwrap();
    rig.take_the_executor_away();
    let begun = Instant::now();
    let outcomes = rig.run(flood(&rig, &of, 100, 10)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(6), "they took {:?}", begun.elapsed());
    assert!(outcomes.iter().all(|outcome| outcome.is_err()));
    assert!(matches!(outcomes[99], Err(JobsError::ExecutorAway { .. })), "{:?}", outcomes[99]);
    // One that made a job before is told of it all the same.
    let mut waiting = Vec::new();
    for _ in 0..32 {
        waiting.push(rig.run(of.turns.start(0)));
    }
    assert!(rig.start(&of, ask("flood-7")).unwrap().existed);
    assert!(rig.status(known).job.state.is_live());
}

#[test]
fn what_one_identity_looks_up_and_changes_waits_behind_its_own() {
    let rig = Rig::new();
    let (jobs, of) = (rig.jobs(), alice());
    let job = rig.running().to_string();
    rig.exit(job.parse().unwrap(), 0);
    rig.wait_state(job.parse().unwrap(), JobState::Ended(crate::store::EndState::Finished));
    let turns: Vec<_> = (0..32).map(|_| rig.run(of.turns.record())).collect();
    let soon = Duration::from_millis(100);
    rig.run(async {
        assert!(tokio::time::timeout(soon, jobs.get(&of, &job)).await.is_err());
        assert!(tokio::time::timeout(soon, jobs.archive(&of, &job)).await.is_err());
        assert!(!jobs.get(&admin(), &job).await.unwrap().job.archived, "others do not wait for it");
        drop(turns);
        assert!(jobs.archive(&of, &job).await.unwrap().job.archived);
        jobs.delete(&of, &job).await.unwrap();
    });
}

use std::time::Instant;

use super::*;

const DAY: u64 = 86_400;
const S: u64 = 1_000_000_000;

async fn ids(records: &Records, filter: Filter, scope: &Scope) -> Vec<u32> {
    let mut found = Vec::new();
    let mut at = page(3);
    loop {
        let part = records.store.list(filter.clone(), scope, at).await.unwrap();
        found.extend(part.jobs.iter().map(|job| u32::from_be_bytes(job.id.as_bytes()[..4].try_into().unwrap())));
        match part.next {
            // As it travels through a client.
            Some(next) => at.after = Some(next.to_string().parse().unwrap()),
            None => return found,
        }
    }
}

/// Fills in jobs straight through SQLite: thousands of calls would take the tests' time and not the program's.
fn fill(records: &Records, count: u32, last_second: u64) {
    let connection = rusqlite::Connection::open(records.path()).unwrap();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count}) \
         INSERT INTO jobs (id, owner, request_id, fingerprint, serial, peer, profile, argv, command, env_names, merge, \
         output_limit, when_full, created_ns, state, live, ended_ns, exit_code, out_stdout, out_stderr, out_disk) \
         SELECT printf('%08x-0000-4000-8000-%012x', i * 2654435761 % 4294967296, i), \
         iif(i % 2, 'bob', 'carol'), 'r' || i, zeroblob(32), '', '', 'standard', CAST('true' AS BLOB), 'true', '[]', 0, 1, \
         'wait', ({last_second} - {count} + i) * {S}, iif(i % 1000, 'finished', 'lost'), 0, \
         ({last_second} - {count} + i + 2) * {S}, 0, 1, 1, 10 FROM n"
    );
    connection.execute_batch(&sql).unwrap();
}

#[tokio::test]
async fn lists_are_newest_first_and_pages_neither_repeat_nor_leave_out() {
    let records = Records::new();
    for number in [4, 9, 1, 7, 3, 8, 2, 6, 5] {
        // Several in the same second.
        records.create(NewJob { created_ns: u64::from(number / 3) * S, ..new_job(number) }).await;
    }
    let all = Filter::default();
    assert_eq!(ids(&records, all.clone(), &Scope::All).await, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let part = records.store.list(all, &Scope::All, page(9)).await.unwrap();
    assert_eq!((part.jobs.len(), part.next), (9, None), "a full last page is the last");
    for altered in ["", "5", "5.", "-1.x", "99999999999999999999.00000000-0000-0000-0000-000000000000"] {
        assert!(altered.parse::<Cursor>().is_err());
    }
}

#[tokio::test]
async fn a_page_of_long_commands_ends_before_it_fills_the_memory_and_the_next_goes_on() {
    let records = Records::new();
    for number in 1..=60 {
        let argv = vec![vec![b'x'; 130_000]];
        records.create(NewJob { argv, ..new_job(number) }).await;
    }
    for filter in [Filter::default(), Filter { live: true, ..Filter::default() }] {
        for recent_since_ns in [None, Some(0), Some(30 * S), Some(61 * S)] {
            let (filter, mut at) = (Filter { recent_since_ns, ..filter.clone() }, page(1000));
            let (mut sizes, mut found) = (Vec::new(), Vec::new());
            loop {
                let part = records.store.list(filter.clone(), &Scope::All, at).await.unwrap();
                sizes.push(part.jobs.len());
                found.extend(part.jobs.into_iter().map(|job| job.id));
                match part.next {
                    Some(next) => at.after = Some(next),
                    None => break,
                }
            }
            assert_eq!(found, (1..=60).rev().map(id).collect::<Vec<_>>(), "{filter:?}");
            assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 33), "{filter:?}: {sizes:?}");
        }
    }
}

#[tokio::test]
async fn each_filter_selects_alone_and_together_with_the_others() {
    let records = Records::new();
    for number in 1..=12 {
        let owner = if number % 2 == 0 { "alice" } else { "bob" };
        let profile = if number % 3 == 0 { "offline" } else { "standard" };
        let name = (number == 6).then(|| "nightly".to_owned());
        records.create(NewJob { owner: owner.into(), profile: profile.into(), name, ..new_job(number) }).await;
        match number % 4 {
            0 => drop(records.end(id(number), finished(100)).await),
            1 => drop(records.store.update(id(number), started(1)).await.unwrap()),
            _ => {}
        }
    }
    let base = Filter::default();
    let lists = [
        (Filter { owner: Some("alice".into()), ..base.clone() }, vec![12, 10, 8, 6, 4, 2]),
        (Filter { profile: Some("offline".into()), ..base.clone() }, vec![12, 9, 6, 3]),
        (Filter { live: true, ..base.clone() }, vec![11, 10, 9, 7, 6, 5, 3, 2, 1]),
        (Filter { states: vec![JobState::Running], ..base.clone() }, vec![9, 5, 1]),
        (
            Filter { states: vec![JobState::Running, JobState::Ended(EndState::Finished)], ..base.clone() },
            vec![12, 9, 8, 5, 4, 1],
        ),
        (Filter { name: Some("nightly".into()), ..base.clone() }, vec![6]),
        (Filter { since_ns: Some(4 * S), until_ns: Some(7 * S), ..base.clone() }, vec![6, 5, 4]),
        (Filter { command: Some("-j8 1".into()), ..base.clone() }, vec![12, 11, 10, 1]),
        (Filter { command: Some("100%".into()), ..base.clone() }, vec![]),
        (
            Filter {
                owner: Some("bob".into()),
                live: true,
                recent_since_ns: Some(50 * S),
                profile: Some("offline".into()),
                ..base.clone()
            },
            vec![9, 3],
        ),
    ];
    for (filter, expected) in lists {
        assert_eq!(ids(&records, filter.clone(), &Scope::All).await, expected, "{filter:?}");
    }
    let own = Scope::Owner("bob".into());
    assert_eq!(ids(&records, base.clone(), &own).await, [11, 9, 7, 5, 3, 1]);
    assert!(ids(&records, Filter { owner: Some("alice".into()), ..base }, &own).await.is_empty());
}

#[tokio::test]
async fn the_recent_are_the_live_and_those_that_ended_since_and_no_archived_ones() {
    let records = Records::new();
    // (number = second of creation, second of its end)
    let lives = [
        (10, Some(20)),
        (11, None),
        (12, Some(5000)),
        (13, Some(5 * 3600)),
        (14, Some(999)),
        (900, Some(1001)),
        (1000, Some(1000)),
        (2000, Some(2001)),
        (2001, None),
        (2002, Some(2003)),
    ];
    for (number, end) in lives {
        records.create(new_job(number)).await;
        if let Some(end) = end {
            records.end(id(number), finished(end)).await;
        }
    }
    records.store.archive(id(2002)).await.unwrap();
    let recent = Filter { recent_since_ns: Some(1000 * S), ..Filter::default() };
    assert_eq!(ids(&records, recent.clone(), &Scope::All).await, [2001, 2000, 1000, 900, 13, 12, 11]);
    let named = Filter { states: vec![JobState::Ended(EndState::Finished)], ..recent };
    assert_eq!(ids(&records, named, &Scope::All).await, [2000, 1000, 900, 13, 12]);
}

#[tokio::test]
async fn a_page_stays_quick_when_records_are_many() {
    let records = Records::new();
    let count = 60_000;
    fill(&records, count, 100 * DAY);
    records.create(NewJob { created_ns: 3 * DAY * S, ..new_job(1) }).await;
    let recent = Filter { recent_since_ns: Some(100 * DAY * S - 50 * S), ..Filter::default() };
    let bobs = Filter { owner: Some("bob".into()), ..Filter::default() };
    let lost = Filter { states: vec![JobState::Ended(EndState::Lost)], ..Filter::default() };
    for (filter, expected) in [(recent, 53), (bobs, 100), (lost, 60), (Filter::default(), 100)] {
        // The first run reads the file; what is measured is the second.
        records.store.list(filter.clone(), &Scope::All, page(100)).await.unwrap();
        let begin = Instant::now();
        let found = records.store.list(filter.clone(), &Scope::All, page(100)).await.unwrap().jobs.len();
        let took = begin.elapsed();
        assert_eq!(found, expected, "{filter:?}");
        assert!(took.as_millis() < 50, "{filter:?} took {took:?}");
    }
}

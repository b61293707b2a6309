use super::*;

const S: u64 = 1_000_000_000;

#[tokio::test]
async fn retention_finds_the_oldest_ends_and_spares_the_archived() {
    let records = Records::new();
    for number in 1..=6 {
        records.create(new_job(number)).await;
        if number < 6 {
            // The first created ends last.
            records.end(id(number), finished(100 - u64::from(number))).await;
        }
    }
    records.store.archive(id(4)).await.unwrap();
    let old = |second: u64, most| records.store.ended_before(second * S, most);
    assert_eq!(old(98, 10).await.unwrap(), [id(5), id(3)]);
    assert_eq!(old(98, 1).await.unwrap(), [id(5)]);
    let over = |bytes, most| records.store.over_total(bytes, most);
    // A KiB and some words for each of six records, and 1000 bytes of output for each job but one.
    assert_eq!(over(11_400, 10).await.unwrap(), []);
    assert_eq!(over(9000, 10).await.unwrap(), [id(5), id(3)]);
    assert_eq!(over(0, 10).await.unwrap(), [id(5), id(3), id(2), id(1)]);
    assert_eq!(over(0, 2).await.unwrap(), [id(5), id(3)]);
}

#[tokio::test]
async fn a_record_counts_for_about_what_it_takes_on_disk() {
    // Small ones, such with long commands, and such with many names of variables.
    let word = |length| vec![b"true".to_vec(), vec![b'x'; length]];
    let names = |count| (0..count).map(|n| format!("VARIABLE_{n}")).collect::<Vec<_>>();
    for (count, length, variables) in [(3000, 10, 3), (60, 100_000, 0), (200, 3000, 100), (60, 10, 8000)] {
        let records = Records::new();
        for number in 1..=count {
            let argv = word(length);
            records
                .create(NewJob { argv, env_names: names(variables), name: Some("nightly".into()), ..new_job(number) })
                .await;
            let output = Totals { disk_bytes: 0, ..finished(1).output };
            records.end(id(number), Ended { output, ..finished(u64::from(number)) }).await;
        }
        let path = records.path();
        let counted = sum_of_kept_bytes(&path);
        // What is removed must be more than nothing, and what stays no more than is allowed.
        let gone = records.store.over_total(counted / 2, usize::MAX).await.unwrap();
        assert_eq!(gone.len() as u32, count.div_ceil(2));
        let Records { dir, store } = records;
        drop(store);
        let taken = std::fs::metadata(&path).unwrap().len();
        let ratio = counted as f64 / taken as f64;
        assert!((0.6..1.5).contains(&ratio), "{count} records of {length} bytes: {counted} counted, {taken} on disk");
        drop(dir);
    }
}

#[tokio::test]
async fn room_that_removed_records_leave_is_used_again_and_most_of_it_given_back() {
    let records = Records::new();
    let fill = async |numbers: std::ops::RangeInclusive<u32>| {
        for number in numbers {
            let argv = vec![b"true".to_vec(), vec![b'x'; 100_000]];
            records.create(NewJob { argv, ..new_job(number) }).await;
            records.end(id(number), finished(u64::from(number))).await;
        }
    };
    let clear = async |numbers: std::ops::RangeInclusive<u32>| {
        let ids = numbers.map(id).collect();
        records.store.delete_ended(ids).await.unwrap();
    };
    let pages = || {
        let connection = rusqlite::Connection::open(records.path()).unwrap();
        connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    };
    fill(1..=100).await;
    let full = pages();
    assert!(full * 4096 > 20_000_000, "{full} pages");
    clear(1..=100).await;
    fill(101..=200).await;
    assert!(pages() < full + full / 20, "{} pages after {full}", pages());
    clear(101..=200).await;
    while records.store.give_back().await.unwrap() {}
    let path = records.path();
    let Records { dir, store } = records;
    drop(store);
    let left = std::fs::metadata(&path).unwrap().len();
    assert!(left < 6 << 20, "{left} bytes of {} are left", full * 4096);
    drop(dir);
}

#[tokio::test]
async fn only_ended_jobs_are_deleted_by_retention_and_all_of_them_are_remembered() {
    let records = Records::new();
    for number in 1..=3 {
        records.create(new_job(number)).await;
    }
    records.end(id(1), finished(1)).await;
    records.end(id(2), finished(2)).await;
    records.store.delete_ended(vec![id(1), id(2), id(3), id(4)]).await.unwrap();
    assert_eq!(records.store.exist(vec![id(1), id(2), id(3)]).await.unwrap(), [false, false, true]);
    assert_eq!(records.store.deleted_count().await.unwrap(), 2);
    assert!(records.store.was_deleted(id(1)).await.unwrap() && !records.store.was_deleted(id(3)).await.unwrap());
}

fn sum_of_kept_bytes(path: &std::path::Path) -> u64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("SELECT sum(kept_bytes) FROM jobs", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

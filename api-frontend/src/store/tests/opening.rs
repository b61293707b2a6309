use std::{os::unix::fs::PermissionsExt, process::Command};

use super::{schema::open_with, *};

#[tokio::test]
async fn each_opening_is_counted() {
    let records = Records::new();
    assert_eq!(records.store.epoch(), 1);
    let records = records.again().again();
    assert_eq!(records.store.epoch(), 3);
}

#[test]
fn only_its_owner_may_read_the_database() {
    let records = Records::new();
    for entry in std::fs::read_dir(records.dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date_and_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let store = Store::open(&path).unwrap();
    store.create(new_job(1)).await.unwrap();
    drop(store);
    let steps = [schema::STEPS, &["ALTER TABLE jobs ADD COLUMN colour TEXT NOT NULL DEFAULT 'green'"]].concat();
    let (connection, epoch) = open_with(&path, &steps).unwrap();
    assert_eq!(epoch, 2);
    let colour: String = connection.query_row("SELECT colour FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(colour, "green");
    drop(connection);
    // The step only added a column, so the release before can still work with it.
    let store = Store::open(&path).unwrap();
    store.create(new_job(2)).await.unwrap();
    assert_eq!(store.live_count().await.unwrap(), 2);
    drop(store);
    let (connection, _) = open_with(&path, &steps).unwrap();
    let green: u32 =
        connection.query_row("SELECT count(*) FROM jobs WHERE colour = 'green'", [], |row| row.get(0)).unwrap();
    assert_eq!(green, 2);
}

#[test]
fn a_database_that_a_later_release_changed_beyond_reading_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let known = schema::STEPS.len();
    let change = "UPDATE meta SET value = 99 WHERE key = 'readable_by'";
    drop(open_with(&path, &[schema::STEPS, &[change]].concat()).unwrap());
    let refused = Store::open(&path).unwrap_err().to_string();
    let expected = format!("(records format {}, this release knows {known}): install that release", known + 1);
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn a_step_that_fails_leaves_the_database_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    drop(open_with(&path, schema::STEPS).unwrap());
    let steps = [schema::STEPS, &["CREATE TABLE extra (a TEXT) STRICT; SELECT * FROM nothing"]].concat();
    assert!(open_with(&path, &steps).is_err());
    let (connection, epoch) = open_with(&path, schema::STEPS).unwrap();
    assert_eq!(epoch, 2, "the failed opening is not counted");
    let extra: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'", [], |row| row.get(0)).unwrap();
    assert_eq!(extra, 0);
}

#[test]
fn what_is_no_database_of_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE cats (name TEXT)").unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Foreign { .. })));
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert!(matches!(Store::open(&path), Err(OpenError::Unusable { .. })));
    let missing = dir.path().join("no/such/folder/records.db");
    let refused = Store::open(&missing).unwrap_err().to_string();
    assert!(refused.contains("no/such/folder") && refused.contains("No such file"), "{refused}");
}

#[tokio::test]
async fn operators_can_read_with_sqlite3_while_it_runs() {
    let records = Records::new();
    records.create(NewJob { name: Some("nightly".into()), ..new_job(1) }).await;
    let query = "SELECT name, state, command, replace(CAST(argv AS TEXT), char(0), '|') IS NOT NULL FROM jobs";
    let Ok(output) = Command::new("sqlite3").arg("-readonly").arg(records.path()).arg(query).output() else {
        println!("skipped: the sqlite3 program is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "nightly|queued|make -j8 1|1\n", "{output:?}");
    records.end(id(1), finished(2)).await;
}

#[tokio::test]
async fn another_reader_sees_what_was_answered_and_does_not_stop_the_writer() {
    let records = Records::new();
    let mut other = rusqlite::Connection::open(records.path()).unwrap();
    let reading = other.transaction().unwrap();
    let count = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(count(&reading), 0);
    records.create(new_job(1)).await;
    assert_eq!(count(&reading), 0, "a reader sees one moment");
    drop(reading);
    assert_eq!(count(&other), 1);
}

#[tokio::test]
async fn commits_wait_for_the_disk_unless_somebody_else_knows_the_same() {
    let records = Records::new();
    let settings = |connection: &rusqlite::Connection| {
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        Ok::<_, StoreError>((pragma("journal_mode")?, pragma("synchronous")?))
    };
    // 2 is FULL: the journal is synchronised at every commit. 1 is NORMAL: it is at the next such one.
    for _ in 0..2 {
        assert_eq!(records.store.write(settings).await.unwrap(), ("wal".to_owned().into(), 2.into()));
        assert_eq!(records.store.write_soon(settings).await.unwrap(), ("wal".to_owned().into(), 1.into()));
    }
}

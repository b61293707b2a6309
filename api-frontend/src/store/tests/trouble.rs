use std::process::Command;

use super::*;

#[tokio::test]
async fn a_full_disk_is_told_to_each_caller_and_later_everything_works() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "airlock-test"]).arg(dir.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let path = dir.path().join("records.db");
    let store = Store::open(&path).unwrap();
    let large = |number| NewJob { argv: vec![vec![b'x'; 60_000]], ..new_job(number) };
    let mut made = 0;
    let error = loop {
        match store.create(large(made)).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, CreateError::Store(StoreError::DiskFull));
    assert!(error.to_string().contains("free some space"));
    assert!(made > 3);
    // Many at once: each is told, none hangs.
    let many: Vec<_> = (0..20)
        .map(|number| {
            let (store, new) = (store.clone(), large(1000 + number));
            tokio::spawn(async move { store.create(new).await })
        })
        .collect();
    for answer in many {
        assert!(answer.await.unwrap().is_err());
    }
    assert_eq!(
        store.live_count().await.unwrap(),
        u64::from(made),
        "what was answered is there, what was refused is not"
    );
    let grown = Command::new("mount").args(["-o", "remount,size=20m"]).arg(dir.path()).status();
    assert!(grown.unwrap().success());
    for number in 2000..2010 {
        store.create(large(number)).await.unwrap();
    }
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.live_count().await.unwrap(), u64::from(made) + 10);
    drop(store);
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_when_the_process_dies_at_once() {
    let records = Records::new();
    records.create(new_job(1)).await;
    records.end(id(1), finished(2)).await;
    // As SIGKILL leaves it: nobody closes anything.
    let copy = tempfile::tempdir().unwrap();
    for name in ["records.db", "records.db-wal"] {
        std::fs::copy(records.dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let store = Store::open(&copy.path().join("records.db")).unwrap();
    let job = store.get(id(1), &Scope::All).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Ended(EndState::Finished));
}

#[tokio::test]
async fn a_number_too_large_for_the_database_is_refused_and_harms_nobody() {
    let records = Records::new();
    let refused = records.store.create(NewJob { created_ns: u64::MAX, ..new_job(1) }).await;
    assert_eq!(refused, Err(CreateError::Store(StoreError::TooLarge(u64::MAX))));
    records.create(new_job(1)).await;
}

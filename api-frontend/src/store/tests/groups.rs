use proptest::prelude::*;

use super::*;
use crate::policy::{Bounds, Charge, Group, Sums};

const BOUNDS: Bounds = Bounds { jobs: Some(4), memory: Some(100), cpu_milli: Some(1000) };

fn member(group: &str, memory: u64, cpu_milli: u64) -> Option<Membership> {
    Some(Membership { group: Arc::new(Group::new(group, BOUNDS)), charge: Charge { memory, cpu_milli } })
}

fn born(charge: Charge) -> Change {
    let limits = limits().with(Limit::Memory, charge.memory).with(Limit::Cpu, charge.cpu_milli);
    Change::Started { pid: 4821, uid: 1_900_000_412, started_ns: 5, limits }
}

async fn taken(records: &Records, group: &str) -> [u64; 3] {
    let Sums { jobs, memory, cpu_milli } = records.store.group_sums(group).await.unwrap();
    [jobs, memory, cpu_milli]
}

#[tokio::test]
async fn a_job_counts_in_its_group_from_its_record_to_its_end_by_what_it_got() {
    let records = Records::new();
    records.store.create_in(new_job(1), member("build", 40, 500)).await.unwrap();
    records.store.create_in(new_job(2), member("web", 1, 1)).await.unwrap();
    records.create(new_job(3)).await;
    assert_eq!(taken(&records, "build").await, [1, 40, 500]);
    let got = Charge { memory: 30, cpu_milli: 600 };
    records.store.update(id(1), born(got)).await.unwrap();
    assert_eq!(taken(&records, "build").await, [1, 30, 600]);
    let records = records.again();
    assert_eq!(taken(&records, "build").await, [1, 30, 600]);
    records.end(id(1), finished(9)).await;
    assert_eq!(taken(&records, "build").await, [0; 3]);
    assert_eq!(taken(&records, "web").await, [1, 1, 1]);
}

#[tokio::test]
async fn a_full_group_refuses_by_name_and_leaves_no_record() {
    let records = Records::new();
    records.store.create_in(new_job(1), member("build", 60, 1)).await.unwrap();
    let refused = records.store.create_in(new_job(2), member("build", 41, 1)).await.unwrap_err();
    let CreateError::GroupFull(full) = &refused else { panic!("{refused}") };
    assert!(full.to_string().starts_with("group build has 60 of its 100 of memory in use"), "{full}");
    assert!(records.store.get(id(2), &Scope::All).await.unwrap().is_none());
    assert!(records.store.create_in(new_job(2), member("web", 41, 1)).await.is_ok(), "another group has room");
    let known = records.store.create_in(new_job(1), member("build", 100, 1)).await.unwrap();
    assert!(known.existed, "a request that made its job is answered with it, however full the group is");
    records.store.remove_unborn(id(1)).await.unwrap();
    assert!(
        records.store.create_in(new_job(3), member("build", 100, 1)).await.is_ok(),
        "what was withdrawn counts no more"
    );
}

#[tokio::test]
async fn of_starts_that_are_recorded_together_only_as_many_as_fit_are_admitted() {
    let records = Records::new();
    let starts = (1..=64).map(|number| records.store.create_in(new_job(number), member("build", 1, 1)));
    let made = futures_util::future::join_all(starts).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 4);
    assert!(made.iter().all(|made| matches!(made, Ok(_) | Err(CreateError::GroupFull(_)))));
    assert_eq!(taken(&records, "build").await[0], 4);
}

#[tokio::test]
async fn jobs_that_a_release_without_groups_recorded_count_in_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.db");
    let (connection, _) = schema::open_with(&path, &schema::STEPS[..1]).unwrap();
    let sql = "INSERT INTO jobs (id, owner, request_id, fingerprint, serial, peer, profile, argv, command, env_names, merge, \
               output_limit, when_full, created_ns, state, live, memory, cpu_milli) VALUES (?1, 'alice', 'r', zeroblob(32), \
               '5e1f', '10.0.4.17', 'standard', x'6d00', 'm', '[]', 0, 1, 'wait', 1, 'running', 1, 100, 1000)";
    connection.execute(sql, [id(1).to_string()]).unwrap();
    drop(connection);
    let records = Records { store: Store::open(&path).unwrap(), dir };
    assert_eq!(records.store.live_count().await.unwrap(), 1);
    assert_eq!(taken(&records, "build").await, [0; 3]);
    assert!(records.store.create_in(new_job(2), member("build", 100, 1000)).await.is_ok());
}

#[tokio::test]
async fn sums_beyond_every_number_stay_the_greatest_and_fail_nothing() {
    let records = Records::new();
    let free = Arc::new(Group::new("free", Bounds::default()));
    let half = Charge { memory: i64::MAX as u64, cpu_milli: i64::MAX as u64 };
    for number in 1..=3 {
        let membership = Membership { group: free.clone(), charge: half };
        records.store.create_in(new_job(number), Some(membership)).await.unwrap();
    }
    assert_eq!(taken(&records, "free").await, [3, u64::MAX, u64::MAX]);
}

/// Something that happens to the records. Numbers choose among the jobs that there are.
#[derive(Debug, Clone)]
enum Step {
    Start { group: Option<usize>, charge: Charge },
    Birth { job: usize, got: Charge },
    End { job: usize },
    Withdraw { job: usize },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let charge = || (0u64..60, 0u64..600).prop_map(|(memory, cpu_milli)| Charge { memory, cpu_milli });
    let step = prop_oneof![
        5 => (proptest::option::weighted(0.8, 0usize..2), charge()).prop_map(|(group, charge)| Step::Start { group, charge }),
        3 => (any::<usize>(), charge()).prop_map(|(job, got)| Step::Birth { job, got }),
        3 => any::<usize>().prop_map(|job| Step::End { job }),
        2 => any::<usize>().prop_map(|job| Step::Withdraw { job }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

/// A live job as it should count.
#[derive(Debug)]
struct Known {
    id: JobId,
    group: Option<usize>,
    counts: Charge,
    born: bool,
}

const NAMES: [&str; 2] = ["build", "web"];

fn expected(live: &[Known], group: usize) -> Sums {
    live.iter().filter(|job| job.group == Some(group)).fold(Sums::default(), |sums, job| sums.with(job.counts))
}

async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut records = Records::new();
    let mut live: Vec<Known> = Vec::new();
    for (number, step) in (1u32..).zip(steps) {
        match step {
            Step::Start { group, charge } => {
                let membership = group.and_then(|g| member(NAMES[g], charge.memory, charge.cpu_milli));
                let fits = group.is_none_or(|g| Group::new(NAMES[g], BOUNDS).admit(expected(&live, g), charge).is_ok());
                let made = records.store.create_in(new_job(number), membership).await;
                prop_assert_eq!(made.is_ok(), fits, "{:?}", made);
                if fits {
                    live.push(Known { id: id(number), group, counts: charge, born: false });
                }
            }
            Step::Birth { job, got } => {
                if let Some(job) = pick(&mut live, job) {
                    records.store.update(job.id, born(got)).await.unwrap();
                    (job.counts, job.born) = (got, true);
                }
            }
            Step::End { job } => {
                if let Some(at) = job.checked_rem(live.len()) {
                    records.end(live.swap_remove(at).id, finished(number.into())).await;
                }
            }
            Step::Withdraw { job } => {
                if let Some(at) = job.checked_rem(live.len()) {
                    records.store.remove_unborn(live[at].id).await.unwrap();
                    if !live[at].born {
                        live.swap_remove(at);
                    }
                }
            }
            Step::Reopen => records = records.again(),
        }
        for (group, name) in NAMES.iter().enumerate() {
            prop_assert_eq!(records.store.group_sums(name).await.unwrap(), expected(&live, group));
        }
    }
    Ok(())
}

fn pick(live: &mut [Known], number: usize) -> Option<&mut Known> {
    let at = number.checked_rem(live.len())?;
    live.get_mut(at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_sequence_of_starts_births_ends_withdrawals_and_restarts_leaves_a_sum_wrong(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(steps))?;
    }
}

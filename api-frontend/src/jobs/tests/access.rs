use super::*;
use crate::store::{Filter, Page};

const FIRST_PAGE: Page = Page { size: 100, after: None };

fn not_found(result: Result<JobView, JobsError>) -> bool {
    matches!(result, Err(JobsError::NotFound { .. }))
}

#[test]
fn to_a_user_the_job_of_another_does_not_exist_by_any_method() {
    let rig = Rig::new();
    let id = rig.running().to_string();
    let jobs = rig.jobs();
    rig.run(async {
        assert!(not_found(jobs.get(&bob(), &id).await));
        assert!(not_found(jobs.get(&bob(), &id[..8]).await));
        assert!(not_found(jobs.stop(&bob(), &id, 15, Duration::ZERO).await));
        assert!(not_found(jobs.signal(&bob(), &id, 1).await));
        assert!(not_found(jobs.archive(&bob(), &id).await));
        assert!(matches!(jobs.delete(&bob(), &id).await, Err(JobsError::NotFound { .. })));
        assert!(matches!(jobs.wait(&bob(), &id, None).await, Err(JobsError::NotFound { .. })));
        assert!(matches!(jobs.output(&bob(), &id, ReadOptions::default()).await, Err(JobsError::NotFound { .. })));
        let seen = jobs.list(&bob(), Filter::default(), true, FIRST_PAGE).await.unwrap();
        assert!(seen.jobs.is_empty());
        let by_owner = Filter { owner: Some("alice".into()), ..Filter::default() };
        assert!(jobs.list(&bob(), by_owner, true, FIRST_PAGE).await.unwrap().jobs.is_empty());
        let error = jobs.get(&bob(), &id[..8]).await.unwrap_err().to_string();
        assert_eq!(error, format!("no job '{}' that you may see on build1", &id[..8]));
    });
}

#[test]
fn a_reader_looks_at_everything_and_changes_nothing() {
    let rig = Rig::new();
    let id = rig.running().to_string();
    let jobs = rig.jobs();
    rig.run(async {
        assert!(jobs.get(&rita(), &id).await.is_ok());
        assert!(jobs.output(&rita(), &id, ReadOptions::default()).await.is_ok());
        assert_eq!(jobs.list(&rita(), Filter::default(), false, FIRST_PAGE).await.unwrap().jobs.len(), 1);
        let denied = jobs.stop(&rita(), &id, 15, Duration::ZERO).await.unwrap_err();
        assert_eq!(denied.to_string(), "rita is a reader on build1 and may not stop jobs");
        assert!(matches!(jobs.delete(&rita(), &id).await, Err(JobsError::Denied { .. })));
        assert!(matches!(jobs.signal(&rita(), &id, 1).await, Err(JobsError::Denied { .. })));
    });
    let denied = rig.start(&rita(), ask("r1")).unwrap_err();
    assert_eq!(denied.to_string(), "rita is a reader on build1 and may not start jobs");
}

#[test]
fn where_all_is_visible_users_see_others_jobs_and_manage_their_own() {
    let rig = Rig::new();
    let id = rig.running().to_string();
    let jobs = rig.jobs();
    let open = Caller { visibility: Visibility::All, ..bob() };
    rig.run(async {
        assert!(jobs.get(&open, &id).await.is_ok());
        let error = jobs.stop(&open, &id, 15, Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, JobsError::NotTheirs { .. }), "{error}");
        assert!(jobs.stop(&admin(), &id, 15, Duration::ZERO).await.is_ok());
    });
}

#[test]
fn jobs_are_found_by_id_prefix_name_and_last() {
    let rig = Rig::new();
    let named = StartAsk { name: "nightly".into(), ..ask("r1") };
    let first = rig.start(&alice(), named).unwrap().job.id;
    let second = rig.running();
    let jobs = rig.jobs();
    let found = |reference: String| rig.run(async { jobs.get(&alice(), &reference).await }).map(|v| v.job.id);
    assert_eq!(found(first.to_string()).unwrap(), first);
    assert_eq!(found(first.to_string()[..13].to_owned()).unwrap(), first);
    assert_eq!(found("nightly".into()).unwrap(), first);
    assert_eq!(found("last".into()).unwrap(), second);
    assert!(matches!(found("zzz".into()), Err(JobsError::NotFound { .. })));
}

#[test]
fn a_beginning_of_fewer_than_four_characters_is_told_which_jobs_it_fits_and_nobody_elses() {
    let rig = Rig::new();
    let id = rig.running().to_string();
    let jobs = rig.jobs();
    let said = |caller: Caller, reference: &str| {
        rig.run(async { jobs.stop(&caller, reference, 15, Duration::ZERO).await }).unwrap_err().to_string()
    };
    for length in 1..4 {
        let (short, shown) = (&id[..length], &id[..8]);
        let sentence = format!("'{short}' fits 1 job: {shown}; write at least 4 characters of the id");
        assert_eq!(said(alice(), short), sentence);
        assert_eq!(said(bob(), short), format!("no job '{short}' that you may see on build1"));
    }
}

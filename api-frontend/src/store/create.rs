//! Recording a new job.

use ipc_protocol::{InputDigest, JobId};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::{
    Store,
    error::{CreateError, StoreError},
    find::{by_id, expect},
    groups::{Membership, sums},
    model::Job,
    row,
    state::JobState,
};
use crate::output::OutputLimit;

/// A job to be. See [`Job`] for the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the one of `Job` with its name")]
pub struct NewJob {
    pub id: JobId,
    pub owner: String,
    pub name: Option<String>,
    pub request_id: String,
    pub fingerprint: [u8; 32],
    pub serial: String,
    pub peer: String,
    pub profile: String,
    pub argv: Vec<Vec<u8>>,
    pub env_names: Vec<String>,
    pub cwd: Option<String>,
    pub merge: bool,
    pub input: Option<InputDigest>,
    pub output_limit: OutputLimit,
    pub created_ns: u64,
}

/// What [`Store::create`] found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The job.
    pub job: Job,
    /// It was there before: the owner used the request id, with the same parameters.
    pub existed: bool,
}

impl Store {
    /// Records a job of no group in state `queued`, unless the owner's request id has made one already. When it answers, the
    /// record is on disk.
    ///
    /// # Errors
    /// `RequestIdReused` when the known request had another fingerprint, `NameTaken`, or a failing database.
    pub async fn create(&self, job: NewJob) -> Result<Created, CreateError> {
        self.create_in(job, None).await
    }

    /// As [`Store::create`], for a job that counts in a group, if that has room for it.
    ///
    /// # Errors
    /// Also `GroupFull`. Others that are recorded at the same time cannot come between the count and the record.
    pub async fn create_in(&self, job: NewJob, membership: Option<Membership>) -> Result<Created, CreateError> {
        self.write(move |connection| create(connection, &job, membership.as_ref())).await
    }

    /// The job that a request of this owner made.
    pub async fn by_request(&self, owner: &str, request_id: &str) -> Result<Option<Job>, StoreError> {
        let (owner, request_id) = (owner.to_owned(), request_id.to_owned());
        self.read(move |connection| match find(connection, "request_id = ?2", &owner, &request_id)? {
            Some(id) => by_id(connection, id),
            None => Ok(None),
        })
        .await
    }
}

fn create(connection: &Connection, new: &NewJob, membership: Option<&Membership>) -> Result<Created, CreateError> {
    if let Some(known) = find(connection, "request_id = ?2", &new.owner, &new.request_id)? {
        let job = by_id(connection, known)?.ok_or_else(|| StoreError::Failed(format!("record of {known} is gone")))?;
        if job.fingerprint != new.fingerprint {
            return Err(CreateError::RequestIdReused { request_id: new.request_id.clone(), job: known });
        }
        return Ok(Created { job, existed: true });
    }
    if let Some(name) = &new.name
        && let Some(job) = find(connection, "name = ?2 AND live = 1", &new.owner, name)?
    {
        return Err(CreateError::NameTaken { name: name.clone(), job });
    }
    if let Some(Membership { group, charge }) = membership {
        group.admit(sums(connection, group.name())?, *charge).map_err(CreateError::GroupFull)?;
    }
    insert(connection, new, membership)?;
    let job = expect(connection, new.id)?;
    Ok(Created { job, existed: false })
}

/// Whether the owner used this request id.
pub(super) fn used_request(connection: &Connection, owner: &str, request_id: &str) -> Result<bool, StoreError> {
    Ok(find(connection, "request_id = ?2", owner, request_id)?.is_some())
}

fn find(connection: &Connection, condition: &str, owner: &str, value: &str) -> Result<Option<JobId>, StoreError> {
    let sql = format!("SELECT id FROM jobs WHERE owner = ?1 AND {condition}");
    let id: Option<String> = connection.prepare_cached(&sql)?.query_row([owner, value], |row| row.get(0)).optional()?;
    id.map(|id| id.parse().map_err(|_| StoreError::Failed(format!("'{id}' is recorded as a job id")))).transpose()
}

pub(super) fn insert(connection: &Connection, new: &NewJob, membership: Option<&Membership>) -> Result<(), StoreError> {
    let words: Vec<_> = new.argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
    let env_names = serde_json::to_string(&new.env_names).map_err(|e| StoreError::Failed(e.to_string()))?;
    let sql = "INSERT INTO jobs (id, owner, name, request_id, fingerprint, serial, peer, profile, argv, command, env_names, cwd, \
               merge, input_bytes, input_sha256, output_limit, when_full, created_ns, state, live, job_group, group_memory, \
               group_cpu_milli) VALUES (:id, :owner, :name, \
               :request_id, :fingerprint, :serial, :peer, :profile, :argv, :command, :env_names, :cwd, :merge, :input_bytes, \
               :input_sha256, :output_limit, :when_full, :created_ns, :state, 1, :group, :memory, :cpu_milli)";
    connection.prepare_cached(sql)?.execute(named_params! {
        ":id": new.id.to_string(),
        ":owner": new.owner,
        ":name": new.name,
        ":request_id": new.request_id,
        ":fingerprint": new.fingerprint,
        ":serial": new.serial,
        ":peer": new.peer,
        ":profile": new.profile,
        ":argv": row::join_words(&new.argv),
        ":command": words.join(" "),
        ":env_names": env_names,
        ":cwd": new.cwd,
        ":merge": new.merge,
        ":input_bytes": row::stored_option(new.input.map(|input| input.bytes))?,
        ":input_sha256": new.input.map(|input| input.sha256),
        ":output_limit": row::stored(new.output_limit.bytes())?,
        ":when_full": row::when_full_name(new.output_limit.when_full()),
        ":created_ns": row::stored(new.created_ns)?,
        ":state": JobState::Queued.name(),
        ":group": membership.map(|member| member.group.name()),
        ":memory": row::stored_option(membership.map(|member| member.charge.memory))?,
        ":cpu_milli": row::stored_option(membership.map(|member| member.charge.cpu_milli))?,
    })?;
    Ok(())
}

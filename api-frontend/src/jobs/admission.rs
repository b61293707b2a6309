//! What the policy's terms mean for a start: which profiles may be named, and in which group the job counts.

use std::sync::Arc;

use ipc_protocol::ProfileInfo;

use super::{Jobs, JobsError, StartSpec};
use crate::authorize::Caller;
use crate::policy::{Group, Sums};
use crate::store::Membership;

/// A caller's group as it stands.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// The group, with its bounds.
    pub group: Arc<Group>,
    /// What its live jobs take.
    pub taken: Sums,
}

impl Jobs {
    /// The profiles that the caller may use; the first is the default. Names in the policy that the executor does not have
    /// are left out. Empty until the executor was met.
    pub fn profiles_of(&self, caller: &Caller) -> Arc<Vec<ProfileInfo>> {
        let all = self.profiles();
        let Some(names) = caller.terms.profiles() else { return all };
        Arc::new(names.iter().filter_map(|name| all.iter().find(|p| p.name == *name)).cloned().collect())
    }

    /// The group in which the caller's jobs count, and what it takes at this moment.
    ///
    /// # Errors
    /// Failing records.
    pub async fn group_of(&self, caller: &Caller) -> Result<Option<GroupView>, JobsError> {
        let Some(group) = caller.terms.group() else { return Ok(None) };
        let taken = self.core.store.group_sums(group.name()).await?;
        Ok(Some(GroupView { group: group.clone(), taken }))
    }

    /// As [`Jobs::profiles_of`], where one is needed.
    pub(super) fn profiles_to_start_in(&self, caller: &Caller) -> Result<Arc<Vec<ProfileInfo>>, JobsError> {
        let profiles = self.profiles_of(caller);
        match caller.terms.profiles() {
            Some(names) if profiles.is_empty() => {
                let message = format!(
                    "none of your profiles ({}) exists on {}; ask your operator",
                    names.join(", "),
                    self.host()
                );
                Err(JobsError::invalid("profile", message))
            }
            _ => Ok(profiles),
        }
    }
}

/// In which group a job of the caller counts, and for how much.
pub(super) fn membership(caller: &Caller, spec: &StartSpec) -> Option<Membership> {
    let group = caller.terms.group()?.clone();
    Some(Membership { group, charge: spec.charge() })
}

//! What the policy's terms mean for a start: which profiles may be named, and in which group the job counts.

use std::sync::Arc;

use ipc_protocol::ProfileInfo;

use super::{Core, Jobs, JobsError, StartSpec};
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
    /// are left out ([`Jobs::missing_profiles`] tells them). Empty until the executor was met.
    pub fn profiles_of(&self, caller: &Caller) -> Arc<Vec<ProfileInfo>> {
        let all = self.profiles();
        let Some(names) = caller.terms.profiles() else { return all };
        Arc::new(names.iter().filter_map(|name| all.iter().find(|p| p.name == *name)).cloned().collect())
    }

    /// The profiles that rules of the policy name and the executor does not have: a sentence for each. Empty until the executor
    /// was met.
    pub fn missing_profiles(&self) -> Vec<String> {
        self.core.missing_profiles()
    }

    /// Puts [`Jobs::missing_profiles`] into the journal; for when the policy was read.
    pub fn warn_of_missing_profiles(&self) {
        self.core.warn_of_missing_profiles();
    }

    /// The group in which the caller's jobs count, and what it takes at this moment.
    ///
    /// # Errors
    /// Failing records.
    pub async fn group_of(&self, caller: &Caller) -> Result<Option<GroupView>, JobsError> {
        let Some(group) = caller.terms.group() else { return Ok(None) };
        let _turn = caller.turns.record().await;
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

impl Core {
    fn missing_profiles(&self) -> Vec<String> {
        let (policy, known) = (self.policy.load(), self.profiles.load());
        if known.is_empty() {
            return Vec::new();
        }
        let missing = policy.profiles().filter(|(_, name)| !known.iter().any(|profile| profile.name == *name));
        missing
            .map(|(rule, name)| {
                let name = name.escape_debug();
                format!("{rule}: the executor has no profile '{name}'; correct the rule, or add [profile.{name}] to executor.toml")
            })
            .collect()
    }

    pub(super) fn warn_of_missing_profiles(&self) {
        self.missing_profiles().iter().for_each(|missing| tracing::warn!("{missing}"));
    }
}

/// In which group a job of the caller counts, and for how much.
pub(super) fn membership(caller: &Caller, spec: &StartSpec) -> Option<Membership> {
    let group = caller.terms.group()?.clone();
    Some(Membership { group, charge: spec.charge() })
}

//! Groups: what their live jobs may take together, and the one decision about it.

use std::fmt;

use crate::config::{Cores, Size};

/// A group of the policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    name: String,
    most: Bounds,
}

/// The most that the live jobs of a group take together. `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Jobs.
    pub jobs: Option<u64>,
    /// Bytes: the sum of the jobs' memory limits.
    pub memory: Option<u64>,
    /// Thousandths of a core: the sum of the jobs' cpu limits.
    pub cpu_milli: Option<u64>,
}

/// What one job counts for in its group, besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// Its memory limit in bytes.
    pub memory: u64,
    /// Its cpu limit in thousandths of a core.
    pub cpu_milli: u64,
}

/// What the live jobs of a group take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Jobs.
    pub jobs: u64,
    /// Bytes.
    pub memory: u64,
    /// Thousandths of a core.
    pub cpu_milli: u64,
}

/// A group has no room for a job. Nobody's mistake: jobs of the group must end first, or the operator gives it more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupFull {
    group: String,
    excess: Excess,
}

/// The first sum that would be above its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    Jobs { taken: u64, most: u64 },
    Memory { taken: Size, asked: Size, most: Size },
    Cpu { taken: Cores, asked: Cores, most: Cores },
}

impl Group {
    /// A group with its bounds.
    pub fn new(name: impl Into<String>, most: Bounds) -> Self {
        Self { name: name.into(), most }
    }

    /// As in the policy file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its live jobs may take together.
    pub fn most(&self) -> &Bounds {
        &self.most
    }

    /// Whether a job of this charge fits beside what is taken. Reaching a bound is allowed, going beyond is not.
    pub fn admit(&self, taken: Sums, charge: Charge) -> Result<(), GroupFull> {
        let after = taken.with(charge);
        let above = |sum: u64, most: Option<u64>| most.filter(|most| sum > *most);
        let excess = if let Some(most) = above(after.jobs, self.most.jobs) {
            Excess::Jobs { taken: taken.jobs, most }
        } else if let Some(most) = above(after.memory, self.most.memory) {
            let [taken, asked, most] = [taken.memory, charge.memory, most].map(Size::from_bytes);
            Excess::Memory { taken, asked, most }
        } else if let Some(most) = above(after.cpu_milli, self.most.cpu_milli) {
            let [taken, asked, most] = [taken.cpu_milli, charge.cpu_milli, most].map(Cores::from_milli);
            Excess::Cpu { taken, asked, most }
        } else {
            return Ok(());
        };
        Err(GroupFull { group: self.name.clone(), excess })
    }
}

impl Sums {
    /// With one job more.
    #[must_use]
    pub fn with(self, charge: Charge) -> Self {
        Self {
            jobs: self.jobs.saturating_add(1),
            memory: self.memory.saturating_add(charge.memory),
            cpu_milli: self.cpu_milli.saturating_add(charge.cpu_milli),
        }
    }
}

impl fmt::Display for GroupFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = &self.group;
        match self.excess {
            Excess::Jobs { taken, most } => {
                let plural = if taken == 1 { "" } else { "s" };
                write!(f, "group {group} has {taken} job{plural} running, ")?;
                if taken > most {
                    write!(f, "above its most, {most}")?
                } else {
                    f.write_str("its most")?
                }
                write!(f, "; wait for one (airlock wait --any) or ask your operator")
            }
            Excess::Memory { taken, asked, most } if asked <= most => write!(
                f,
                "group {group} has {taken} of its {most} of memory in use, and this job asks for {asked}; wait for one \
                 (airlock wait --any), ask for less (--memory) or ask your operator"
            ),
            Excess::Memory { asked, most, .. } => write!(
                f,
                "memory {asked} is above the most that group {group} allows all its jobs together, {most}; ask for less \
                 (--memory) or ask your operator"
            ),
            Excess::Cpu { taken, asked, most } if asked <= most => write!(
                f,
                "group {group} has {taken} of its {most} cores in use, and this job asks for {asked}; wait for one \
                 (airlock wait --any), ask for less (--cpu) or ask your operator"
            ),
            Excess::Cpu { asked, most, .. } => write!(
                f,
                "cpu {asked} is above the most that group {group} allows all its jobs together, {most}; ask for less \
                 (--cpu) or ask your operator"
            ),
        }
    }
}

impl std::error::Error for GroupFull {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn build() -> Group {
        let most = Bounds { jobs: Some(20), memory: Some(64 * GIB), cpu_milli: Some(16_000) };
        Group::new("build", most)
    }

    fn refused(taken: Sums, charge: Charge) -> String {
        build().admit(taken, charge).unwrap_err().to_string()
    }

    #[test]
    fn a_bound_may_be_reached_and_not_passed() {
        let taken = Sums { jobs: 19, memory: 62 * GIB, cpu_milli: 14_000 };
        let charge = Charge { memory: 2 * GIB, cpu_milli: 2000 };
        assert_eq!(build().admit(taken, charge), Ok(()));
        assert!(build().admit(Sums { jobs: 20, ..taken }, charge).is_err());
        assert!(build().admit(taken, Charge { memory: 2 * GIB + 1, ..charge }).is_err());
        assert!(build().admit(taken, Charge { cpu_milli: 2001, ..charge }).is_err());
        let unbounded = Group::new("free", Bounds::default());
        assert_eq!(unbounded.admit(Sums { jobs: u64::MAX, memory: u64::MAX, cpu_milli: u64::MAX }, charge), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_group_what_is_taken_and_what_to_do() {
        let charge = Charge { memory: 8 * GIB, cpu_milli: 2000 };
        assert_eq!(
            refused(Sums { jobs: 20, ..Sums::default() }, charge),
            "group build has 20 jobs running, its most; wait for one (airlock wait --any) or ask your operator"
        );
        assert_eq!(
            refused(Sums { jobs: 25, ..Sums::default() }, charge),
            "group build has 25 jobs running, above its most, 20; wait for one (airlock wait --any) or ask your operator"
        );
        assert_eq!(
            refused(Sums { memory: 60 * GIB, ..Sums::default() }, charge),
            "group build has 60G of its 64G of memory in use, and this job asks for 8G; wait for one (airlock wait --any), \
             ask for less (--memory) or ask your operator"
        );
        assert_eq!(
            refused(Sums { memory: 63 * GIB, ..Sums::default() }, Charge { memory: 3 * GIB / 2, ..charge }),
            "group build has 63G of its 64G of memory in use, and this job asks for 1.5G; wait for one (airlock wait --any), \
             ask for less (--memory) or ask your operator"
        );
        assert_eq!(
            refused(Sums { cpu_milli: 14_500, ..Sums::default() }, charge),
            "group build has 14.5 of its 16 cores in use, and this job asks for 2; wait for one (airlock wait --any), ask \
             for less (--cpu) or ask your operator"
        );
    }

    #[test]
    fn a_job_that_never_fits_is_told_so_instead_of_being_asked_to_wait() {
        assert_eq!(
            refused(Sums::default(), Charge { memory: 100 * GIB, cpu_milli: 1 }),
            "memory 100G is above the most that group build allows all its jobs together, 64G; ask for less (--memory) or \
             ask your operator"
        );
        assert_eq!(
            refused(Sums::default(), Charge { memory: 1, cpu_milli: 17_000 }),
            "cpu 17 is above the most that group build allows all its jobs together, 16; ask for less (--cpu) or ask your \
             operator"
        );
    }

    proptest! {
        #[test]
        fn what_is_admitted_is_never_above_a_bound_and_what_is_refused_would_be(
            bounds in any::<[Option<u64>; 3]>(), taken in any::<[u64; 3]>(), charge in any::<[u64; 2]>(),
        ) {
            let [jobs, memory, cpu_milli] = bounds;
            let group = Group::new("g", Bounds { jobs, memory, cpu_milli });
            let taken = Sums { jobs: taken[0], memory: taken[1], cpu_milli: taken[2] };
            let charge = Charge { memory: charge[0], cpu_milli: charge[1] };
            let after = taken.with(charge);
            let fits = |sum: u64, most: Option<u64>| most.is_none_or(|most| sum <= most);
            let all = fits(after.jobs, jobs) && fits(after.memory, memory) && fits(after.cpu_milli, cpu_milli);
            prop_assert_eq!(group.admit(taken, charge).is_ok(), all);
        }
    }
}

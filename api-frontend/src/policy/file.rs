//! The policy file as it is written, and what must hold of it beyond its form.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airlock_proto::identity::Role;
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::rule::{Criteria, Outcome, Pattern, Rule};
use super::{Bounds, Group, OutputPolicy, Policy, RoleSource, Visibility, WhenFull};
use crate::config::{Cores, FileError, Size, Span};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyFile {
    visibility: Visibility,
    roles_from: Vec<RoleSource>,
    rule: Vec<Spanned<RuleTable>>,
    group: BTreeMap<GroupName, GroupTable>,
    output: OutputTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    #[serde(rename = "match")]
    criteria: Option<Spanned<MatchTable>>,
    role: Option<RuleRole>,
    profiles: Option<Spanned<Vec<String>>>,
    group: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchTable {
    cn: Option<Pattern>,
    o: Option<Pattern>,
    ou: Option<Pattern>,
    san: Option<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RuleRole {
    Admin,
    User,
    Reader,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    jobs: Option<Spanned<u64>>,
    memory: Option<Spanned<Size>>,
    cpu: Option<Spanned<Cores>>,
}

/// The name of a group: what error sentences, journals and records can show as it stands.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupName(String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OutputTable {
    per_job: Size,
    when_full: WhenFull,
    keep: Span,
    keep_total: Size,
    reserve: Size,
}

impl PolicyFile {
    /// The policy that the file says, or the first thing in it that cannot be meant, with its line.
    pub(super) fn into_policy(self, path: &Path, text: &str) -> Result<Policy, FileError> {
        let source = Source { path, text };
        let mut groups = BTreeMap::new();
        for (GroupName(name), table) in self.group {
            let bounds = table.bounds(&source)?;
            groups.insert(name.clone(), Arc::new(Group::new(name, bounds)));
        }
        let rules = self.rule.into_iter().map(|rule| rule_of(rule, &groups, &source)).collect::<Result<_, _>>()?;
        let (visibility, roles_from, output) = (self.visibility, self.roles_from, self.output.into());
        Ok(Policy { visibility, roles_from, rules, groups: groups.len(), output })
    }
}

/// The text that errors point into.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, message: String) -> FileError {
        FileError::at(self.path, self.text, at.span().start, message)
    }

    /// Such as `policy.toml:9`.
    fn place<T>(&self, at: &Spanned<T>) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        format!("{}:{}", name.display(), FileError::line(self.text, at.span().start))
    }
}

fn rule_of(
    rule: Spanned<RuleTable>,
    groups: &BTreeMap<String, Arc<Group>>,
    source: &Source<'_>,
) -> Result<Rule, FileError> {
    let place = source.place(&rule);
    let unmatched = || {
        let message = "a rule says in match whom it fits, by cn, o, ou or san; cn = \"*\" fits everybody".to_owned();
        source.wrong(&rule, message)
    };
    let RuleTable { criteria, role, profiles, group } = rule.get_ref();
    let MatchTable { cn, o, ou, san } = criteria.as_ref().ok_or_else(unmatched)?.get_ref();
    let criteria = Criteria { cn: cn.clone(), o: o.clone(), ou: ou.clone(), san: san.clone() };
    if criteria.is_empty() {
        return Err(unmatched());
    }
    let profiles = profiles.as_ref().map(|names| profiles_of(names, source)).transpose()?;
    let group = match group {
        None => None,
        Some(name) => Some(groups.get(name.get_ref()).cloned().ok_or_else(|| no_group(name, groups, source))?),
    };
    let role = match role {
        Some(RuleRole::None) => return Ok(Rule::new(&place, criteria, Outcome::ShutOut)),
        Some(RuleRole::Admin) => Some(Role::Admin),
        Some(RuleRole::User) => Some(Role::User),
        Some(RuleRole::Reader) => Some(Role::Reader),
        None => None,
    };
    Ok(Rule::new(&place, criteria, Outcome::Admit { role, profiles, group }))
}

fn profiles_of(names: &Spanned<Vec<String>>, source: &Source<'_>) -> Result<Arc<[String]>, FileError> {
    let list = names.get_ref();
    if list.is_empty() {
        let message = "no profile is left to start jobs in; leave profiles out for all, or use role = \"reader\"";
        return Err(source.wrong(names, message.to_owned()));
    }
    let twice = list.iter().enumerate().find(|(at, name)| list.iter().take(*at).any(|earlier| earlier == *name));
    if let Some((_, name)) = twice {
        return Err(source.wrong(names, format!("profile '{}' is listed twice", name.escape_debug())));
    }
    Ok(list.as_slice().into())
}

fn no_group(name: &Spanned<String>, groups: &BTreeMap<String, Arc<Group>>, source: &Source<'_>) -> FileError {
    let missing = name.get_ref().escape_debug();
    let known = match groups.is_empty() {
        true => "the file has none".to_owned(),
        false => format!("groups are {}", groups.keys().cloned().collect::<Vec<_>>().join(", ")),
    };
    source.wrong(name, format!("there is no [group.{missing}]; {known}"))
}

impl GroupTable {
    fn bounds(&self, source: &Source<'_>) -> Result<Bounds, FileError> {
        Ok(Bounds {
            jobs: bound(&self.jobs, "jobs", |jobs| *jobs, source)?,
            memory: bound(&self.memory, "memory", |size| size.bytes(), source)?,
            cpu_milli: bound(&self.cpu, "cpu", |cores| cores.milli(), source)?,
        })
    }
}

fn bound<T>(
    given: &Option<Spanned<T>>,
    word: &str,
    number: impl Fn(&T) -> u64,
    source: &Source<'_>,
) -> Result<Option<u64>, FileError> {
    match given.as_ref().map(|value| (value, number(value.get_ref()))) {
        None => Ok(None),
        Some((value, 0)) => {
            Err(source
                .wrong(value, format!("{word} 0 leaves the group nothing to run with; leave it out for no bound")))
        }
        Some((_, number)) => Ok(Some(number)),
    }
}

impl Default for Policy {
    /// What an empty file says.
    fn default() -> Self {
        let PolicyFile { visibility, roles_from, output, .. } = PolicyFile::default();
        Self { visibility, roles_from, rules: Vec::new(), groups: 0, output: output.into() }
    }
}

impl From<OutputTable> for OutputPolicy {
    fn from(table: OutputTable) -> Self {
        let OutputTable { per_job, when_full, keep, keep_total, reserve } = table;
        Self { per_job, when_full, keep: keep.duration(), keep_total, reserve }
    }
}

impl Default for PolicyFile {
    fn default() -> Self {
        Self {
            visibility: Visibility::Own,
            roles_from: vec![RoleSource::Extension, RoleSource::Ou],
            rule: Vec::new(),
            group: BTreeMap::new(),
            output: OutputTable::default(),
        }
    }
}

impl Default for OutputTable {
    fn default() -> Self {
        Self {
            per_job: Size::from_bytes(10 * GIB),
            when_full: WhenFull::DropOldest,
            keep: Span::new(Duration::from_secs(30 * 86_400)),
            keep_total: Size::from_bytes(200 * GIB),
            reserve: Size::from_bytes(2 * GIB),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > GROUP_NAME_MAX || !name.chars().all(allowed) {
            let shown = name.escape_debug();
            let message = format!("group '{shown}' is not 1 to 64 letters, digits, dashes, underscores and dots");
            return Err(de::Error::custom(message));
        }
        Ok(Self(name))
    }
}

const GROUP_NAME_MAX: usize = 64;
const GIB: u64 = 1 << 30;

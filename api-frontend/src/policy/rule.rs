//! Rules: which certificates they fit, and on what terms whoever holds one is here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use airlock_proto::identity::{Role, RoleExtensionError};

use super::{Group, RoleSource};
use crate::identity::Identity;

/// One `[[rule]]` of the policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    label: Arc<str>,
    criteria: Criteria,
    outcome: Outcome,
}

/// What a certificate must say for a rule to fit. All that are given must be met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Criteria {
    /// The common name.
    pub cn: Option<Pattern>,
    /// One of the organisations.
    pub o: Option<Pattern>,
    /// One of the organisational units.
    pub ou: Option<Pattern>,
    /// One of the DNS names, addresses of mail and URIs.
    pub san: Option<Pattern>,
}

/// What a rule makes of those whom it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// They have no role, whatever their certificate says.
    ShutOut,
    /// They are here, on these terms.
    Admit {
        /// Stands above the certificate's role; `None` leaves it to the certificate.
        role: Option<Role>,
        /// The profiles they may use, the first being the default; `None` is all that the executor has.
        profiles: Option<Arc<[String]>>,
        /// The group in whose sums their jobs count.
        group: Option<Arc<Group>>,
    },
}

/// A text, or the beginning of texts: `build`, `ci-*`, `*`. Upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    open: bool,
}

/// The text is no pattern; the sentence says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would fit nobody.
    #[error("an empty text fits nobody; \"*\" fits whatever is there")]
    Empty,
    /// A star before the end.
    #[error("'{0}' has a * before its end; only the last character may be one, such as ci-*")]
    Star(String),
}

/// What the policy makes of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What its holder is here.
    pub role: Role,
    /// What applies to them besides.
    pub terms: Terms,
}

/// On what terms somebody is here, besides their role. The default is that of a policy without rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    decided_by: DecidedBy,
    profiles: Option<Arc<[String]>>,
    group: Option<Arc<Group>>,
}

/// What decided about a certificate, as the journal names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DecidedBy {
    /// The policy has no rules, so the certificate's own role counts.
    #[default]
    Certificate,
    /// The rule that stands there, such as `policy.toml:9 (ou build)`.
    Rule(Arc<str>),
    /// There are rules, and none of them fits.
    NoRule,
}

/// Somebody has no role here, and may do nothing. The operator wanted it so, or gave out another certificate than meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoRole {
    why: WhyNoRole,
    decided_by: DecidedBy,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum WhyNoRole {
    #[error("the policy shuts this name out; ask your operator")]
    ShutOut,
    #[error("no rule of the policy fits the certificate; ask your operator")]
    Unfitted,
    #[error("the certificate carries none that the policy accepts; ask your operator for one that does")]
    Bare,
    #[error("{0}; ask your operator for another certificate")]
    Extension(RoleExtensionError),
}

/// What the first fitting rule, or the certificate where there are no rules, makes of `identity`.
pub(super) fn judge(rules: &[Rule], sources: &[RoleSource], identity: &Identity) -> Result<Standing, NoRole> {
    let Some(rule) = rules.iter().find(|rule| rule.criteria.fit(identity)) else {
        return match rules.is_empty() {
            true => certified(identity, sources, Terms::default()),
            false => Err(NoRole { why: WhyNoRole::Unfitted, decided_by: DecidedBy::NoRule }),
        };
    };
    let decided_by = DecidedBy::Rule(rule.label.clone());
    match &rule.outcome {
        Outcome::ShutOut => Err(NoRole { why: WhyNoRole::ShutOut, decided_by }),
        Outcome::Admit { role, profiles, group } => {
            let terms = Terms::new(decided_by, profiles.clone(), group.clone());
            match role {
                Some(role) => Ok(Standing { role: *role, terms }),
                None => certified(identity, sources, terms),
            }
        }
    }
}

fn certified(identity: &Identity, sources: &[RoleSource], terms: Terms) -> Result<Standing, NoRole> {
    let why = match identity.role(sources) {
        Ok(Some(role)) => return Ok(Standing { role, terms }),
        Ok(None) => WhyNoRole::Bare,
        Err(error) => WhyNoRole::Extension(error),
    };
    Err(NoRole { why, decided_by: terms.decided_by })
}

impl Rule {
    /// A rule that stands at `place`, such as `policy.toml:9`.
    pub fn new(place: &str, criteria: Criteria, outcome: Outcome) -> Self {
        Self { label: format!("{place} ({criteria})").into(), criteria, outcome }
    }

    /// The profiles that it names, each with the rule as the journal shows it.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = match &self.outcome {
            Outcome::Admit { profiles: Some(names), .. } => names.as_ref(),
            Outcome::Admit { profiles: None, .. } | Outcome::ShutOut => &[],
        };
        named.iter().map(|name| (&*self.label, name.as_str()))
    }
}

impl Criteria {
    /// Whether nothing is asked for, which nobody can mean.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fit(&self, identity: &Identity) -> bool {
        let met = |pattern: &Option<Pattern>, values: &[String]| {
            pattern.as_ref().is_none_or(|pattern| values.iter().any(|value| pattern.fits(value)))
        };
        self.cn.as_ref().is_none_or(|pattern| pattern.fits(identity.name()))
            && met(&self.o, identity.organizations())
            && met(&self.ou, identity.units())
            && met(&self.san, identity.alternative_names())
    }
}

impl fmt::Display for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("cn", &self.cn), ("o", &self.o), ("ou", &self.ou), ("san", &self.san)];
        let given = parts.into_iter().filter_map(|(word, pattern)| Some(format!("{word} {}", pattern.as_ref()?)));
        f.write_str(&given.collect::<Vec<_>>().join(", "))
    }
}

impl Pattern {
    /// Whether a text is the pattern's, or begins as it says.
    pub fn fits(&self, text: &str) -> bool {
        if self.open { text.starts_with(&self.text) } else { text == self.text }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (beginning, open) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if beginning.contains('*') {
            return Err(PatternError::Star(text.to_owned()));
        }
        Ok(Self { text: beginning.to_owned(), open })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text.escape_debug(), if self.open { "*" } else { "" })
    }
}

impl Terms {
    /// Terms that a rule gives.
    pub fn new(decided_by: DecidedBy, profiles: Option<Arc<[String]>>, group: Option<Arc<Group>>) -> Self {
        Self { decided_by, profiles, group }
    }

    /// What decided about the certificate.
    pub fn decided_by(&self) -> &DecidedBy {
        &self.decided_by
    }

    /// The profiles that may be used, the first being the default; `None` is all that the executor has.
    pub fn profiles(&self) -> Option<&[String]> {
        self.profiles.as_deref()
    }

    /// The group in whose sums the jobs count.
    pub fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }
}

impl NoRole {
    /// What decided about the certificate.
    pub fn decided_by(&self) -> &DecidedBy {
        &self.decided_by
    }
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("no rules, the certificate decides"),
            Self::Rule(label) => f.write_str(label),
            Self::NoRule => f.write_str("no rule fits"),
        }
    }
}

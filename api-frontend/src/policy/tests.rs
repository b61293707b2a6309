use airlock_proto::identity::{ROLE_EXTENSION_OID, Role, encode_role};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType};

use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(Path::new("/etc/airlock/policy.toml"), text).map_err(|e| e.to_string())
}

#[test]
fn an_absent_policy_and_an_empty_one_are_the_documented_defaults() {
    let policy = Policy::load(None).unwrap();
    assert_eq!(parse("").unwrap(), policy);
    assert_eq!(policy.visibility(), Visibility::Own);
    assert_eq!(policy.roles_from(), [RoleSource::Extension, RoleSource::Ou]);
    let output = policy.output();
    assert_eq!(output.per_job().to_string(), "10G");
    assert_eq!(output.when_full(), WhenFull::DropOldest);
    assert_eq!(output.keep(), Duration::from_secs(30 * 86_400));
    assert_eq!((output.keep_total().to_string(), output.reserve().to_string()), ("200G".into(), "2G".into()));
}

#[test]
fn every_setting_is_heeded() {
    let text = "visibility = \"all\"\nroles_from = []\n[output]\nper_job = \"1M\"\nwhen_full = \"stop\"\nkeep = \"1h30m\"\n\
                keep_total = \"5G\"\nreserve = 0\n";
    let policy = parse(text).unwrap();
    assert_eq!((policy.visibility(), policy.roles_from()), (Visibility::All, &[][..]));
    let output = policy.output();
    assert_eq!((output.per_job().bytes(), output.when_full()), (1 << 20, WhenFull::Stop));
    assert_eq!((output.keep(), output.keep_total().bytes()), (Duration::from_secs(5400), 5 << 30));
    assert_eq!(output.reserve().bytes(), 0);
}

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_line() {
    for (text, said) in [
        ("[output]\nper_jobs = 1\n", ":2: unknown key 'per_jobs' in [output]; did you mean 'per_job'?"),
        ("visibility = \"some\"\n", ":1: unknown variant `some`, expected `own` or `all`"),
        ("\n[output]\nkeep = \"soon\"\n", ":3: 'soon' is not a duration; use numbers with s, m, h or d, such as 1h30m"),
        ("[output]\nkeep_total = \"5GB\"\n", ":2: '5GB' could mean powers of 1000 or 1024; write G (1024)"),
    ] {
        assert_eq!(parse(text).unwrap_err(), format!("/etc/airlock/policy.toml{said}"));
    }
}

/// The policy of the operator's guide, with a rule for everybody else.
const RULES: &str = r#"
roles_from = ["extension", "ou"]

[[rule]]
match = { cn = "mallory" }
role = "none"

[[rule]]
match = { ou = "build", o = "Example" }
role = "user"
profiles = ["standard", "offline"]
group = "build"

[[rule]]
match = { cn = "ci-*", san = "spiffe://example.org/*" }
role = "user"
profiles = ["deploy-web"]

[[rule]]
match = { ou = "*" }

[group.build]
jobs = 20
memory = "64G"
cpu = 16
"#;

/// Somebody's certificate.
#[derive(Clone, Default)]
struct Person<'a> {
    name: &'a str,
    organization: &'a str,
    unit: &'a str,
    uri: &'a str,
    role: Option<Role>,
}

impl Person<'_> {
    fn identity(&self) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name);
        if !self.organization.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, self.organization);
        }
        if !self.unit.is_empty() {
            params.distinguished_name.push(DnType::OrganizationalUnitName, self.unit);
        }
        if !self.uri.is_empty() {
            params.subject_alt_names.push(SanType::URI(self.uri.try_into().unwrap()));
        }
        let extension = self.role.map(|role| CustomExtension::from_oid_content(&ROLE_EXTENSION_OID, encode_role(role)));
        params.custom_extensions.extend(extension);
        Identity::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    fn judged_by(&self, policy: &Policy) -> Result<Standing, String> {
        let standing = policy.judge(&self.identity());
        standing.map_err(|no| format!("{no} [{}]", no.decided_by()))
    }
}

#[test]
fn the_first_rule_that_fits_decides_role_profiles_and_group() {
    let policy = parse(RULES).unwrap();
    assert_eq!((policy.rules(), policy.groups()), (4, 1));
    let bob = Person { name: "bob", organization: "Example", unit: "build", ..Person::default() };
    let standing = bob.judged_by(&policy).unwrap();
    assert_eq!(standing.role, Role::User);
    assert_eq!(standing.terms.profiles().unwrap(), ["standard", "offline"]);
    let group = standing.terms.group().unwrap();
    let most = Bounds { jobs: Some(20), memory: Some(64 << 30), cpu_milli: Some(16_000) };
    assert_eq!((group.name(), group.most()), ("build", &most));
    assert_eq!(standing.terms.decided_by().to_string(), "policy.toml:8 (o Example, ou build)");
    let mallory = Person { name: "mallory", role: Some(Role::Admin), ..bob };
    let no = mallory.judged_by(&policy).unwrap_err();
    assert_eq!(no, "the policy shuts this name out; ask your operator [policy.toml:4 (cn mallory)]");
}

#[test]
fn all_that_a_rule_asks_for_must_be_met() {
    let policy = parse(RULES).unwrap();
    let web = Person { name: "ci-web", uri: "spiffe://example.org/web", ..Person::default() };
    let standing = web.judged_by(&policy).unwrap();
    assert_eq!(standing.terms.profiles().unwrap(), ["deploy-web"]);
    assert!(standing.terms.group().is_none());
    let no_rule = "no rule of the policy fits the certificate; ask your operator [no rule fits]";
    for stranger in [
        Person { uri: "spiffe://example.com/web", ..web.clone() },
        Person { uri: "", ..web.clone() },
        Person { name: "xci-web", ..web.clone() },
        Person { name: "CI-web", ..web },
    ] {
        assert_eq!(stranger.judged_by(&policy).unwrap_err(), no_rule, "{}", stranger.name);
    }
    // The organisation is another, so the rule for everybody with a unit decides.
    let elsewhere = Person { name: "bob", organization: "Other", unit: "build", ..Person::default() };
    assert!(elsewhere.judged_by(&policy).unwrap_err().contains("carries none"));
}

#[test]
fn a_rules_role_stands_above_the_certificates_and_without_one_the_certificate_decides() {
    let policy = parse(RULES).unwrap();
    let admin = Some(Role::Admin);
    let bob = Person { name: "bob", organization: "Example", unit: "build", role: admin, ..Person::default() };
    assert_eq!(bob.judged_by(&policy).unwrap().role, Role::User);
    let rita = Person { name: "rita", unit: "reader", ..Person::default() };
    let standing = rita.judged_by(&policy).unwrap();
    assert_eq!((standing.role, standing.terms.profiles()), (Role::Reader, None));
    let eve = Person { name: "eve", unit: "sales", ..Person::default() };
    assert_eq!(
        eve.judged_by(&policy).unwrap_err(),
        "the certificate carries none that the policy accepts; ask your operator for one that does [policy.toml:19 (ou *)]"
    );
}

#[test]
fn whom_no_rule_fits_has_no_role_even_with_a_certificate_that_says_admin() {
    let root = Person { name: "root", role: Some(Role::Admin), ..Person::default() };
    assert!(root.judged_by(&parse(RULES).unwrap()).is_err());
    let standing = root.judged_by(&parse("").unwrap()).unwrap();
    assert_eq!(
        standing,
        Standing { role: Role::Admin, terms: Terms::default() },
        "without rules, the certificate decides"
    );
    assert_eq!(standing.terms.decided_by().to_string(), "no rules, the certificate decides");
}

#[test]
fn a_star_ends_a_pattern_and_nothing_else() {
    let fits = |pattern: &str, text: &str| pattern.parse::<rule::Pattern>().unwrap().fits(text);
    assert!(fits("build", "build") && !fits("build", "builders") && !fits("build", "Build"));
    assert!(fits("build*", "build") && fits("build*", "builders") && !fits("build*", "rebuild"));
    assert!(fits("*", "anything"));
    for wrong in ["", "*a", "a*b", "**"] {
        assert!(wrong.parse::<rule::Pattern>().is_err(), "{wrong} was taken for a pattern");
    }
}

#[test]
fn a_rule_or_a_group_that_cannot_be_meant_is_named_with_its_line() {
    let rule = "\n[[rule]]\nmatch = { cn = \"bob\" }\n";
    for (text, said) in [
        (format!("{rule}rol = \"user\"\n"), ":4: unknown key 'rol' in [[rule]]; did you mean 'role'?"),
        (
            format!("{rule}role = \"root\"\n"),
            ":4: unknown variant `root`, expected one of `admin`, `user`, `reader`, `none`",
        ),
        (format!("{rule}group = \"build\"\n"), ":4: there is no [group.build]; the file has none"),
        (
            format!("{rule}group = \"bild\"\n[group.build]\n[group.web]\n"),
            ":4: there is no [group.bild]; groups are build, web",
        ),
        (
            format!("{rule}profiles = []\n"),
            ":4: no profile is left to start jobs in; leave profiles out for all, or use role = \"reader\"",
        ),
        (format!("{rule}profiles = [\"a\", \"b\", \"a\"]\n"), ":4: profile 'a' is listed twice"),
        (
            "[[rule]]\nrole = \"user\"\n".to_owned(),
            ":1: a rule says in match whom it fits, by cn, o, ou or san; cn = \"*\" fits everybody",
        ),
        (
            format!("{rule}[[rule]]\nmatch = {{}}\n"),
            ":4: a rule says in match whom it fits, by cn, o, ou or san; cn = \"*\" fits everybody",
        ),
        ("[[rule]]\nmatch = { cm = \"bob\" }\n".to_owned(), ":2: unknown key 'cm' in [[rule]]; did you mean 'cn'?"),
        (
            "[[rule]]\nmatch = { cn = \"b*b\" }\n".to_owned(),
            ":2: 'b*b' has a * before its end; only the last character may be one, such as ci-*",
        ),
        ("[[rule]]\nmatch = { cn = \"\" }\n".to_owned(), ":2: an empty text fits nobody; \"*\" fits whatever is there"),
        ("[group.build]\njob = 1\n".to_owned(), ":2: unknown key 'job' in [group.build]; did you mean 'jobs'?"),
        (
            "[group.build]\n\njobs = 0\n".to_owned(),
            ":3: jobs 0 leaves the group nothing to run with; leave it out for no bound",
        ),
        (
            "[group.build]\nmemory = \"64GB\"\n".to_owned(),
            ":2: '64GB' could mean powers of 1000 or 1024; write G (1024)",
        ),
        (
            "[group.build]\ncpu = \"many\"\n".to_owned(),
            ":2: 'many' is not a number of cores; use one such as 2, 1.5 or 150%",
        ),
        (
            "[group.\"a b\"]\n".to_owned(),
            ":1: group 'a b' is not 1 to 64 letters, digits, dashes, underscores and dots",
        ),
    ] {
        assert_eq!(parse(&text).unwrap_err(), format!("/etc/airlock/policy.toml{said}"), "{text}");
    }
}

#[test]
fn cores_of_a_group_are_written_as_a_number_or_a_percentage() {
    for (written, milli) in [("16", 16_000), ("1.5", 1500), ("\"150%\"", 1500), ("\"14\"", 14_000)] {
        let text =
            format!("[[rule]]\nmatch = {{ cn = \"*\" }}\nrole = \"user\"\ngroup = \"g\"\n[group.g]\ncpu = {written}\n");
        let standing = Person { name: "bob", ..Person::default() }.judged_by(&parse(&text).unwrap()).unwrap();
        assert_eq!(standing.terms.group().unwrap().most().cpu_milli, Some(milli), "{written}");
    }
}

#[test]
fn the_policies_that_are_shipped_and_shown_are_good_ones() {
    let shipped = include_str!("../../../deploy/deb/etc/policy.toml");
    assert_eq!(parse(shipped).unwrap(), Policy::default());
    // Commented-out settings begin at the sign, remarks after a space.
    let lines =
        shipped.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line));
    let uncommented = parse(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!((uncommented.rules(), uncommented.groups()), (3, 1));
    let guide = include_str!("../../../docs/operator.md");
    let (_, example) = guide.split_once("```toml\n[[rule]]").expect("the guide shows rules");
    let shown = parse(&format!("[[rule]]{}", example.split("```").next().unwrap_or_default())).unwrap();
    assert_eq!((shown.rules(), shown.groups()), (3, 1));
}

//! `airlock doctor`: looks for what is wrong between here and there, one line for each thing looked at.

mod findings;

use crate::{
    args::{Format, GlobalArgs},
    failure::{Ending, Failure},
    present::{sizes, style::Paint, time},
    sentences,
    settings::Settings,
    talk::data,
};
use airlock_client::{CertificateFacts, Client, DialError, Error, Identity, Target, api};
use findings::Findings;
use std::time::{Duration, SystemTime};

const DAY: u64 = 86_400;
/// A certificate that ends within this many days is worth a warning.
const SOON: u64 = 14;
/// Clocks further apart than this make certificates and deadlines unreliable.
const APART: Duration = Duration::from_secs(2);

/// Looks at everything and ends with 1 when something failed.
///
/// # Errors
/// Only when the findings cannot be written.
pub async fn doctor(global: &GlobalArgs, format: Format) -> Result<Ending, Failure> {
    let mut findings = Findings::default();
    if let Some(client) = this_side(global, &mut findings) {
        that_side(&client, &mut findings).await;
    }
    data(match format {
        Format::Json => findings.json(),
        Format::Text => findings.text(Paint::for_stdout()),
    })?;
    Ok(Ending::Status(u8::from(findings.failed() > 0)))
}

fn this_side(global: &GlobalArgs, findings: &mut Findings) -> Option<Client> {
    let settings = match Settings::find(global) {
        Ok(settings) => settings,
        Err(failure) => {
            findings.fail_as("config", &failure);
            return None;
        }
    };
    let file = settings.file.display();
    let context = settings
        .context
        .as_ref()
        .map_or("no context".to_owned(), |context| format!("context {} ({})", context.value, context.source));
    let file = if settings.file.exists() { file.to_string() } else { format!("no file {file}") };
    findings.ok("config", format!("{file}, {context}; server {} ({})", settings.server.value, settings.server.source));
    let name = &settings.identity.value;
    let identity = match Identity::load(&settings.certs.value, name) {
        Ok(identity) => identity,
        Err(error) => {
            findings.fail("identity", error.to_string(), None);
            return None;
        }
    };
    let facts = identity.facts();
    let by_own_authority = identity.is_by_own_authority();
    let target = Target::new(
        settings.server.value.clone(),
        settings.server_name.as_ref().map(|name| name.value.as_str()),
        identity,
    );
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            findings.fail("identity", error.to_string(), None);
            return None;
        }
    };
    match by_own_authority {
        true => findings.ok(
            "identity",
            format!("{name}: certificate, key and CA belong together; key readable by its owner alone"),
        ),
        false => findings.warn(
            "identity",
            format!(
                "{name}: certificate and key belong together, but another authority than those in ca.crt signed it"
            ),
            Some("right only where servers and people have different authorities".to_owned()),
        ),
    }
    if let Some(facts) = &facts {
        validity(
            "identity",
            "certificate",
            facts,
            Some(format!("renew: airlock certs request {name} --renew --out {}", settings.certs.value.display())),
            findings,
        );
    }
    // It reports what is so now.
    Some(Client::new(target).with_patience(Duration::ZERO))
}

async fn that_side(client: &Client, findings: &mut Findings) {
    match client.examine_network().await {
        Ok(network) => {
            findings.ok(
                "server",
                format!(
                    "{} resolves to {} and answers in {} ms",
                    client.server(),
                    network.address.ip(),
                    network.took.as_millis()
                ),
            );
            let names = network
                .certificate
                .as_ref()
                .map_or(String::new(), |facts| format!(", server certificate names {}", facts.names.join(", ")));
            findings.ok("tls", format!("TLS 1.3, {}{names}", network.key_exchange));
            if let Some(facts) = &network.certificate {
                validity("tls", "server certificate", facts, Some("tell the server's operator".to_owned()), findings);
            }
        }
        Err(error) => {
            let what = if matches!(error, Error::Refused { .. }) { "tls" } else { "server" };
            let remedy = match &error {
                Error::Unreachable(DialError::NotListening { .. }) => {
                    Some("on the server: systemctl status airlock-frontend")
                }
                Error::Unreachable(DialError::Resolve { .. }) => {
                    Some("write the server's whole name or its address; getent hosts NAME asks as airlock does")
                }
                _ => None,
            };
            let failure = sentences::explain(client, error);
            match remedy {
                Some(remedy) => findings.fail_as(what, &failure.hint(remedy)),
                None => findings.fail_as(what, &failure),
            }
            return;
        }
    }
    let asked = SystemTime::now();
    let info = match client.server_info().await {
        Ok(info) => info,
        Err(error) => {
            findings.fail_as("access", &sentences::explain(client, error));
            return;
        }
    };
    clock(asked, SystemTime::now(), &info, findings);
    match client.who_am_i().await {
        Ok(me) => {
            let profiles = sizes::counted(me.profiles.len() as u64, "profile");
            let found = format!("{} has role {}, {profiles}", me.name, me.role);
            access(found, me.group.as_ref(), findings);
        }
        Err(error) => findings.fail_as("access", &sentences::explain(client, error)),
    }
    executor(&info, findings);
}

fn access(found: String, group: Option<&api::Group>, findings: &mut Findings) {
    let Some(group) = group else { return findings.ok("access", found) };
    let text = match group.max_jobs {
        Some(most) => format!("{found}, group {} {} of {}", group.name, group.jobs, sizes::counted(most, "job")),
        None => format!("{found}, group {} {}", group.name, sizes::counted(group.jobs, "job")),
    };
    let full = [
        ("jobs", group.max_jobs.is_some_and(|most| group.jobs >= most)),
        ("memory", group.max_memory_bytes.is_some_and(|most| group.memory_bytes >= most)),
        ("cores", group.max_cpu_cores.is_some_and(|most| group.cpu_cores >= most)),
    ];
    let full: Vec<&str> = full.into_iter().filter_map(|(word, full)| full.then_some(word)).collect();
    if full.is_empty() {
        return findings.ok("access", text);
    }
    let text = format!("{text}; the group is full ({}), so starts are refused", full.join(", "));
    findings.warn("access", text, Some("wait for a job of the group to end, or ask your operator".to_owned()));
}

fn validity(
    what: &'static str,
    whose: &str,
    facts: &CertificateFacts,
    remedy: Option<String>,
    findings: &mut Findings,
) {
    let now = SystemTime::now();
    let day = time::day(facts.not_after);
    let days = |days| sizes::counted(days, "day");
    match facts.not_after.duration_since(now).map(|left| left.as_secs() / DAY) {
        Err(_) => findings.fail(what, format!("{whose} ended on {day}"), remedy),
        Ok(_) if facts.not_before > now => {
            findings.fail(
                what,
                format!("{whose} is not valid before {}", time::day(facts.not_before)),
                Some("compare the clocks".into()),
            );
        }
        Ok(left) if left < SOON => findings.warn(what, format!("{whose} ends in {} ({day})", days(left)), remedy),
        Ok(left) => findings.ok(what, format!("{whose} valid {} ({day})", days(left))),
    }
}

fn clock(asked: SystemTime, answered: SystemTime, info: &api::GetServerInfoResponse, findings: &mut Findings) {
    let Some(there) = time::from_proto(info.time.as_ref()).map(SystemTime::from) else {
        findings.warn("clock", "the server does not tell its time".to_owned(), None);
        return;
    };
    let travel = answered.duration_since(asked).unwrap_or_default();
    let here = asked + travel / 2;
    let apart = here.duration_since(there).unwrap_or_else(|error| error.duration());
    // Half the way there and back is as exact as it gets.
    if apart > APART + travel {
        let text = format!("this clock and the server's are {} apart", time::span(apart));
        findings.warn("clock", text, Some("certificates and deadlines go by the server's; set both by NTP".to_owned()));
    } else {
        findings.ok("clock", format!("{} ms apart", apart.as_millis()));
    }
}

fn executor(info: &api::GetServerInfoResponse, findings: &mut Findings) {
    let now = jiff::Timestamp::now();
    let Some(executor) = &info.executor else {
        findings.warn("executor", "the server does not tell about its executor".to_owned(), None);
        return;
    };
    let since = time::from_proto(executor.since.as_ref());
    if executor.connected {
        let since = since.map_or(String::new(), |since| format!(" since {}", time::full(since)));
        let jobs = sizes::counted(info.live_jobs, "live job");
        findings.ok(
            "executor",
            format!("version {}, cgroups {}, connected{since}, {jobs}", executor.version, executor.cgroups),
        );
    } else {
        let since = since.map_or(String::new(), |since| {
            format!(" since {} ({})", time::clock(since, Some(now)), time::ago(since, now))
        });
        let (found, remedy) = match executor.seen {
            true => (
                format!("the server has no executor{since}: new jobs are refused, running jobs go on"),
                "on the server: systemctl status airlock-executor; airlock-executor --check",
            ),
            false => (
                format!("the server has no executor and has seen none{since}: nothing can be started until one runs"),
                "on the server: systemctl enable --now airlock-executor; if it does not start: airlock-executor --check",
            ),
        };
        findings.fail("executor", found, Some(remedy.to_owned()));
    }
    if let Some(held) = &info.guarantees {
        guarantees(held, executor.connected, findings);
    }
    for warning in &info.warnings {
        findings.warn("policy", warning.clone(), None);
    }
}

fn guarantees(held: &api::Guarantees, has_executor: bool, findings: &mut Findings) {
    // What the executor promises is known only while there is one, and its absence is a finding already.
    let missing = [
        (held.durable_records, "records are on disk before an answer"),
        (held.limits_read_back || !has_executor, "limits are read back"),
        (held.audit || !has_executor, "no start without an audit line"),
        (held.output_acknowledged, "output is kept until it stands in the log"),
    ];
    for (_, guarantee) in missing.iter().filter(|(holds, _)| !holds) {
        findings.warn("guarantees", format!("switched off on this server: {guarantee}"), None);
    }
}

//! `airlock whoami`

use crate::{
    args::Format,
    failure::{DONE, Ending, Failure},
    present::{
        json::{self, LimitsObject},
        sanitize, sizes, time,
    },
    session::Session,
    talk::data,
};
use airlock_client::api;
use jiff::Timestamp;
use serde::Serialize;

#[derive(Serialize)]
struct Me<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    units: &'a [String],
    role: &'a str,
    host: &'a str,
    visibility: &'a str,
    certificate_serial: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_not_after: Option<String>,
    client_version: &'static str,
    server_version: &'a str,
    profiles: Vec<ProfileObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupObject<'a>>,
}

#[derive(Serialize)]
struct GroupObject<'a> {
    name: &'a str,
    jobs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs: Option<u64>,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory_bytes: Option<u64>,
    #[serde(serialize_with = "json::plain_number")]
    cpu_cores: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json::plain_number")]
    max_cpu_cores: Option<f64>,
}

#[derive(Serialize)]
struct ProfileObject<'a> {
    name: &'a str,
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_limits: Option<LimitsObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_limits: Option<LimitsObject>,
    max_input_bytes: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    fixed_command: &'a [String],
    no_network: bool,
    fresh_cwd: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cwd: &'a [String],
    path: &'a str,
}

/// Shows who the caller is to the server and what they may ask for.
///
/// # Errors
/// An unreachable server, a caller without any role.
pub async fn whoami(session: &Session) -> Result<Ending, Failure> {
    let me = session.client.who_am_i().await.map_err(|error| session.explain(error))?;
    data(match session.format {
        Format::Json => json::line(&object(&me)),
        Format::Text => text(&me, Timestamp::now()),
    })?;
    Ok(DONE)
}

fn object(me: &api::WhoAmIResponse) -> Me<'_> {
    Me {
        name: &me.name,
        units: &me.units,
        role: &me.role,
        host: &me.host,
        visibility: &me.visibility,
        certificate_serial: &me.certificate_serial,
        certificate_not_after: time::from_proto(me.certificate_not_after.as_ref()).map(time::rfc3339),
        client_version: env!("CARGO_PKG_VERSION"),
        server_version: &me.server_version,
        profiles: me.profiles.iter().enumerate().map(|(index, profile)| profile_object(index, profile)).collect(),
        group: me.group.as_ref().map(|group| GroupObject {
            name: &group.name,
            jobs: group.jobs,
            max_jobs: group.max_jobs,
            memory_bytes: group.memory_bytes,
            max_memory_bytes: group.max_memory_bytes,
            cpu_cores: Some(group.cpu_cores),
            max_cpu_cores: group.max_cpu_cores,
        }),
    }
}

fn profile_object(index: usize, profile: &api::Profile) -> ProfileObject<'_> {
    ProfileObject {
        name: &profile.name,
        default: index == 0,
        default_limits: profile.default_limits.as_ref().map(LimitsObject::of),
        max_limits: profile.max_limits.as_ref().map(LimitsObject::of),
        max_input_bytes: profile.max_input_bytes,
        fixed_command: &profile.fixed_command,
        no_network: profile.no_network,
        fresh_cwd: profile.fresh_cwd,
        cwd: &profile.cwd,
        path: &profile.path,
    }
}

fn text(me: &api::WhoAmIResponse, now: Timestamp) -> String {
    let units: Vec<String> = me.units.iter().map(|unit| format!("ou {unit}")).collect();
    let units = if units.is_empty() { String::new() } else { format!(" ({})", units.join(", ")) };
    let valid = time::from_proto(me.certificate_not_after.as_ref()).map_or(String::new(), |end| {
        let days = end.duration_since(now).as_hours() / 24;
        format!(", certificate valid {}", sizes::counted(u64::try_from(days).unwrap_or(0), "more day"))
    });
    let mut lines = vec![
        format!("{}{units} on {}, role {}{valid}", me.name, me.host, me.role),
        format!("airlock {} here, {} there", env!("CARGO_PKG_VERSION"), me.server_version),
    ];
    // A reader starts nothing, whatever profiles there are.
    let profiles = if me.role == "reader" { &[][..] } else { &me.profiles };
    let name = |index: usize, profile: &api::Profile| format!("{}{}", profile.name, if index == 0 { "*" } else { "" });
    let width = profiles.iter().enumerate().map(|(index, profile)| name(index, profile).chars().count()).max();
    let width = width.unwrap_or(0);
    for (index, profile) in profiles.iter().enumerate() {
        let label = if index == 0 { "profiles" } else { "" };
        let described = describe(profile, profiles.get(..index).unwrap_or(&[]));
        lines.push(format!("{label:<9}  {:<width$}  {described}", name(index, profile)));
    }
    if profiles.is_empty() {
        lines.push("profiles   none: you may look, and start nothing".to_owned());
    }
    lines.extend(me.group.as_ref().map(|group| format!("group      {}", describe_group(group))));
    lines.iter().map(|line| sanitize(line)).collect::<Vec<_>>().join("\n")
}

fn describe_group(group: &api::Group) -> String {
    let of = |taken: String, most: Option<String>| most.map_or(taken.clone(), |most| format!("{taken} of {most}"));
    let jobs = match group.max_jobs {
        Some(most) => format!("{} of {}", group.jobs, sizes::counted(most, "job")),
        None => sizes::counted(group.jobs, "job"),
    };
    let memory = of(sizes::exact(group.memory_bytes), group.max_memory_bytes.map(sizes::exact));
    let cores = of(sizes::cores(group.cpu_cores), group.max_cpu_cores.map(sizes::cores));
    let plural = if cores == "1" || cores.ends_with(" of 1") { "" } else { "s" };
    format!("{}: {jobs}, {memory} memory, {cores} core{plural} in use", group.name)
}

fn describe(profile: &api::Profile, earlier: &[api::Profile]) -> String {
    if !profile.fixed_command.is_empty() {
        return format!("fixed command: {}", profile.fixed_command.join(" "));
    }
    let same = |other: &&api::Profile| {
        let like_other = api::Profile { name: other.name.clone(), no_network: other.no_network, ..profile.clone() };
        like_other == **other && profile.no_network && !other.no_network
    };
    if let Some(other) = earlier.iter().find(same) {
        return format!("as {}, without network", other.name);
    }
    let none = api::Limits::default();
    let (usual, most) =
        (profile.default_limits.as_ref().unwrap_or(&none), profile.max_limits.as_ref().unwrap_or(&none));
    // Said once what stands in brackets.
    let mut at_most = "at most ";
    let mut pair = |what: &str, usual: Option<String>, most: Option<String>| match (usual, most) {
        (Some(usual), Some(most)) if usual != most => {
            Some(format!("{what} {usual} ({}{most})", std::mem::take(&mut at_most)))
        }
        (Some(value), _) => Some(format!("{what} {value}")),
        (None, Some(most)) => Some(format!("{what} at most {most}")),
        (None, None) => None,
    };
    let count = |number: Option<u64>| number.map(|number| number.to_string());
    let mut parts = vec![
        pair("cpu", usual.cpu_cores.map(sizes::cores), most.cpu_cores.map(sizes::cores)),
        pair("memory", usual.memory_bytes.map(sizes::exact), most.memory_bytes.map(sizes::exact)),
        pair(
            "swap",
            usual.swap_bytes.filter(|swap| *swap > 0).map(sizes::exact),
            most.swap_bytes.filter(|swap| *swap > 0).map(sizes::exact),
        ),
        pair("pids", count(usual.pids), count(most.pids)),
        pair(
            "timeout",
            usual.timeout_seconds.map(time::span_of_seconds),
            most.timeout_seconds.map(time::span_of_seconds),
        ),
    ];
    parts.push((profile.max_input_bytes > 0).then(|| format!("input {}", sizes::exact(profile.max_input_bytes))));
    parts.push(profile.no_network.then(|| "no network".to_owned()));
    parts.push((!profile.cwd.is_empty()).then(|| format!("directories {}", profile.cwd.join(" "))));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(" · ")
}

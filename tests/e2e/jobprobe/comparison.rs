//! What of a probe's document differs from host to host, and the words that stand for it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use airlock_e2e::probe;
use serde_json::{Map, Value, json};

use super::mounts;

/// What is known of a job and of the host it ran on.
pub struct Given {
    pub job: String,
    pub uid: String,
    pub pid: String,
    /// The stack's folder.
    pub stack: String,
    /// The stack's cgroup.
    pub cgroup: String,
    /// The probe's document of the executor, from before the job and from after it.
    pub executor: [Value; 2],
    /// Resource limits that the profile sets; they are compared as they are.
    pub limits: &'static [&'static str],
}

/// What a job has from the executor, since nobody chose otherwise.
const AS_THE_EXECUTOR: [&str; 10] = [
    "/core_dump_filter", "/login_user", "/audit_session", "/memory_nodes", "/personality", "/processors",
    "/security_label", "/session/nice", "/timer_slack", "/host_name",
];
const OPEN_FILES: &str = "Max open files";
const OPEN_FILES_MOST: u64 = 65_536;

impl Given {
    /// The document with words in the place of what differs from host to host.
    pub fn named(&self, mut document: Value) -> Value {
        let executor = &self.executor[1];
        let of_host = |document: &Value, kind: &str| document["namespaces"][kind] == executor["namespaces"][kind];
        if of_host(&document, "mnt") {
            self.name_what_the_host_shows(&mut document);
        }
        if document["working_directory"].as_str().is_some_and(|path| !path.contains(&self.job)) {
            document["directory"] = "<the host's>".into();
        }
        if of_host(&document, "net") {
            document["interfaces"] = "<the host's>".into();
        }
        let within = of_host(&document, "mnt");
        document["mounts"] =
            mounts::compared(&document["mounts"], &self.executor.each_ref().map(|e| &e["mounts"]), within);
        document["control_groups"] = control_groups(&document["control_groups"], &executor["control_groups"]);
        document["devices"] = beyond_everybody(&document["devices"]);
        document["kernel_settings"] = beyond_everybody(&document["kernel_settings"]);
        document["keys"] = strange_keys(&document["keys"]);
        // Whoever started the executor may have filters of their own.
        let filters = |document: &Value| document["seccomp"]["filters"].as_str().and_then(|n| n.parse::<u32>().ok());
        document["seccomp"]["filters"] = json!(filters(&document).zip(filters(executor)).map(|(job, own)| job - own));
        for (name, own) in members(&mut document["namespaces"]) {
            *own = if *own == executor["namespaces"][name] { "the executor's" } else { "its own" }.into();
        }
        for (name, limit) in members(&mut document["limits"]) {
            let of_executor = &executor["limits"][name];
            if name == OPEN_FILES && self.limits.contains(&OPEN_FILES) && limit[1] == most_open_files(of_executor) {
                limit[1] = format!("{OPEN_FILES_MOST}, or the executor's most").into();
            } else if limit == of_executor && !self.limits.contains(&name.as_str()) {
                *limit = "<as the executor>".into();
            }
        }
        let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        for place in AS_THE_EXECUTOR {
            let of_executor = executor.pointer(place).cloned().unwrap_or_else(|| host_name.trim_end().into());
            if let Some(value) = document.pointer_mut(place)
                && *value == of_executor
            {
                *value = "<as the executor>".into();
            }
        }
        name_words(&mut document["session"], &self.pid, "<pid>");
        self.name_all(&mut document);
        document
    }

    // The keeper is there among all others of the host.
    fn name_what_the_host_shows(&self, document: &mut Value) {
        let parent = document["session"]["parent"].as_str().unwrap_or_default().to_owned();
        let keeper = format!("{parent} airlock-keeper ");
        if texts(&document["processes"]).any(|process| process.starts_with(&keeper)) {
            document["session"]["parent"] = "<keeper>".into();
        }
        document["processes"] = "<the host's>".into();
        document["folders"] = "<the host's>".into();
    }

    fn name_all(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.name(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.name_all(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.name_all(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn name(&self, text: &str) -> String {
        let text = text.replace(&self.job, "<job>").replace(&self.stack, "<stack>").replace(&self.cgroup, "<cgroup>");
        // As a word of its own: a short number is part of many longer ones.
        let word = |word: &str| if word == self.uid { "<uid>".to_owned() } else { word.to_owned() };
        let text = text.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.replace(&format!("airlock-{}", self.uid), "airlock-<uid>")
    }
}

fn name_words(value: &mut Value, text: &str, name: &str) {
    for (_, value) in members(value) {
        if *value == text {
            *value = name.into();
        }
    }
}

/// Lines of one document and not of the other, each with its place, with `-` for what is missing and `+` for what is new.
pub fn differences(written_down: &Value, found: &Value) -> String {
    let [written_down, found] = [written_down, found].map(|document| {
        let mut lines = Vec::new();
        flatten("", document, &mut lines);
        lines
    });
    let only_in = |one: &[String], other: &[String], sign: char| {
        let mut others = other.to_vec();
        let lone = one.iter().filter(|line| match others.iter().position(|other| other == *line) {
            Some(at) => {
                others.remove(at);
                false
            }
            None => true,
        });
        lone.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only_in(&written_down, &found, '-') + &only_in(&found, &written_down, '+')
}

// An entry of a list stands without its number: one that is new does not make all behind it differ. An empty one is a line too.
fn flatten(place: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| flatten(&format!("{place}/{name}"), value, lines));
        }
        Value::Array(values) if !values.is_empty() => {
            values.iter().for_each(|value| flatten(&format!("{place}[]"), value, lines));
        }
        value => lines.push(format!("{place}: {value}")),
    }
}

pub(super) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

// The executor has no capability to hand out more than it has itself.
fn most_open_files(of_executor: &Value) -> Value {
    let own = of_executor[1].as_str().and_then(|most| most.parse().ok()).unwrap_or(u64::MAX);
    own.min(OPEN_FILES_MOST).to_string().into()
}

// What the mode of a file gives to everybody, a host gives to everybody.
fn beyond_everybody(usable: &Value) -> Value {
    let everybody = |line: &str| {
        let (path, how) = line.rsplit_once(' ').unwrap_or((line, ""));
        let bit = if how == "write" { 0o002 } else { 0o004 };
        fs::metadata(Path::new(path)).is_ok_and(|about| about.permissions().mode() & bit != 0)
    };
    let needed = ["/dev/null write", "/dev/zero read", "/dev/urandom read"];
    let beyond: Vec<&str> = texts(usable).filter(|line| !everybody(line)).collect();
    let mut compared = Map::new();
    compared.insert("beyond what everybody may".into(), beyond.into());
    let needed: Vec<&str> = texts(usable).filter(|line| needed.contains(line)).collect();
    if !needed.is_empty() {
        compared.insert("that programs need".into(), needed.into());
    }
    compared.into()
}

// A job has the session's keyring of whoever started the executor, which differs from host to host; its filter refuses the calls
// that could use it. What a key is called ends where the size of its content begins.
fn strange_keys(of_job: &Value) -> Value {
    let name = |key: &str| key.split(':').next().unwrap_or_default().to_owned();
    let session: BTreeSet<String> = texts(&probe::keys()).map(name).collect();
    let strange = texts(of_job).map(name).filter(|key| !session.contains(key));
    let mut compared = Map::new();
    compared.insert("beyond those of the executor's session".into(), strange.collect());
    compared.into()
}

/// The groups in which the executor is not, whatever the hierarchies are called: one path in either layout.
fn control_groups(of_job: &Value, of_executor: &Value) -> Value {
    let executor: Vec<&str> = texts(of_executor).collect();
    let own = texts(of_job).filter(|line| !executor.contains(line));
    let paths: BTreeSet<&str> = own.filter_map(|line| line.split_once(':').map(|(_, path)| path)).collect();
    paths.into_iter().collect()
}

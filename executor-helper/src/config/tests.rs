//! What a configuration can mean, and the sentence for each that it cannot.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod example;
mod files;
mod refusals;
mod units;

use std::fs;

use super::{Config, Users};

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
toor:x:0:500:second root:/root:/bin/sh
wheel:x:501:0:of root's group:/home/wheel:/bin/sh
airlock:x:900:900::/nonexistent:/usr/sbin/nologin
same:x:900:1001:the frontend under another name:/nonexistent:/bin/sh
deploy:x:1000:1000::/home/deploy:/bin/sh
ops:x:1002:1002::/home/ops:/bin/sh
broken line
nameless
odd:x:notanumber:1:::
";
const GROUP: &str = "\
root:x:0:
airlock:x:900:
deploy:x:1000:deploy
ops:x:1002:
docker:x:998:ops,somebody
build:x:1003:
zero:x:0:ops2
shared:x:1900100000:
";

/// Users and groups of an imagined host.
pub(crate) fn users() -> Users {
    users_of(PASSWD, GROUP, "root:1000000:65536\nbob:1900200000:65536\n", "eve:1900300000:10\n")
}

fn users_of(passwd: &str, group: &str, subuid: &str, subgid: &str) -> Users {
    let etc = tempfile::tempdir().unwrap();
    for (name, text) in [("passwd", passwd), ("group", group), ("subuid", subuid), ("subgid", subgid)] {
        fs::write(etc.path().join(name), text).unwrap();
    }
    Users::read(etc.path()).unwrap()
}

/// Parses the text as executor.toml of the imagined host.
pub(crate) fn parsed(text: &str) -> Result<Config, String> {
    Config::parse(text, &users())
}

/// The least that is a configuration, with these lines in it.
pub(crate) fn with_profile(lines: &str) -> String {
    format!(
        r#"
frontend_user = "airlock"
uid_pool = {{ first = 1900000000, count = 65536 }}
[profile.p]
run_as = "pool"
limits.cpu = {{ default = "2", max = "8" }}
limits.memory = {{ default = "1G", max = "16G" }}
limits.pids = {{ default = 512, max = 4096 }}
{lines}
"#
    )
}

fn why_not(text: &str) -> String {
    match parsed(text) {
        Err(why) => why,
        Ok(_) => panic!("this was taken as a configuration:\n{text}"),
    }
}

//! Users and groups of this host, read from files. Root asks no name service: profiles may only name users of /etc/passwd.

use std::{fs, io, path::Path};

/// A user of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// What the four files say.
#[derive(Debug, Default)]
pub struct Users {
    passwd: Vec<User>,
    groups: Vec<(String, u32, Vec<String>)>,
    subordinate: Vec<(u32, u32)>,
}

impl Users {
    /// Reads passwd, group, subuid and subgid below `etc`; the last two may be missing.
    pub fn read(etc: &Path) -> io::Result<Self> {
        let optional = |name| match fs::read_to_string(etc.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let subordinate = optional("subuid")? + "\n" + &optional("subgid")?;
        Ok(Self::parse(&fs::read_to_string(etc.join("passwd"))?, &fs::read_to_string(etc.join("group"))?, &subordinate))
    }

    /// What the texts of these files say. Lines that are none are left out.
    pub fn parse(passwd: &str, group: &str, subordinate: &str) -> Self {
        let a_user = |line: &str| {
            let [name, _, uid, gid, _, home, ..] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            Some(User { name: name.into(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into() })
        };
        let a_group = |line: &str| {
            let [name, _, gid, members, ..] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            Some((name.to_owned(), gid.parse().ok()?, members.split(',').map(str::to_owned).collect()))
        };
        // A range may end beyond the last uid; what of it exists counts.
        let a_range = |line: &str| {
            let [_, first, count, ..] = line.split(':').collect::<Vec<_>>()[..] else { return None };
            Some((first.parse().ok()?, u32::try_from(count.parse::<u64>().ok()?).unwrap_or(u32::MAX)))
        };
        Self {
            passwd: passwd.lines().filter_map(a_user).collect(),
            groups: group.lines().filter_map(a_group).collect(),
            subordinate: subordinate.lines().filter_map(a_range).collect(),
        }
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.passwd.iter().find(|user| user.name == name)
    }

    /// The gid of the group of this name.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find(|(group, ..)| group == name).map(|(_, gid, _)| *gid)
    }

    /// The name of the group with this gid.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        self.groups.iter().find(|(_, id, _)| *id == gid).map(|(name, ..)| name.as_str())
    }

    /// Names of the supplementary groups that list this user.
    pub fn groups_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a str> {
        let listed = |(_, gid, members): &&(String, u32, Vec<String>)| *gid != user.gid && members.contains(&user.name);
        self.groups.iter().filter(listed).map(|(group, ..)| group.as_str())
    }

    /// What already uses an id of `first..first+count`, in words.
    pub fn conflict(&self, first: u32, count: u32) -> Option<String> {
        let last = first.saturating_add(count.saturating_sub(1));
        let within = |id: u32| (first..=last).contains(&id);
        let user = self.passwd.iter().find(|u| within(u.uid) || within(u.gid)).map(|u| format!("user {}", u.name));
        let group = || self.groups.iter().find(|(_, gid, _)| within(*gid)).map(|(name, ..)| format!("group {name}"));
        let overlaps = |(f, c): &&(u32, u32)| *f <= last && first <= f.saturating_add(c.saturating_sub(1));
        let subordinate = || self.subordinate.iter().find(overlaps).map(|(f, c)| format!("subordinate ids {f}+{c}"));
        user.or_else(group).or_else(subordinate)
    }
}

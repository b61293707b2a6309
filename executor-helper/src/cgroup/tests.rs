//! Finding the hierarchies in what the kernel lists.

use std::path::PathBuf;

use super::{Hierarchy, mount_points};

const HYBRID: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
24 22 0:5 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/cpuset rw shared:11 - cgroup cgroup rw,cpuset
34 30 0:30 / /sys/fs/cgroup/memory rw shared:12 master:3 - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
a broken line
";

fn found(kind: &str, option: Option<&str>) -> Vec<PathBuf> {
    mount_points(HYBRID, kind, option).collect()
}

#[test]
fn the_unified_tree_is_found_among_other_mounts() {
    assert_eq!(found("cgroup2", None), [PathBuf::from("/sys/fs/cgroup/unified")]);
}

#[test]
fn a_controller_is_found_by_its_whole_name() {
    assert_eq!(found("cgroup", Some("cpu")), [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")]);
    assert_eq!(found("cgroup", Some("memory")), [PathBuf::from("/sys/fs/cgroup/memory")]);
    assert_eq!(found("cgroup", Some("blkio")), Vec::<PathBuf>::new());
    assert_eq!(found("cgroup", Some("mem")), Vec::<PathBuf>::new());
}

#[test]
fn a_list_without_a_tree_has_none() {
    assert_eq!(mount_points("", "cgroup2", None).next(), None);
    assert_eq!(mount_points("x - \n - cgroup2\n", "cgroup2", None).next(), None);
}

#[test]
fn a_unit_that_does_not_run_is_named_and_its_group_is_not_made() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(root) = mount_points(&mounts, "cgroup2", None).next() else {
        println!("skipped: a_unit_that_does_not_run_is_named_and_its_group_is_not_made: no cgroup v2 is mounted");
        return;
    };
    let opened = Hierarchy::open("airlock-none-such.service", None);
    let said = opened.err().unwrap_or_default();
    assert!(said.contains("systemctl start airlock-none-such.service"), "{said}");
    assert!(!root.join("airlock-none-such.service").exists(), "a group that only systemd may make was made");
}

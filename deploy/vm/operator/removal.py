"""Removal and purge: nothing runs and nothing is left but what the operator owns."""

import pathlib

from host import expect, sh, start


def removal_ends_everything_and_keeps_data(operator):
    start("-- sleep 1000", user="root")
    operator.follow("remove")
    expect(sh("pgrep -l airlock", code=None).out == "", sh("pgrep -l airlock", code=None))
    expect(not pathlib.Path("/sys/fs/cgroup/system.slice/airlock-jobs.service").exists(), "the jobs' cgroup is there")
    expect(pathlib.Path("/var/lib/airlock/frontend/records.db").exists(), "the records are gone")
    expect(pathlib.Path("/etc/airlock/executor.toml").exists(), "the configuration is gone")


def purge_leaves_what_the_operator_owns(operator):
    operator.follow("purge")
    # The tree that these checks come from lies where it lay on the host.
    tree = pathlib.Path.cwd()
    left = sh("find / -xdev -name '*airlock*' -not -path '/root/*' -not -path '/home/*' -not -path '/payload/*' "
              "-not -path '/var/lib/airlock-checks.json' -not -path '/etc/systemd/system/*airlock-guest*' "
              f"-not -path '/var/cache/*' -not -path '/var/backups/*' -not -path '{tree}*'", code=None).out.split()
    allowed = ("/etc/airlock", "/etc/systemd/system/airlock-executor.service.d", "/tmp/")
    expect(all(path.startswith(allowed) for path in left), left)
    own = sh("ls /etc/airlock").out.split()
    expect(own == ["ca", "tls"], own)
    expect(sh("getent passwd airlock", code=None).out == "", "the user is there")
    expect("airlock" not in pathlib.Path("/etc/nsswitch.conf").read_text(), "/etc/nsswitch.conf names what is gone")
    units = sh("systemctl list-units --all --no-legend 'airlock-*'").out
    expect("airlock-executor" not in units and "airlock-frontend" not in units and "airlock-jobs" not in units, units)


CHECKS = [removal_ends_everything_and_keeps_data, purge_leaves_what_the_operator_owns]

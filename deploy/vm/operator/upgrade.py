"""From one version of the package to the next and back, under running jobs."""

import os
import pathlib
import re

from host import Marathon, bob, expect, main_pid, serves, sh, show, wait_for

HALVES = ("airlock-executor", "airlock-frontend")


def version():
    return sh("dpkg-query --showformat '${Version}' --show airlock").out


def change(operator, job, install):
    before = version()
    pids = {unit: main_pid(unit) for unit in HALVES}
    holder = show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")
    install()
    expect(version() != before, f"still {before}")
    wait_for("jobs can be run again", serves)
    for unit, pid in pids.items():
        now = main_pid(unit)
        expect(now != pid, f"{unit} was not restarted")
        expect("(deleted)" not in os.readlink(f"/proc/{now}/exe"), f"{unit} runs the old program")
    expect((show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")) == holder, "airlock-jobs.service was restarted")
    job.goes_on()


def an_upgrade_spares_jobs_and_restarts_both_halves(operator):
    job = Marathon()
    change(operator, job, lambda: operator.follow("upgrade", cwd="/root/new"))
    change(operator, job, lambda: sh("apt-get install -y --allow-downgrades ./airlock_*.deb", cwd="/root/old", seconds=600))
    job.finish()


def an_upgrade_keeps_what_the_operator_changed(_operator):
    sh("chmod 0644 /etc/airlock/policy.toml; echo '# mine' >> /etc/airlock/policy.toml")
    mine = sh("sha256sum /etc/airlock/policy.toml /etc/airlock/executor.toml").out
    sh("apt-get install -y ./airlock_*.deb", cwd="/root/new", seconds=600)
    expect(sh("sha256sum /etc/airlock/policy.toml /etc/airlock/executor.toml").out == mine, "a changed file was replaced")
    expect(sh("stat -c %a /etc/airlock/policy.toml").out == "644", "a changed mode was replaced")
    wait_for("jobs can be run again", serves)


def an_upgrade_starts_nothing_that_was_stopped(_operator):
    sh("systemctl stop airlock-frontend")
    sh("apt-get install -y --reinstall ./airlock_*.deb", cwd="/root/new", seconds=600)
    expect(main_pid("airlock-frontend") == 0, "the frontend was started")
    sh("systemctl start airlock-frontend")
    wait_for("jobs can be run again", serves)
    bob("airlock run -- true")


def a_version_that_cannot_take_over_a_job_leaves_the_executor_as_it_is(operator):
    job, executor, frontend = Marathon(), main_pid("airlock-executor"), main_pid("airlock-frontend")
    package = without_adoption(operator.packages[-1], f"job {job.job}: its plan is of another version")
    said = sh(f"apt-get install -y {package} 2>&1", seconds=600).out
    expect(job.job in said and "the executor was not restarted" in said and "systemctl restart airlock-executor" in said, said)
    expect(main_pid("airlock-executor") == executor, "the executor was restarted")
    wait_for("the frontend is the new one", lambda: main_pid("airlock-frontend") not in (0, frontend))
    wait_for("jobs can be run again", serves)
    sh("needrestart -r a", seconds=600)
    expect(main_pid("airlock-executor") == executor, "needrestart restarted the executor")
    job.goes_on()
    sh("apt-get install -y --allow-downgrades ./airlock_*.deb", cwd="/root/new", seconds=600)
    expect(main_pid("airlock-executor") != executor, "the executor was not restarted by a version that can take over")
    wait_for("jobs can be run again", serves)
    job.goes_on()
    job.finish()


def without_adoption(package, answer):
    """A package of a later version whose executor says that it cannot take over, and is otherwise the same."""
    folder = pathlib.Path("/root/refusing")
    sh(f"rm -rf {folder} && dpkg-deb --raw-extract {package} {folder}")
    program = folder / "usr/sbin/airlock-executor"
    program.rename(program.with_name("airlock-executor.real"))
    program.write_text(f"""#!/bin/sh
case "$*" in
    *--adopt-dry-run*) echo '{answer}'; exit 1 ;;
esac
exec /usr/sbin/airlock-executor.real "$@"
""")
    program.chmod(0o755)
    control = folder / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: (.*)$", r"Version: \1.refusing", control.read_text()))
    made = "/root/airlock-refusing.deb"
    sh(f"dpkg-deb --root-owner-group -Znone --build {folder} {made}", seconds=600)
    return made


def needrestart_leaves_the_jobs_unit_alone(_operator):
    # After an upgrade the holder and the keepers run programs that are no longer on the disk.
    holder = show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")
    expect("(deleted)" in os.readlink(f"/proc/{holder[1]}/exe"), "the holder's program is the one on the disk: nothing to restart")
    job = Marathon()
    listed = sh("needrestart -b -r l", seconds=600).out
    sh("needrestart -r a", seconds=600)
    expect((show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")) == holder, "needrestart restarted airlock-jobs.service")
    # It would have, but for the file in its folder.
    override = pathlib.Path("/etc/needrestart/conf.d/airlock.conf")
    text = override.read_text()
    override.write_text("")
    try:
        expect("airlock-jobs.service" in sh("needrestart -b -r l", seconds=600).out, f"needrestart does not see the unit: {listed}")
    finally:
        override.write_text(text)
    job.goes_on()
    job.finish()


CHECKS = [
    an_upgrade_spares_jobs_and_restarts_both_halves,
    an_upgrade_keeps_what_the_operator_changed,
    an_upgrade_starts_nothing_that_was_stopped,
    a_version_that_cannot_take_over_a_job_leaves_the_executor_as_it_is,
    needrestart_leaves_the_jobs_unit_alone,
]

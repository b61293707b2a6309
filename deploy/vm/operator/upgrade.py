"""From one version of the package to the next and back, under running jobs."""

import os

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


CHECKS = [
    an_upgrade_spares_jobs_and_restarts_both_halves,
    an_upgrade_keeps_what_the_operator_changed,
    an_upgrade_starts_nothing_that_was_stopped,
]

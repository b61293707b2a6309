"""A full disk, no network, a lost disk of records: what an operator hopes never to need."""

import os

from host import Marathon, background, bob, ended, expect, serves, sh, start, status, wait_for

BALLAST = "/var/ballast"


def free_mib():
    seen = os.statvfs("/var/lib/airlock/frontend")
    return seen.f_bavail * seen.f_frsize >> 20


def fill(leave_mib):
    sh(f"fallocate -l {free_mib() - leave_mib}M {BALLAST}")


def below_the_reserve_nothing_starts_and_jobs_run_on(operator):
    job = Marathon()
    fill(1000)
    try:
        refused = bob("airlock run -- true", code=125)
        expect("no room for output" in refused.err, refused)
        job.goes_on()
        operator.follow("free-disk")
    finally:
        os.unlink(BALLAST)
    wait_for("jobs can be run again", serves)
    job.finish()


def a_disk_without_a_byte_left_ends_no_job(_operator):
    job = Marathon()
    fill(1000)
    sh(f"cat /dev/zero > {BALLAST}.rest", code=None)
    sh(f"cat /dev/zero > {BALLAST}.last", code=None)
    try:
        expect(free_mib() == 0, f"{free_mib()} MiB are free")
        sh("sleep 3")
        expect(status(job.job)["state"] == "running", status(job.job))
        bob("airlock run -- true", code=125)
    finally:
        sh(f"rm -f {BALLAST}*")
    wait_for("jobs can be run again", serves)
    job.goes_on()
    job.finish()


def a_client_comes_back_when_the_network_does(_operator):
    client = background("airlock run -- bash -c 'for i in $(seq 1 60); do echo $i; sleep 0.25; done'")
    expect(client.stdout.readline().strip() == "1", "the job does not write")
    sh("busybox ip link set lo down; sleep 6; busybox ip link set lo up")
    out, err = client.communicate(timeout=240)
    expect(client.returncode == 0, f"status {client.returncode}: {err}")
    expect([int(line) for line in out.split()] == list(range(2, 61)), out)


def a_backup_is_made_and_restored_under_running_jobs(operator):
    before, job = bob("airlock run -- echo before; airlock list --format json -n 1").out, Marathon()
    expect("before" in before, before)
    operator.follow("backup")
    known = {line for line in bob("airlock list -q --all").out.split()}
    sh("rm -r /var/lib/airlock/frontend/* ", code=None)
    operator.follow("restore")
    wait_for("the records are back", lambda: known <= set(bob("airlock list -q --all", code=None).out.split()))
    wait_for("jobs can be run again", serves)
    expect(status(job.job)["state"] == "running", status(job.job))
    bob(f"airlock stop {job.job}")
    expect(ended(job.job)["state"] == "stopped", status(job.job))


def the_door_is_shut_while_jobs_run_on_and_then_all_end(operator):
    job, other = Marathon(), start("-- sleep 1000")
    operator.follow("shut-door")
    bob("airlock run -- true", code=125)
    expect(os.path.exists(f"/proc/{job.pid}"), "a job ended with the frontend")
    operator.follow("stop-all")
    for each in (job.job, other):
        expect(ended(each)["state"] == "stopped", status(each))


CHECKS = [
    below_the_reserve_nothing_starts_and_jobs_run_on,
    a_disk_without_a_byte_left_ends_no_job,
    a_client_comes_back_when_the_network_does,
    a_backup_is_made_and_restored_under_running_jobs,
    the_door_is_shut_while_jobs_run_on_and_then_all_end,
]

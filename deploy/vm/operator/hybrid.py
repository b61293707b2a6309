"""A host whose controllers are all in old cgroup hierarchies, beside an empty new one: everything works there, and the check says so."""

import os
import re
import signal

from host import ended, expect, is_active, main_pid, serves, sh, start, status, wait_for

LIMITED = "/sys/fs/cgroup/{}/system.slice/airlock-jobs.service/jobs/job-{}/{}"


def the_package_installs_and_both_halves_start(operator):
    sh("echo '127.0.0.1 build1.example.org' >> /etc/hosts")
    sh(f"apt-get install -y {operator.packages[0]}", seconds=600)
    operator.follow("first-run")
    expect(is_active("airlock-executor") and is_active("airlock-frontend"), "a half does not run")


def the_check_names_the_layout_and_finds_nothing_missing(_operator):
    check = sh("airlock-executor --check").out
    expect(re.search(r"^ok +cgroups +hybrid", check, re.MULTILINE) and "0 failed, 0 warnings" in check, check)


def every_limit_stands_where_the_kernel_holds_jobs_to_it(_operator):
    job = start("--cpu 50% --memory 64M --pids 20 --io-write 1M -- sleep 1000", "root")
    disk = sh("cat /sys/block/vda/dev").out
    expected = {
        ("cpu", "cpu.cfs_quota_us"): "50000",
        ("memory", "memory.limit_in_bytes"): str(64 << 20),
        ("pids", "pids.max"): "20",
        ("blkio", "blkio.throttle.write_bps_device"): f"{disk} {1 << 20}",
    }
    found = {key: sh(f"cat {LIMITED.format(key[0], job, key[1])}").out for key in expected}
    expect(found == expected, found)
    for controller, _ in expected:
        inside = sh(f"cat {LIMITED.format(controller, job, 'cgroup.procs')}").out
        expect(inside, f"no process of the job is in its {controller} group")
    sh(f"airlock stop {job}")


def a_hog_and_a_bomb_are_ended_by_their_own_limits(_operator):
    hog = sh("airlock run --memory 64M -- python3 -c 'b = bytearray(300 << 20)'", code=137)
    expect("ran out of memory" in hog.err, hog)
    bomb = sh("airlock run --pids 10 -- bash -c 'for i in $(seq 20); do sleep 30 & done; echo all'", code=None)
    expect(bomb.code != 0 and "fork" in bomb.err.lower(), bomb)


def jobs_outlive_both_halves_and_end_with_their_unit(_operator):
    job = start("-- sleep 1000", "root")
    sh("systemctl restart airlock-executor airlock-frontend")
    wait_for("jobs can be run again", serves)
    for unit in ("airlock-executor", "airlock-frontend"):
        os.kill(main_pid(unit), signal.SIGKILL)
    wait_for("jobs can be run again", serves)
    expect(status(job, "root")["state"] == "running", status(job, "root"))
    sh("systemctl stop airlock-jobs")
    end = ended(job, "root")
    expect(end["state"] in ("lost", "failed"), end)


def it_is_removed_as_elsewhere(operator):
    operator.follow("remove")
    operator.follow("purge")
    expect(sh("pgrep -l airlock", code=None).out == "", "something of Airlock runs")
    left = sh("find /sys/fs/cgroup -name '*airlock-jobs*'").out
    expect(left == "", f"cgroups are left: {left}")


CHECKS = [
    the_package_installs_and_both_halves_start,
    the_check_names_the_layout_and_finds_nothing_missing,
    every_limit_stands_where_the_kernel_holds_jobs_to_it,
    a_hog_and_a_bomb_are_ended_by_their_own_limits,
    jobs_outlive_both_halves_and_end_with_their_unit,
    it_is_removed_as_elsewhere,
]

"""Every limit, measured on pure cgroup v2 by what a job can do under it."""

import pathlib
import re
import time

from host import Marathon, bob, ended, expect, group, is_active, sh, start, status, wait_for

CONFIGURATION = pathlib.Path("/etc/airlock/executor.toml")
EAT = "import sys, time; b = bytearray(int(sys.argv[1]) << 20); b[::4096] = b'x' * len(b[::4096]); print('ate', flush=True)"


def eat(mib, options):
    return bob(f"airlock run {options} -- python3 -c \"{EAT}\" {mib}", code=None)


def cpu_is_held_to_its_share(_operator):
    job = start("--cpu 25% --timeout 6s -- bash -c 'while :; do :; done'")
    expect((group(job) / "cpu.max").read_text().split() == ["25000", "100000"], "cpu.max")
    end = ended(job)
    expect(end["state"] == "timed-out", end)
    used = end["usage"]["cpu_seconds"]
    expect(0.2 < used < 0.25 * 12 + 0.5, f"a quarter of a core for 6 s to 12 s used {used} s")


def weights_share_what_is_not_enough_for_all(_operator):
    spin = "-- bash -c 'for i in 1 2 3 4; do while :; do :; done & done; wait'"
    light, heavy = start(f"--cpu-weight 20 {spin}"), start(f"--cpu-weight 200 {spin}")
    for job, weight in ((light, "20"), (heavy, "200")):
        expect((group(job) / "cpu.weight").read_text().strip() == weight, "cpu.weight")
    used = lambda job: int(re.search(r"usage_usec (\d+)", (group(job) / "cpu.stat").read_text())[1])
    before = used(light), used(heavy)
    time.sleep(8)
    spent = used(light) - before[0], used(heavy) - before[1]
    bob(f"airlock stop --grace 1s {light} {heavy}")
    # Ten to one where one processor is shared; that the kernel moves spinners between two leaves somewhat less of it.
    expect(spent[1] > 3 * spent[0] > 0, f"a tenth of the weight got {spent[0]} microseconds, the whole of it {spent[1]}")


def memory_ends_the_hog_and_nobody_else(_operator):
    neighbour = Marathon()
    hog = eat(300, "--memory 64M")
    expect(hog.code == 137 and "ran out of memory" in hog.err, hog)
    end = status("last")
    expect(end["state"] == "out-of-memory" and end["oom_kills"] >= 1, end)
    neighbour.goes_on()
    neighbour.finish()
    for unit in ("airlock-jobs", "airlock-executor", "airlock-frontend"):
        expect(is_active(unit), f"{unit} did not survive the out-of-memory kill of a job")


def without_swap_of_its_own_a_job_gets_none(_operator):
    sh("fallocate -l 512M /swap && chmod 0600 /swap && mkswap /swap && swapon /swap")
    hog = eat(160, "--memory 64M")
    expect(hog.code == 137, hog)


def with_swap_a_job_gets_that_much_and_no_more(_operator):
    text = CONFIGURATION.read_text()
    CONFIGURATION.write_text(text.replace('max = "0" }', 'max = "256M" }', 1))
    sh("systemctl reload airlock-executor")
    wait_for("the new maximum of swap is in force",
             lambda: bob("airlock run --swap 128M -- true", code=None).code == 0)
    fits = eat(120, "--memory 64M --swap 128M")
    expect(fits.code == 0 and fits.out == "ate", fits)
    hog = eat(300, "--memory 64M --swap 128M")
    expect(hog.code == 137, hog)


def processes_are_counted(_operator):
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 30 & done; echo all"
    bomb = bob(f"airlock run --pids 10 -- bash -c '{script}'", code=None)
    expect(bomb.code != 0 and "fork" in bomb.err.lower(), bomb)
    peak = status("last")["usage"].get("pids_peak", 10)
    expect(peak <= 10, f"{peak} processes under a limit of 10")


def a_real_disk_is_slowed_down_in_bytes_and_operations(_operator):
    disk = pathlib.Path("/sys/block/vda/dev").read_text().strip()
    job = start("--io-write 1M --io-read 2M --io-write-ops 500 -- sleep 1000")
    written = (group(job) / "io.max").read_text()
    expect(re.search(rf"^{disk} rbps=2097152 wbps=1048576 riops=max wiops=500$", written, re.MULTILINE), written)
    bob(f"airlock stop {job}")
    six_mib = "dd if=/dev/zero of=file bs=256K count=24 oflag=direct status=none"
    took = seconds_of(six_mib, "--io-write 1M")
    expect(took > 4, f"writing 6 MiB at 1 MiB a second took {took:.1f} s")
    took = seconds_of("dd if=file of=/dev/null bs=256K iflag=direct status=none", "--io-read 1M", before=six_mib)
    expect(took > 4, f"reading 6 MiB at 1 MiB a second took {took:.1f} s")
    took = seconds_of("dd if=/dev/zero of=file bs=4K count=100 oflag=direct status=none", "--io-write-ops 20")
    expect(took > 3, f"100 writes at 20 a second took {took:.1f} s")


def seconds_of(measured, options, before=":"):
    """How long a command takes as the job's own clock has it, after one that is not measured."""
    now = "${EPOCHREALTIME/./}"
    run = bob(f"airlock run {options} -- bash -c '{before}; begin={now}; {measured}; echo $(({now} - begin))'")
    return int(run.out) / 1e6


def all_jobs_together_stay_below_the_ceilings(_operator):
    folder = pathlib.Path("/sys/fs/cgroup/system.slice/airlock-jobs.service/jobs")
    memory = int((folder / "memory.max").read_text())
    total = int(re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024
    expect(0.7 * total < memory < 0.85 * total, f"{memory} of {total}")
    expect((folder / "pids.max").read_text().strip() in ("50000", "max"), (folder / "pids.max").read_text())


CHECKS = [
    cpu_is_held_to_its_share,
    weights_share_what_is_not_enough_for_all,
    memory_ends_the_hog_and_nobody_else,
    without_swap_of_its_own_a_job_gets_none,
    with_swap_a_job_gets_that_much_and_no_more,
    processes_are_counted,
    a_real_disk_is_slowed_down_in_bytes_and_operations,
    all_jobs_together_stay_below_the_ceilings,
]

"""Every limit, measured on pure cgroup v2 by what a job can do under it."""

import pathlib
import re

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


def weights_stand_where_the_kernel_reads_them(_operator):
    job = start("--cpu-weight 37 -- sleep 1000")
    expect((group(job) / "cpu.weight").read_text().strip() == "37", "cpu.weight")
    bob(f"airlock stop {job}")


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


def writing_to_a_real_disk_is_slowed_down(_operator):
    disk = pathlib.Path("/sys/block/vda/dev").read_text().strip()
    job = start("--io-write 1M --io-read 2M --io-write-ops 500 -- sleep 1000")
    written = (group(job) / "io.max").read_text()
    expect(re.search(rf"^{disk} rbps=2097152 wbps=1048576 riops=max wiops=500$", written, re.MULTILINE), written)
    bob(f"airlock stop {job}")
    write = "dd if=/dev/zero of=file bs=256K count=24 oflag=direct && cat /proc/uptime"
    run = bob(f"airlock run --io-write 1M -- sh -c 'cat /proc/uptime && {write}'")
    begin, end = (float(line.split()[0]) for line in run.out.splitlines())
    expect(end - begin > 4, f"6 MiB at 1 MiB a second took {end - begin:.1f} s")


def all_jobs_together_stay_below_the_ceilings(_operator):
    folder = pathlib.Path("/sys/fs/cgroup/system.slice/airlock-jobs.service/jobs")
    memory = int((folder / "memory.max").read_text())
    total = int(re.search(r"MemTotal: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024
    expect(0.7 * total < memory < 0.85 * total, f"{memory} of {total}")
    expect((folder / "pids.max").read_text().strip() in ("50000", "max"), (folder / "pids.max").read_text())


CHECKS = [
    cpu_is_held_to_its_share,
    weights_stand_where_the_kernel_reads_them,
    memory_ends_the_hog_and_nobody_else,
    without_swap_of_its_own_a_job_gets_none,
    with_swap_a_job_gets_that_much_and_no_more,
    processes_are_counted,
    writing_to_a_real_disk_is_slowed_down,
    all_jobs_together_stay_below_the_ceilings,
]

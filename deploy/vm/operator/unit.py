"""What the executor's unit takes from jobs, and the traps that a unit sets for jobs that outlive it. Each with live jobs."""

import pathlib
import re

from host import background, bob, ended, expect, group, main_pid, sh, show, start, status, wait_for

CONFIGURATION = pathlib.Path("/etc/airlock/executor.toml")
NAMESPACES = pathlib.Path("/etc/systemd/system/airlock-executor.service.d/50-namespaces.conf")
PROFILES = """
[profile.www]
run_as = "pool"
cwd = ["/srv/www"]
namespaces = ["pid", "mount", "ipc", "uts"]

[profile.plain]
run_as = "pool"
namespaces = []
"""


def add_profiles():
    if "[profile.www]" not in CONFIGURATION.read_text():
        CONFIGURATION.write_text(CONFIGURATION.read_text() + PROFILES)
    sh("systemctl reload airlock-executor")
    wait_for("profile plain is in force", lambda: bob("airlock run --profile plain -- true", code=None).code == 0)


def what_the_unit_hides_is_named_and_opened_by_its_drop_in(operator):
    sh("mkdir -p /srv/www && chmod 1777 /srv/www")
    add_profiles()
    check = sh("airlock-executor --check", code=1).out
    line = next((line for line in check.splitlines() if line.startswith("FAIL")), "")
    expect("www" in line and "ReadWritePaths=/srv/www" in line, check)
    refused = bob("airlock run --profile www -- touch here", code=None)
    expect(refused.code != 0 and "Read-only" in refused.err, refused)
    running = start("-- sleep 1000")
    operator.follow("open-folder")
    bob("airlock run --profile www -- touch here")
    expect(pathlib.Path("/srv/www/here").exists(), "the job's file is not there")
    expect(status(running)["state"] == "running", "opening a folder ended a job")
    bob(f"airlock stop {running}")


def without_the_capability_for_namespaces_the_executor_says_so(_operator):
    NAMESPACES.parent.mkdir(exist_ok=True)
    NAMESPACES.symlink_to("/dev/null")
    job = start("-- sleep 1000")
    try:
        sh("systemctl daemon-reload; systemctl restart airlock-executor", code=1)
        said = sh("journalctl --unit airlock-executor --lines 20 --output cat --no-pager").out
        expect("CapabilityBoundingSet" in said, said)
    finally:
        NAMESPACES.unlink()
        sh("systemctl daemon-reload; systemctl restart airlock-executor")
    wait_for("the executor serves again", lambda: bob("airlock run -- true", code=None).code == 0)
    expect(status(job)["state"] == "running", "the job did not outlive an executor that could not start")
    bob(f"airlock stop {job}")


def tmp_of_jobs_outlives_the_executor(_operator):
    sh("rm -f /tmp/of-a-job /tmp/look")
    script = "echo kept > /tmp/of-a-job; while [ ! -e /tmp/look ]; do sleep 0.2; done; cat /tmp/of-a-job"
    own = start(f"-- sh -c '{script.replace('/tmp/look', '$TMPDIR/look')}'")
    shared = start(f"--profile plain -- sh -c '{script}'")
    sh("systemctl restart airlock-executor")
    sh("touch /tmp/look")
    expect(ended(shared)["exit_status"] == 0, status(shared))
    expect(bob(f"airlock logs {shared}").out == "kept", "the file of a job in the host's /tmp")
    expect(status(own)["state"] == "running", status(own))
    bob(f"airlock stop {own}")


def the_socket_outlives_the_executor(_operator):
    job = start("-- sleep 1000")
    socket = pathlib.Path("/run/airlock/executor.sock")
    before = socket.stat().st_ino
    sh("systemctl restart airlock-executor")
    expect(socket.stat().st_ino == before, "the socket was made anew")
    expect(socket.group() == "airlock" and socket.stat().st_mode & 0o777 == 0o660, oct(socket.stat().st_mode))
    bob(f"airlock stop {job}")


def the_jobs_unit_does_not_bound_the_number_of_processes(_operator):
    job = start("-- sleep 1000")
    expect((group(job).parent.parent / "pids.max").read_text().strip() == "max", "airlock-jobs.service has a TasksMax")
    bob(f"airlock stop {job}")


def no_job_can_lower_its_score_below_zero(_operator):
    job = start("-- sh -c 'echo -500 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj; sleep 1000'")
    wait_for("the job looked", lambda: bob(f"airlock logs {job} --stdout").out)
    expect(int(bob(f"airlock logs {job} --stdout").out) >= 0, bob(f"airlock logs {job}").out)
    expect(pathlib.Path(f"/proc/{main_pid('airlock-executor')}/oom_score_adj").read_text().strip() == "0", "the executor's")
    expect(pathlib.Path(f"/proc/{main_pid('airlock-jobs')}/oom_score_adj").read_text().strip() == "-1000", "the holder's")
    bob(f"airlock stop {job}")


def pipes_keep_their_size_past_a_thousand_jobs(_operator):
    hold = "import os, time; p = [os.pipe() for _ in range(2500)]; print('held', flush=True); time.sleep(900)"
    # As many as 1,250 jobs would have, held by root without the capabilities that pass the bound. The executor is without them
    # where no profile has namespaces.
    text, job = CONFIGURATION.read_text(), start("-- sleep 1000")
    CONFIGURATION.write_text(re.sub(r"(?m)^namespaces = \[.*\]$", "namespaces = []", text))
    NAMESPACES.parent.mkdir(exist_ok=True)
    NAMESPACES.symlink_to("/dev/null")
    hoard = background(f"ulimit -n 8192; exec setpriv --bounding-set=-all --inh-caps=-all python3 -c \"{hold}\"", user="root")
    try:
        sh("systemctl daemon-reload; systemctl restart airlock-executor")
        expect(hoard.stdout.readline().strip() == "held", "the pipes could not be made")
        size = bob("airlock run -- python3 -c 'import fcntl; print(fcntl.fcntl(1, 1032))'").out
        expect(int(size) == 65536, f"a job's pipe holds {size} bytes")
        expect(status(job)["state"] == "running", status(job))
    finally:
        hoard.kill()
        hoard.wait()
        NAMESPACES.unlink()
        CONFIGURATION.write_text(text)
        sh("systemctl daemon-reload; systemctl restart airlock-executor")
    bob(f"airlock stop {job}")


def nothing_restarts_the_jobs_unit_by_itself(_operator):
    override = pathlib.Path("/etc/needrestart/conf.d/airlock.conf").read_text()
    expect("airlock-jobs" in override and "= 0" in override, override)
    expect(show("airlock-jobs", "OOMPolicy") == "continue", show("airlock-jobs", "OOMPolicy"))
    scripts = sh("cat /var/lib/dpkg/info/airlock.p*").out
    lines = [line for line in scripts.splitlines() if "airlock-jobs" in line and not line.lstrip().startswith("#")]
    expect(lines == ["    systemctl stop airlock-jobs.service || true"], lines)


def devices_of_the_host_are_not_for_jobs(_operator):
    for profile in ("standard", "plain"):
        seen = bob(f"airlock run --profile {profile} -- sh -c 'ls /dev; echo x > /dev/null'").out
        expect("vda" not in seen and "null" in seen, seen)


def each_drop_in_of_the_guide_opens_what_it_names(_operator):
    sh("chmod 0755 /home/bob && echo seen > /home/bob/open.txt && chmod 0644 /home/bob/open.txt")
    vsock = "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); print(1)"
    opened = {
        "ProtectHome=no": "cat /home/bob/open.txt",
        "ProtectProc=default": "ls -d /proc/1",
        "ProtectKernelModules=no": "ls /usr/lib/modules",
        "RestrictAddressFamilies=AF_VSOCK": f"python3 -c '{vsock}'",
    }
    works = lambda command: bob(f"airlock run --profile plain -- {command}", code=None).code == 0
    shut = [line for line, command in opened.items() if works(command)]
    expect(not shut, f"open without its line: {shut}")
    folder, job = pathlib.Path("/run/systemd/system/airlock-executor.service.d"), start("-- sleep 1000")
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "open.conf").write_text("\n".join(["[Service]", *opened]) + "\n")
    try:
        sh("modprobe vsock; systemctl daemon-reload; systemctl restart airlock-executor")
        wait_for("jobs can be run again", lambda: works("true"))
        shut = [line for line, command in opened.items() if not works(command)]
        expect(not shut, f"not open with its line: {shut}")
    finally:
        sh(f"rm -r {folder}; systemctl daemon-reload; systemctl restart airlock-executor")
    wait_for("jobs can be run again", lambda: works("true"))
    expect(status(job)["state"] == "running", "opening something ended a job")
    bob(f"airlock stop {job}")


CHECKS = [
    what_the_unit_hides_is_named_and_opened_by_its_drop_in,
    without_the_capability_for_namespaces_the_executor_says_so,
    tmp_of_jobs_outlives_the_executor,
    the_socket_outlives_the_executor,
    the_jobs_unit_does_not_bound_the_number_of_processes,
    no_job_can_lower_its_score_below_zero,
    pipes_keep_their_size_past_a_thousand_jobs,
    nothing_restarts_the_jobs_unit_by_itself,
    devices_of_the_host_are_not_for_jobs,
    each_drop_in_of_the_guide_opens_what_it_names,
]

"""What the checks do on the guest: commands as root or as bob, jobs, units, and waiting with a deadline."""

import json
import os
import pathlib
import subprocess
import time

SCALE = int(os.environ.get("AIRLOCK_TEST_SCALE", "1"))
HOME = {"root": "/root", "bob": "/home/bob"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# What the guide quotes, and what of it any command has said, both in small letters.
SAYINGS, HEARD = set(), set()


class Failed(Exception):
    """A check found something else than it expects."""


def expect(condition, what):
    if not condition:
        raise Failed(str(what))


class Done:
    def __init__(self, command, process):
        self.command, self.code = command, process.returncode
        self.out, self.err = process.stdout.strip(), process.stderr.strip()
        said = f"{self.out}\n{self.err}".lower()
        HEARD.update(saying for saying in SAYINGS if saying in said)

    def __str__(self):
        return f"{self.command!r} ended with {self.code}\n{self.out[-1500:]}\n{self.err[-1500:]}"


def argv(command, user):
    environment = ["env", "-i", f"HOME={HOME[user]}", f"USER={user}", f"PATH={PATH}", "LANG=C.UTF-8"]
    prefix = [] if user == "root" else ["runuser", "-u", user, "--"]
    return [*prefix, *environment, "bash", "-c", command]


def sh(command, user="root", code=0, cwd="/", seconds=300):
    """Runs a line of bash; a status other than `code` fails the check, unless `code` is None."""
    cwd = HOME[user] if user != "root" else cwd
    try:
        process = subprocess.run(argv(command, user), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                 errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{command!r} did not end within {seconds} s") from None
    done = Done(command, process)
    expect(code is None or done.code == code, done)
    return done


def bob(command, code=0):
    return sh(command, user="bob", code=code)


def background(command, user="bob"):
    return subprocess.Popen(argv(command, user), cwd=HOME[user], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def wait_for(what, condition, seconds=30):
    """Waits until `condition` gives something true, and gives that."""
    deadline = time.monotonic() + seconds * max(1, SCALE / 4)
    while True:
        value = condition()
        if value:
            return value
        expect(time.monotonic() < deadline, f"{what}: not within the time")
        time.sleep(0.3)


def show(unit, name):
    return sh(f"systemctl show --value --property {name} {unit}").out


def main_pid(unit):
    return int(show(unit, "MainPID"))


def is_active(unit):
    return sh(f"systemctl is-active {unit}", code=None).out == "active"


def serves():
    """Whether a new job runs from end to end."""
    return sh("airlock run -- true", user="root", code=None).code == 0


def journal(unit, since):
    return sh(f"journalctl --unit {unit} --since '@{int(since)}' --output cat --no-pager").out


def status(job, user="bob"):
    return json.loads(sh(f"airlock status {job} --format json", user=user).out)


def start(options, user="bob"):
    """Starts a job and waits until its command runs."""
    job = sh(f"airlock start {options}", user=user).out.split()[-1]
    wait_for(f"job {job} runs", lambda: status(job, user)["state"] == "running")
    return job


def ended(job, user="bob", seconds=60):
    return wait_for(f"job {job} ends", lambda: status(job, user).get("ended_at") and status(job, user), seconds)


def group(job):
    folder = pathlib.Path("/sys/fs/cgroup/system.slice/airlock-jobs.service/jobs") / f"job-{job}"
    expect(folder.is_dir(), f"{folder} is not there")
    return folder


class Marathon:
    """A job that writes numbered lines until it is asked to stop. A line lost, doubled or torn shows in the end."""

    SCRIPT = 'trap "exit 0" TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done'

    def __init__(self, user="bob"):
        self.user = user
        self.job = start(f"--name marathon-{time.monotonic_ns()} -- bash -c '{self.SCRIPT}'", user)
        self.pid, self.limit = self.status()["pid"], (group(self.job) / "memory.max").read_text()

    def status(self):
        return status(self.job, self.user)

    def lines(self):
        return [int(line) for line in sh(f"airlock logs {self.job}", user=self.user).out.splitlines()]

    def goes_on(self):
        now = self.status()
        expect(now["state"] == "running" and now["pid"] == self.pid, now)
        expect((group(self.job) / "memory.max").read_text() == self.limit, "its memory limit changed")
        written = len(self.lines())
        wait_for("the job writes on", lambda: len(self.lines()) > written)

    def finish(self):
        sh(f"airlock stop {self.job}", user=self.user)
        end = ended(self.job, self.user)
        expect(end["state"] == "stopped" and end["output"]["complete"], end)
        lines = self.lines()
        expect(lines == list(range(1, len(lines) + 1)) and lines, f"lines are missing or double among {len(lines)}")

"""Each line that takes something away: that it says why, that it counts, and what jobs meet because of it."""

import json
import pathlib
import re
import tempfile

from host import bob, expect, main_pid, sh
from unit import add_profiles

UNITS = pathlib.Path("/usr/lib/systemd/system")
SERVICES = ("airlock-executor.service", "airlock-frontend.service", "airlock-jobs.service")
DIRECTIVE = re.compile(r"^[A-Z]\w+=")
# systemd's rating does not know these lines, or another line implies them. What fails without them stands beside.
UNRATED = {
    "SystemCallErrorNumber": "jobs_are_refused_what_the_unit_forbids_and_not_killed",
    "ReadWritePaths": "the first run (install), tmp_of_jobs_outlives_the_executor (unit)",
    "InaccessiblePaths": "the_frontend_sees_nothing_of_jobs_and_of_root",
    "PrivateMounts": "ProtectSystem implies it",
    "SystemCallFilter=~@privileged @resources": "it_may_neither_change_owners_nor_limits",
    "SystemCallFilter=setpriority": "threads_that_serve_clients_give_way_to_the_one_that_takes_in_output",
}


def hardening(unit):
    """The lines of a unit from the first heading on, each with the comment above it."""
    lines = (UNITS / unit).read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("# ---"))
    comment = []
    for line in lines[begin:]:
        if line.startswith("["):
            return
        if DIRECTIVE.match(line):
            yield line, " ".join(comment)
            comment = []
        elif line.startswith("# ---") or not line:
            comment = []
        else:
            comment.append(line.lstrip("# "))


def rating(text, unit, with_drop_in=False):
    """What systemd says of each point it rates, were the unit's text this one."""
    with tempfile.TemporaryDirectory() as folder:
        # Under its own name the drop-ins of the installed one would count as well.
        rated = pathlib.Path(folder) / "rated.service"
        rated.write_text(text)
        if with_drop_in:
            (pathlib.Path(folder) / "rated.service.d").symlink_to(UNITS / f"{unit}.d")
        points = json.loads(sh(f"systemd-analyze security --offline=true --json=short {rated}").out)
        return {point["name"]: float(point["exposure"] or 0) for point in points}


def every_line_says_why_and_the_executors_what_it_means_for_jobs(_operator):
    for unit in SERVICES:
        lines = list(hardening(unit))
        expect(len(lines) > 15, f"{unit}: {len(lines)} lines below the first heading")
        silent = [line for line, comment in lines if not comment]
        if unit == SERVICES[0]:
            silent += [line for line, comment in lines if "Jobs" not in comment]
        expect(not silent, f"{unit} does not say why: {silent}")


def without_any_of_its_lines_a_unit_is_rated_worse(_operator):
    for unit in SERVICES:
        text = (UNITS / unit).read_text()
        whole = rating(text, unit)
        idle = []
        for line, _ in hardening(unit):
            if line in UNRATED or line.split("=")[0] in UNRATED:
                continue
            without = rating(text.replace(f"\n{line}\n", "\n", 1), unit)
            if not any(without[name] > exposure for name, exposure in whole.items()):
                idle.append(line)
        expect(not idle, f"{unit}: these lines change nothing: {idle}")


def the_executors_points_above_two_and_a_half_are_explained(_operator):
    text = (UNITS / SERVICES[0]).read_text()
    points = {name: exposure for name, exposure in rating(text, SERVICES[0], True).items() if exposure > 0}
    explained = sum(float(number) for number in re.findall(r"(?:\[score |\[|, and )(\d\.\d)", text))
    expect(explained >= sum(points.values()) - 2.5, f"{explained:.1f} of {sum(points.values()):.1f} points explained: {points}")


REFUSALS = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    ctypes.set_errno(0)
    return errno.errorcode.get(ctypes.get_errno()) if getattr(libc, name)(*arguments) == -1 else "done"

def attempt(name, what):
    try:
        what()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])

print("clock", call("settimeofday", bytes(16), None))
print("swap", call("swapoff", b"/swap"))
print("personality", call("personality", 0x0040000))
attempt("setuid-file", lambda: (open("own", "w"), os.chmod("own", 0o4755)))
attempt("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
attempt("inet", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close())
attempt("tunable", lambda: open("/proc/sys/kernel/hostname", "w"))
attempt("modules", lambda: os.listdir("/usr/lib/modules"))
attempt("kernel-log", lambda: open("/dev/kmsg"))
attempt("home", lambda: os.listdir("/home"))
"""


def jobs_are_refused_what_the_unit_forbids_and_not_killed(_operator):
    add_profiles()
    pathlib.Path("/home/bob/refusals.py").write_text(REFUSALS)
    for profile in ("standard", "plain"):
        said = bob(f'airlock run --profile {profile} -- python3 -c "$(cat refusals.py)"').out
        seen = dict(line.split() for line in said.splitlines())
        refused = {name for name, result in seen.items() if result in ("EPERM", "EACCES", "EROFS", "EAFNOSUPPORT", "ENOENT")}
        expect(seen.pop("inet") == "done" and refused == set(seen), f"{profile}: {said}")


def the_frontend_sees_nothing_of_jobs_and_of_root(_operator):
    inside = f"nsenter --target {main_pid('airlock-frontend')} --mount --"
    for path in ("/var/lib/airlock/work", "/var/log/airlock", "/etc/airlock/ca", "/etc/airlock/executor.toml"):
        # Root's own powers do not help: nothing of it is there.
        seen = sh(f"{inside} sh -c 'ls -A {path}; cat {path}' 2>/dev/null", code=None).out
        expect(seen.replace(path, "") == "", f"{path} shows {seen}")
    expect(sh(f"{inside} touch /var/lib/airlock/here /etc/here", code=None).code != 0, "it can write beside its folder")


def the_key_is_handed_over_and_stays_roots(_operator):
    expect(sh("stat -c '%a %U' /etc/airlock/tls/server.key").out == "600 root", "the key's file")
    handed = "/run/credentials/airlock-frontend.service/server.key"
    sh(f"cmp /etc/airlock/tls/server.key {handed}")
    expect(sh("runuser -u airlock -- cat /etc/airlock/tls/server.key", code=None).code != 0, "the frontend's user can read the key's file")
    expect(bob(f"cat {handed}", code=None).code != 0, "anybody can read what was handed over")


def it_may_neither_change_owners_nor_limits(_operator):
    status = pathlib.Path(f"/proc/{main_pid('airlock-frontend')}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    expect(fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1", status)
    listed = sh("systemctl show --value --property SystemCallFilter airlock-frontend").out.split()
    expect("read" in listed and not {"chown", "setuid", "setrlimit", "nice", "mount", "ptrace", "bpf"} & set(listed), listed)


def threads_that_serve_clients_give_way_to_the_one_that_takes_in_output(_operator):
    niceness = {}
    for task in pathlib.Path(f"/proc/{main_pid('airlock-frontend')}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(") ")[2].split()
        niceness.setdefault((task / "comm").read_text().strip(), set()).add(int(fields[16]))
    expect(niceness["executor"] == niceness["records"] == {0} and niceness["tokio-rt-worker"] == {10}, niceness)


CHECKS = [
    every_line_says_why_and_the_executors_what_it_means_for_jobs,
    without_any_of_its_lines_a_unit_is_rated_worse,
    the_executors_points_above_two_and_a_half_are_explained,
    jobs_are_refused_what_the_unit_forbids_and_not_killed,
    the_frontend_sees_nothing_of_jobs_and_of_root,
    the_key_is_handed_over_and_stays_roots,
    it_may_neither_change_owners_nor_limits,
    threads_that_serve_clients_give_way_to_the_one_that_takes_in_output,
]

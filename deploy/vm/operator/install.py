"""The package, the units as systemd sees them, and the first run."""

import pathlib
import re
import stat
import struct

from host import bob, expect, is_active, sh, show

UNITS = ["airlock-executor.service", "airlock-frontend.service", "airlock-jobs.service", "airlock-executor.socket"]
# Tenths. What the executor's unit could still take away and does not is explained in the unit.
EXPOSURE = {"airlock-frontend.service": 15, "airlock-executor.service": 40, "airlock-jobs.service": 20}


def mode(path):
    found = pathlib.Path(path).stat()
    return f"{stat.S_IMODE(found.st_mode):04o} {pathlib.Path(path).owner()}:{pathlib.Path(path).group()}"


def the_package_installs_and_starts_nothing(operator):
    sh("useradd --create-home --shell /bin/bash bob; echo '127.0.0.1 build1.example.org' >> /etc/hosts")
    sh(f"mkdir -p /root/old /root/new; cp {operator.packages[0]} /root/old/; cp {operator.packages[-1]} /root/new/")
    operator.follow("install", cwd="/root/old")
    for unit in UNITS:
        expect(not is_active(unit), f"{unit} runs before anybody asked for it")
    expect(sh("pgrep -c airlock", code=None).out == "0", "something of Airlock runs")


def files_belong_to_whom_they_should(_operator):
    expected = {
        "/etc/airlock/executor.toml": "0600 root:root",
        "/etc/airlock/frontend.toml": "0640 root:airlock",
        "/etc/airlock/policy.toml": "0640 root:airlock",
        "/var/lib/airlock": "0755 root:root",
        "/var/lib/airlock/work": "0711 root:root",
        "/var/lib/airlock/frontend": "0700 airlock:airlock",
        "/var/log/airlock": "0700 root:root",
    }
    found = {path: mode(path) for path in expected}
    expect(found == expected, found)


def every_program_and_file_has_its_manual_page(operator):
    files = sh(f"dpkg-deb --contents {operator.packages[0]}").out
    names = [line.split()[5].lstrip(".") for line in files.splitlines()]
    pages = {pathlib.Path(name).name.removesuffix(".gz") for name in names if "/share/man/" in name}
    programs = [pathlib.Path(name).name for name in names if "/bin/airlock" in name or "/sbin/airlock" in name]
    expect(len(programs) == 5, programs)
    wanted = {f"{program}.{1 if program == 'airlock' else 8}" for program in programs}
    wanted |= {f"airlock-{name}.toml.5" for name in ("executor", "frontend", "policy", "config")}
    commands = sh("airlock --help").out.split("Commands:")[1].split("Options:")[0].splitlines()
    wanted |= {f"airlock-{line.split()[0]}.1" for line in commands if line.startswith("  ") and line[2:3].strip()}
    expect(not wanted - pages, f"without a page: {sorted(wanted - pages)}")
    for shell in ("bash-completion", "zsh", "fish"):
        expect(any(f"/share/{shell}/" in name and name.endswith(("airlock", "airlock.fish")) for name in names), shell)


def programs_are_stripped_and_need_only_the_c_library(_operator):
    libraries = re.compile(r"linux-vdso|ld-linux|libc\.so|libm\.so|libgcc_s")
    for program in ("/usr/bin/airlock", "/usr/sbin/airlock-frontend", "/usr/sbin/airlock-executor", "/usr/sbin/airlock-keeper"):
        needed = sh(f"ldd {program} 2>&1", code=None).out
        strange = [line for line in needed.splitlines() if not libraries.search(line) and "not a dynamic executable" not in line]
        expect(not strange, f"{program} needs {strange}")
        expect(sections(program) & {".symtab", ".note.gnu.build-id"} == {".note.gnu.build-id"}, sections(program))
    expect("not a dynamic executable" in needed, "the keeper is not static")


def sections(program):
    """Names of a 64-bit program's sections."""
    file = pathlib.Path(program).read_bytes()
    at, size, count, names = struct.unpack_from("<Q", file, 40) + struct.unpack_from("<3H", file, 58)
    headers = [struct.unpack_from("<IIQQQQ", file, at + number * size) for number in range(count)]
    text = file[headers[names][4]:headers[names][4] + headers[names][5]]
    return {text[header[0]:text.index(b"\0", header[0])].decode() for header in headers}


def bash_takes_the_completions(_operator):
    done = sh("source /usr/share/bash-completion/completions/airlock && complete -p airlock")
    expect("-F" in done.out, done)


def systemd_finds_no_fault_with_the_units(_operator):
    done = sh("systemd-analyze verify --man=no " + " ".join(f"/usr/lib/systemd/system/{unit}" for unit in UNITS))
    expect(done.out + done.err == "", done)


def the_units_are_as_closed_as_they_claim(_operator):
    for unit, most in EXPOSURE.items():
        done = sh(f"systemd-analyze security --offline=true --threshold={most} {unit}", code=None)
        expect(done.code == 0, f"{unit} is above {most / 10}: {done.out.splitlines()[-1:]}")


def without_certificates_the_frontend_does_not_start_and_is_not_tried_for_ever(_operator):
    refused = sh("systemctl start airlock-frontend", code=None)
    expect(refused.code != 0 and "Assertion failed" in refused.err, refused)
    expect(show("airlock-frontend", "ActiveState") == "inactive", show("airlock-frontend", "ActiveState"))


def the_first_run_makes_certificates_and_starts_both_halves(operator):
    operator.follow("first-run")
    for unit in UNITS:
        expect(is_active(unit), f"{unit} does not run")
    expect(mode("/etc/airlock/ca") == "0700 root:root", mode("/etc/airlock/ca"))
    expect(mode("/etc/airlock/tls/server.key") == "0600 root:root", mode("/etc/airlock/tls/server.key"))
    expect(show("airlock-frontend", "User") == "airlock", "the frontend's user")
    capabilities = pathlib.Path(f"/proc/{show('airlock-frontend', 'MainPID')}/status").read_text()
    expect("CapPrm:\t0000000000000000" in capabilities, capabilities)


def a_second_first_run_changes_nothing(_operator):
    before = sh("sha256sum /etc/airlock/ca/* /etc/airlock/tls/* 2>/dev/null", code=None).out
    sh("airlock-setup other.example.org", code=1)
    expect(sh("sha256sum /etc/airlock/ca/* /etc/airlock/tls/* 2>/dev/null", code=None).out == before, "files changed")


def doctor_and_check_find_nothing_wrong(operator):
    operator.follow("verify")
    check = sh("airlock-executor --check").out
    expect("0 failed, 0 warnings" in check, check)
    expect("FAIL" not in sh("airlock doctor").out, "doctor")


def pooled_users_have_names(operator):
    operator.follow("names")
    expect(sh("airlock run -- sh -c 'test \"$(id -un)\" = \"$USER\" && test \"$(id -gn)\" = \"$USER\" && whoami'").out.startswith("airlock-19"),
           "a job has no name")
    expect(sh("getent passwd airlock-1900000412").out == "airlock-1900000412:*:1900000412:1900000412:Airlock job:/:/bin/sh",
           "the name of a pooled uid")
    for stranger in ("1899999999", "2100000000", "airlock-0", "airlock-01900000412"):
        expect(sh(f"getent passwd {stranger}", code=2).out == "", stranger)
    for database in ("passwd", "group"):
        line = sh(f"grep ^{database}: /etc/nsswitch.conf").out
        expect(line.split().count("airlock") == 1, line)


def a_pool_without_names_is_named(_operator):
    """Where somebody took the word out again."""
    sh("cp /etc/nsswitch.conf /root/nsswitch.conf && sed -i 's/ airlock//' /etc/nsswitch.conf")
    try:
        check = sh("airlock-executor --check").out
        expect("warn  uid pool" in check and "they have no names" in check, check)
    finally:
        sh("cat /root/nsswitch.conf > /etc/nsswitch.conf")
    expect("0 failed, 0 warnings" in sh("airlock-executor --check").out, "--check with names")


def nobody_but_the_frontend_speaks_to_the_executor(_operator):
    connect = "import socket; s=socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect('/run/airlock/executor.sock'); "
    refused = bob(f"python3 -c \"{connect}\"", code=1)
    expect("PermissionError" in refused.err, refused)
    as_root = sh(f"python3 -c \"{connect}s.send(b'x'*64); print(len(s.recv(1)))\"", code=None)
    expect(as_root.out == "0" or "ConnectionResetError" in as_root.err or "BrokenPipe" in as_root.err, as_root)
    sh("airlock run -- true")


CHECKS = [
    the_package_installs_and_starts_nothing,
    files_belong_to_whom_they_should,
    every_program_and_file_has_its_manual_page,
    programs_are_stripped_and_need_only_the_c_library,
    bash_takes_the_completions,
    systemd_finds_no_fault_with_the_units,
    the_units_are_as_closed_as_they_claim,
    without_certificates_the_frontend_does_not_start_and_is_not_tried_for_ever,
    the_first_run_makes_certificates_and_starts_both_halves,
    a_second_first_run_changes_nothing,
    doctor_and_check_find_nothing_wrong,
    pooled_users_have_names,
    a_pool_without_names_is_named,
    nobody_but_the_frontend_speaks_to_the_executor,
]

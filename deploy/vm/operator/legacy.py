"""A host with the old cgroup layout alone: the package installs, and the executor says in one sentence what is missing."""

from host import expect, is_active, sh, show, wait_for

MISSING = "this host has no cgroup v2 mount; boot with systemd.unified_cgroup_hierarchy=1"


def the_package_installs_and_is_set_up(operator):
    sh("echo '127.0.0.1 build1.example.org' >> /etc/hosts")
    sh(f"apt-get install -y {operator.packages[0]}", seconds=600)
    sh("airlock-setup build1.example.org")


def the_executor_does_not_start_and_says_why_in_one_sentence(_operator):
    sh("systemctl enable --now airlock-frontend")
    sh("systemctl start airlock-executor", code=1)
    said = sh("journalctl --unit airlock-executor --identifier airlock-executor --output cat --no-pager").out
    expect(said and all(line.startswith("airlock-executor: ") and MISSING in line for line in said.splitlines()), said)


def the_check_says_the_same(_operator):
    check = sh("airlock-executor --check", code=1).out
    failures = [line for line in check.splitlines() if line.startswith("FAIL")]
    expect(len(failures) == 1 and "cgroups" in failures[0] and MISSING in failures[0], check)


def people_are_told_and_nothing_is_started(_operator):
    refused = wait_for("the refusal", lambda: (lambda done: "executor away" in done.err and done)(sh("airlock run -- true", code=None)))
    expect(refused.code == 125 and "nothing was started" in refused.err, refused)
    expect("the server has no executor" in sh("airlock doctor", code=1).out, "doctor")
    expect(is_active("airlock-frontend"), "the frontend went with the executor")


def it_is_removed_as_elsewhere(_operator):
    sh("apt-get purge -y airlock", seconds=600)
    expect(sh("pgrep -l airlock", code=None).out == "", "something of Airlock runs")
    expect(show("airlock-executor", "LoadState") == "not-found", "the unit is there")


CHECKS = [
    the_package_installs_and_is_set_up,
    the_executor_does_not_start_and_says_why_in_one_sentence,
    the_check_says_the_same,
    people_are_told_and_nothing_is_started,
    it_is_removed_as_elsewhere,
]

"""A person with an account, a certificate and nothing more."""

import pathlib

from host import Marathon, bob, ended, expect, sh, start, status, wait_for

POLICY = pathlib.Path("/etc/airlock/policy.toml")


def a_person_with_a_signed_request_runs_jobs(operator):
    operator.follow("person")
    operator.follow("list-certificates")
    done = bob("airlock run -- sh -c 'id -u; echo err >&2; exit 3'", code=3)
    expect(1900000000 <= int(done.out) < 1900065536 and "err" in done.err, done)


def jobs_see_neither_homes_nor_other_users_processes(_operator):
    sh("chmod 0755 /home/bob; echo secret > /home/bob/open.txt; chmod 0644 /home/bob/open.txt")
    seen = bob("airlock run -- sh -c 'cat /home/bob/open.txt; ls /proc | grep -c ^[0-9]; test -w /usr || echo no-write'", code=0)
    expect("secret" not in seen.out and "no-write" in seen.out, seen)
    expect(int(seen.out.split()[0]) < 8, seen)


def no_job_has_a_privilege_or_can_get_one(_operator):
    seen = bob("airlock run -- grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status").out
    sets = {line.split(":")[0]: line.split(":")[1].strip() for line in seen.splitlines()}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        expect(sets[name].strip("0") == "", seen)
    expect(sets["NoNewPrivs"] == "1" and sets["Seccomp"] == "2", seen)


def stop_asks_first_and_kills_what_does_not_listen(_operator):
    polite = Marathon()
    polite.finish()
    deaf = start("-- bash -c 'trap \"\" TERM; while :; do sleep 1; done'")
    bob(f"airlock stop --grace 2s {deaf}")
    end = ended(deaf)
    expect(end["state"] == "stopped" and end["exit"].get("signal") == 9, end)


def a_job_outlives_its_client(_operator):
    job = start("-- sleep 1000")
    expect(status(job)["state"] == "running", status(job))
    bob(f"airlock signal {job} KILL")
    end = ended(job)
    expect(end["exit"]["signal"] == 9, end)


def the_watched_things_can_be_watched(operator):
    operator.follow("watch")
    operator.follow("metrics")
    files = " ".join(f"--{word} /root/monitoring/{name}" for word, name in [("cacert", "ca.crt"), ("cert", "monitoring.crt"), ("key", "monitoring.key")])
    metrics = sh(f"curl --fail --silent --show-error {files} https://localhost:7443/metrics").out
    expect("\nairlock_executor_connected 1\n" in metrics and 'airlock_calls_total{method="StartJob"}' in metrics, metrics)
    wait_for("doctor is content", lambda: sh("airlock doctor", code=None).code == 0)


def rules_say_who_starts_jobs_and_groups_how_many(_operator):
    text = POLICY.read_text()

    def ruled(rules):
        POLICY.write_text(text + rules)
        sh("airlock-frontend --check && systemctl reload airlock-frontend")

    try:
        ruled('\n[[rule]]\nmatch = { cn = "bob" }\ngroup = "one"\n[[rule]]\nmatch = { cn = "*" }\n[group.one]\njobs = 1\n')
        wait_for("bob is in his group", lambda: "one" in bob("airlock whoami").out)
        job = start("-- sleep 1000")
        refused = bob("airlock run -- true", code=125)
        expect("group one" in refused.err and "its most; wait for one" in refused.err, refused)
        bob(f"airlock stop {job}")
        ended(job)
        bob("airlock run -- true")
        ruled('\n[[rule]]\nmatch = { cn = "bob" }\nrole = "none"\n[[rule]]\nmatch = { cn = "*" }\n')
        refused = wait_for("bob is shut out", lambda: (lambda done: done.code and done)(bob("airlock whoami", code=None)))
        expect("has no role" in refused.err, refused)
        ruled('\n[[rule]]\nmatch = { cn = "*" }\nprofiles = ["standard", "ofline"]\n')
        wait_for("doctor names the profile", lambda: "the executor has no profile 'ofline'" in sh("airlock doctor").out)
        sh("airlock whoami")
    finally:
        POLICY.write_text(text)
        sh("systemctl reload airlock-frontend")
    wait_for("bob is let in again", lambda: bob("airlock whoami", code=None).code == 0)


CHECKS = [
    a_person_with_a_signed_request_runs_jobs,
    jobs_see_neither_homes_nor_other_users_processes,
    no_job_has_a_privilege_or_can_get_one,
    stop_asks_first_and_kills_what_does_not_listen,
    a_job_outlives_its_client,
    rules_say_who_starts_jobs_and_groups_how_many,
    the_watched_things_can_be_watched,
]

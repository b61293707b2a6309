"""A person with an account, a certificate and nothing more."""

from host import Marathon, bob, ended, expect, sh, start, status, wait_for


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
    wait_for("doctor is content", lambda: sh("airlock doctor", code=None).code == 0)


CHECKS = [
    a_person_with_a_signed_request_runs_jobs,
    jobs_see_neither_homes_nor_other_users_processes,
    no_job_has_a_privilege_or_can_get_one,
    stop_asks_first_and_kills_what_does_not_listen,
    a_job_outlives_its_client,
    the_watched_things_can_be_watched,
]

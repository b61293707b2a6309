"""After the guest was restarted under a running job."""

import json

from host import expect, is_active, serves, sh, wait_for


def both_halves_are_back_without_anybody_asking(_operator):
    wait_for("jobs can be run", serves, 60)
    for unit in ("airlock-executor", "airlock-frontend", "airlock-jobs"):
        expect(is_active(unit), unit)


def what_was_recorded_is_there_and_what_ran_is_lost(operator):
    known, running = operator.notes["known"], operator.notes["running"]
    listed = sh("airlock list --all -q").out.split()
    expect(set(known) <= set(listed), f"{len(set(known) - set(listed))} records are gone")
    job = wait_for("the job is told as ended", lambda: (lambda job: job if "ended_at" in job else None)(
        json.loads(sh(f"airlock status {running} --format json").out)))
    expect(job["state"] == "lost" and job["lost_reason"], job)
    # 123: nobody can know whether these were its last words.
    logs = sh(f"airlock logs {running}", code=123)
    lines = [int(line) for line in logs.out.split()]
    expect(len(lines) >= 10 and lines == list(range(1, len(lines) + 1)) and "may be missing" in logs.err, logs)


def nothing_of_dead_jobs_is_left(_operator):
    left = sh("ls -A /var/lib/airlock/work").out
    expect(left == "", left)


def the_audit_trail_is_whole(operator):
    operator.follow("audit-trail")


CHECKS = [
    both_halves_are_back_without_anybody_asking,
    what_was_recorded_is_there_and_what_ran_is_lost,
    nothing_of_dead_jobs_is_left,
    the_audit_trail_is_whole,
]

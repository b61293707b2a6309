"""Everything that can happen to the units while a job writes, and not a byte of it lost."""

import os
import pathlib
import signal
import time

from host import Marathon, bob, ended, expect, is_active, journal, main_pid, serves, sh, show, start, status, wait_for

CONFIGURATION, POLICY = pathlib.Path("/etc/airlock/executor.toml"), pathlib.Path("/etc/airlock/policy.toml")


def survives(what, *units):
    """Does `what` under a running job; afterwards the units have new processes where that is meant, and everything goes on."""
    job = Marathon()
    jobs_unit = show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")
    before = {unit: main_pid(unit) for unit in ("airlock-executor", "airlock-frontend")}
    what()
    wait_for("jobs can be run again", serves)
    for unit, pid in before.items():
        now = wait_for(f"{unit} has a process", lambda unit=unit: main_pid(unit))
        expect((now != pid) == (unit in units), f"{unit}: process {pid}, then {now}")
    expect((show("airlock-jobs", "InvocationID"), main_pid("airlock-jobs")) == jobs_unit, "airlock-jobs.service was touched")
    job.goes_on()
    job.finish()


def kill(*units):
    for unit in units:
        os.kill(main_pid(unit), signal.SIGKILL)


def a_restart_of_the_frontend_spares_jobs(_operator):
    survives(lambda: sh("systemctl restart airlock-frontend"), "airlock-frontend")


def a_restart_of_the_executor_spares_jobs(_operator):
    survives(lambda: sh("systemctl restart airlock-executor"), "airlock-executor")


def stop_and_start_of_the_executor_spares_jobs(operator):
    survives(lambda: operator.follow("stop-executor"), "airlock-executor")


def a_restart_of_the_socket_spares_jobs(_operator):
    survives(lambda: sh("systemctl restart airlock-executor.socket; systemctl start airlock-executor"), "airlock-executor")


def without_an_executor_everybody_is_told_and_jobs_run_on(_operator):
    job = Marathon()
    sh("systemctl stop airlock-executor.socket airlock-executor")
    try:
        refused = bob("airlock run -- true", code=125)
        expect("executor away" in refused.err and "nothing was started" in refused.err, refused)
        doctor = bob("airlock doctor", code=1).out
        expect("the server has no executor" in doctor and "airlock-executor --check" in doctor, doctor)
        expect(job.status()["state"] == "running", job.status())
    finally:
        sh("systemctl start airlock-executor")
    wait_for("jobs can be run again", serves)
    job.goes_on()
    job.finish()


def a_reload_of_both_spares_jobs(operator):
    survives(lambda: operator.follow("reload"))


def sigkill_of_the_frontend_spares_jobs(_operator):
    survives(lambda: kill("airlock-frontend"), "airlock-frontend")


def sigkill_of_the_executor_spares_jobs(_operator):
    survives(lambda: kill("airlock-executor"), "airlock-executor")


def sigkill_of_both_spares_jobs(_operator):
    survives(lambda: kill("airlock-executor", "airlock-frontend"), "airlock-executor", "airlock-frontend")


def a_new_systemd_spares_jobs(_operator):
    survives(lambda: sh("systemctl daemon-reload; systemctl daemon-reexec"))


def a_job_that_ends_while_nobody_looks_keeps_its_status(_operator):
    job = start("-- sh -c 'sleep 3; echo last words; exit 41'")
    sh("systemctl stop airlock-frontend airlock-executor.socket airlock-executor")
    time.sleep(4)
    sh("systemctl start airlock-executor airlock-frontend")
    end = ended(job)
    expect(end["exit_status"] == 41, end)
    expect(bob(f"airlock logs {job}").out == "last words", "its output")


def a_bad_configuration_changes_nothing_and_is_named(_operator):
    text, since = CONFIGURATION.read_text(), time.time() - 1
    job = Marathon()
    CONFIGURATION.write_text(text.replace("[profile.standard.limits]", "[profile.standard.limits]\nmemroy = { max = \"1G\" }"))
    try:
        sh("systemctl reload airlock-executor")
        said = wait_for("the journal names the mistake", lambda: "memroy" in journal("airlock-executor", since) and
                        journal("airlock-executor", since))
        expect("executor.toml:" in said and "did you mean 'memory'" in said, said)
        expect("FAIL" in sh("airlock-executor --check", code=1).out, "--check")
        expect(serves(), "jobs cannot be run under what was in force")
    finally:
        CONFIGURATION.write_text(text)
        sh("systemctl reload airlock-executor")
    job.finish()


def a_bad_policy_changes_nothing_and_is_named(_operator):
    text, since = POLICY.read_text(), time.time() - 1
    POLICY.write_text(text + "\nvisibilty = 1\n")
    try:
        sh("systemctl reload airlock-frontend")
        said = wait_for("the journal names the mistake", lambda: (lambda lines: "visibilty" in lines and lines)(
            journal("airlock-frontend", since)))
        expect("policy.toml" in said and "in force stays" in said, said)
        expect(serves(), "jobs cannot be run under the policy that was in force")
    finally:
        POLICY.write_text(text)
        sh("systemctl reload airlock-frontend")


def a_half_that_hangs_is_started_again(_operator):
    job = Marathon()
    units = ("airlock-executor", "airlock-frontend")
    for unit in units:
        sh(f"mkdir -p /run/systemd/system/{unit}.service.d")
        pathlib.Path(f"/run/systemd/system/{unit}.service.d/soon.conf").write_text("[Service]\nWatchdogSec=15s\n")
    sh("systemctl daemon-reload; systemctl restart airlock-executor airlock-frontend")
    hung = {unit: main_pid(unit) for unit in units}
    time.sleep(20)
    expect({unit: main_pid(unit) for unit in units} == hung, "a half that is well was started again")
    for pid in hung.values():
        os.kill(pid, signal.SIGSTOP)
    for unit, pid in hung.items():
        wait_for(f"{unit} is started again", lambda unit=unit, pid=pid: main_pid(unit) not in (0, pid), 60)
        sh(f"rm -r /run/systemd/system/{unit}.service.d")
    sh("systemctl daemon-reload; systemctl restart airlock-executor airlock-frontend")
    wait_for("jobs can be run again", serves)
    job.goes_on()
    job.finish()


def the_death_of_a_keeper_loses_its_job_alone(_operator):
    neighbour, job = Marathon(), start("-- sleep 1000")
    keeper = sh(f"pgrep -f 'airlock-keeper {job}'").out.split()[0]
    os.kill(int(keeper), signal.SIGKILL)
    end = ended(job)
    expect(end["state"] == "lost" and "keeper" in end["lost_reason"], end)
    neighbour.goes_on()
    neighbour.finish()


def the_end_of_the_jobs_unit_ends_jobs_and_is_told(operator):
    polite, deaf = start("-- sleep 1000"), start("-- bash -c 'trap \"\" TERM; while :; do sleep 1; done'")
    sh("systemctl stop airlock-jobs")
    refused = bob("airlock run -- true", code=125)
    expect("systemctl start airlock-jobs" in refused.err, refused)
    end = ended(polite)
    expect(end["state"] == "lost" or end["exit"].get("signal") == 15, end)
    end = ended(deaf)
    expect(end["state"] == "lost" and "airlock-jobs.service" in end["lost_reason"], end)
    expect(is_active("airlock-executor"), "the executor went with the jobs' unit")
    sh("systemctl start airlock-jobs")
    wait_for("jobs can be run again", serves)
    operator.follow("kill-switch")
    wait_for("jobs can be run again", serves)


def the_death_of_the_holder_is_mended(_operator):
    job = start("-- sleep 1000")
    kill("airlock-jobs")
    ended(job)
    wait_for("jobs can be run again", serves)
    expect(status(job)["state"] != "running", status(job))


CHECKS = [
    a_restart_of_the_frontend_spares_jobs,
    a_restart_of_the_executor_spares_jobs,
    stop_and_start_of_the_executor_spares_jobs,
    a_restart_of_the_socket_spares_jobs,
    without_an_executor_everybody_is_told_and_jobs_run_on,
    a_reload_of_both_spares_jobs,
    sigkill_of_the_frontend_spares_jobs,
    sigkill_of_the_executor_spares_jobs,
    sigkill_of_both_spares_jobs,
    a_new_systemd_spares_jobs,
    a_job_that_ends_while_nobody_looks_keeps_its_status,
    a_bad_configuration_changes_nothing_and_is_named,
    a_bad_policy_changes_nothing_and_is_named,
    a_half_that_hangs_is_started_again,
    the_death_of_a_keeper_loses_its_job_alone,
    the_end_of_the_jobs_unit_ends_jobs_and_is_told,
    the_death_of_the_holder_is_mended,
]

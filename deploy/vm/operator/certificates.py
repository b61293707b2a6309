"""Renewal, revocation and a new authority, as the guide has them."""

from host import Marathon, bob, expect, main_pid, sh, wait_for


def certificates_are_renewed_under_running_jobs(operator):
    job, frontend = Marathon(), main_pid("airlock-frontend")
    serial = "openssl s_client -connect localhost:7443 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    before = sh(serial, code=None).out
    operator.follow("renew")
    wait_for("the new certificate is served", lambda: sh(serial, code=None).out not in ("", before))
    expect(main_pid("airlock-frontend") == frontend, "the frontend was restarted")
    bob("airlock run -- true")
    job.goes_on()
    job.finish()


def a_new_authority_keeps_everybody_in(operator):
    operator.follow("new-authority")
    bob("airlock run -- true")
    sh("airlock run -- true")


def whoever_is_revoked_is_out_at_once(operator):
    job = Marathon()
    operator.follow("revoke")
    refused = wait_for("bob is refused", lambda: (lambda done: done if done.code else None)(bob("airlock list", code=None)))
    expect(refused.code == 125 and "revoked" in refused.err, refused)
    wait_for("the job was stopped", lambda: sh(f"airlock status {job.job} --format json").out.find('"stopped"') > 0)


CHECKS = [
    certificates_are_renewed_under_running_jobs,
    a_new_authority_keeps_everybody_in,
    whoever_is_revoked_is_out_at_once,
]

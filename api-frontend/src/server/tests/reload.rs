use tonic::Code;

use super::*;

#[test]
fn a_revoked_identity_loses_its_open_stream_and_cannot_come_back_while_others_go_on() {
    let stack = Stack::new();
    let alice = stack.pki.client(&Client::new("alice", "user"));
    let mut revoked = stack.client_of(&alice);
    let mut other = stack.client("bob", "user");
    stack.run(async {
        let job = started(&mut revoked, "r1").await;
        let others = started(&mut other, "r1").await;
        let follow =
            |job: &v1::Job| v1::StreamOutputRequest { job: job.job_id.clone(), follow: true, ..Default::default() };
        let mut stream = revoked.stream_output(follow(&job)).await.unwrap().into_inner();
        let mut goes_on = other.stream_output(follow(&others)).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        assert!(goes_on.message().await.unwrap().is_some());
        put(&stack.path("crl.pem"), &stack.pki.crl(&[&alice], 3600));
        stack.frontend.reload().await.unwrap();
        assert!(stream.message().await.is_err(), "the stream is cut");
        assert!(who(&mut stack.client_of(&alice)).await.is_err(), "and the certificate no longer accepted");
        stack.fake.write(id(&others), ipc_protocol::Stream::Stdout, b"still here");
        let message = goes_on.message().await.unwrap().unwrap();
        assert!(matches!(message.event, Some(v1::stream_output_response::Event::Chunk(_))), "{message:?}");
    });
}

#[test]
fn a_new_server_certificate_and_a_new_authority_take_effect_without_a_restart() {
    let stack = Stack::new();
    let mut before = stack.client("alice", "user");
    assert!(stack.run(who(&mut before)).is_ok());
    let next = Pki::new("next authority");
    put(&stack.path("ca.crt"), &format!("{}{}", stack.pki.pem, next.pem));
    put(&stack.path("crl.pem"), &format!("{}{}", stack.pki.crl(&[], 3600), next.crl(&[], 3600)));
    stack.run(stack.frontend.reload()).unwrap();
    let new = next.client(&Client::new("carol", "user"));
    assert!(stack.run(who(&mut stack.client_of(&new))).is_ok());
    assert!(stack.run(who(&mut before)).is_ok(), "connections of the old authority stay");
    put(&stack.path("ca.crt"), &next.pem);
    put(&stack.path("crl.pem"), &next.crl(&[], 3600));
    stack.run(stack.frontend.reload()).unwrap();
    assert!(stack.run(who(&mut stack.client("alice", "user"))).is_err(), "until their authority is retired");
}

#[test]
fn bad_files_change_nothing_and_are_named() {
    let stack = Stack::new();
    put(&stack.path("policy.toml"), "visibilty = \"all\"\n");
    let error = stack.run(stack.frontend.reload()).unwrap_err().to_string();
    let expected =
        format!("{}:1: unknown key 'visibilty'; did you mean 'visibility'?", stack.path("policy.toml").display());
    assert_eq!(error, expected);
    put(&stack.path("policy.toml"), "visibility = \"all\"\n[output]\nreserve = 0\n");
    put(&stack.path("crl.pem"), "nothing useful");
    assert!(stack.run(stack.frontend.reload()).is_err());
    let me = stack.run(who(&mut stack.client("alice", "user"))).unwrap();
    assert_eq!(me.visibility, "own", "half of a reload would be worse than none");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let stack = Stack::new();
    let key = stack.path("server.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = stack.run(stack.frontend.reload()).unwrap_err().to_string();
    assert_eq!(error, format!("{} may be read by others (mode 0644); chmod 0600 it", key.display()));
}

#[test]
fn an_ended_revocation_list_is_obeyed_and_warned_about_and_locks_nobody_out() {
    let stack = Stack::new();
    let revoked = stack.pki.client(&Client::new("bob", "user"));
    put(&stack.path("crl.pem"), &stack.pki.crl(&[&revoked], -60));
    let files = stack.frontend.config.tls().clone();
    let setup = TlsSetup::load(&files).unwrap();
    assert!(setup.warnings.iter().any(|w| w.contains("it is still obeyed")), "{:?}", setup.warnings);
    stack.run(stack.frontend.reload()).unwrap();
    assert!(stack.run(who(&mut stack.client("alice", "user"))).is_ok());
    assert!(stack.run(who(&mut stack.client_of(&revoked))).is_err());
}

#[test]
fn a_changed_visibility_is_in_force_for_the_next_call() {
    let stack = Stack::new();
    let (mut alice, mut bob) = (stack.client("alice", "user"), stack.client("bob", "user"));
    stack.run(async {
        let job = started(&mut alice, "r1").await;
        let get = || v1::GetJobRequest { job: job.job_id.clone() };
        assert_eq!(bob.get_job(get()).await.unwrap_err().code(), Code::NotFound);
        put(&stack.path("policy.toml"), "visibility = \"all\"\n[output]\nreserve = 0\n");
        stack.frontend.reload().await.unwrap();
        let mut bob = stack.client("bob", "user");
        assert!(bob.get_job(get()).await.is_ok());
    });
}

use airlock_proto::identity::Role;
use tonic::Code;

use super::*;

/// Refused at the door: there is no answer from the service itself, in whatever words the client's library says so.
fn refused(stack: &Stack, pair: Option<&Pair>) {
    let mut client = JobServiceClient::new(stack.channel(pair));
    let status = stack.run(who(&mut client)).expect_err("it must be refused");
    assert!(status.metadata().is_empty() && status.details().is_empty(), "an answer came from inside: {status:?}");
}

#[test]
fn only_certificates_of_the_authority_that_are_in_force_get_in() {
    let stack = Stack::new();
    let good = Client::new("alice", "user");
    assert_eq!(stack.run(who(&mut stack.client_of(&stack.pki.client(&good)))).unwrap().name, "alice");
    refused(&stack, None);
    refused(&stack, Some(&Pki::new("test authority").client(&good)));
    refused(&stack, Some(&stack.pki.client(&Client { ends_in: -60, ..good })));
    // The server's own certificate is no client's.
    refused(&stack, Some(&stack.pki.server()));
}

#[test]
fn certificates_of_every_supported_kind_of_key_get_in() {
    let stack = Stack::new();
    let kinds: [(&str, &rcgen::SignatureAlgorithm); 3] = [
        ("P-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("P-384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("Ed25519", &rcgen::PKCS_ED25519),
    ];
    for (name, algorithm) in kinds {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let pair = stack.pki.client_with(&Client::new("alice", "user"), &key);
        assert!(stack.run(who(&mut stack.client_of(&pair))).is_ok(), "{name}");
    }
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_4096).unwrap();
    let pair = stack.pki.client_with(&Client::new("alice", "user"), &key);
    assert!(stack.run(who(&mut stack.client_of(&pair))).is_ok(), "RSA-4096");
}

#[test]
fn the_key_exchange_is_hybrid_and_the_caller_can_see_it() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    let info = stack.run(client.get_server_info(v1::GetServerInfoRequest {})).unwrap().into_inner();
    assert_eq!(info.key_exchange, "X25519MLKEM768");
    assert!(info.executor.unwrap().connected);
    assert_eq!(info.host, "build1");
}

#[test]
fn tls_1_2_is_refused() {
    let stack = Stack::new();
    let address = stack.address.to_string();
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &address, "-tls1_2"])
        .stdin(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("protocol version") || text.contains("unsupported"), "{text}");
        }
        Err(error) => println!("skipped tls_1_2_is_refused: openssl: {error}"),
    }
}

#[test]
fn the_role_comes_from_the_extension_and_then_from_the_unit() {
    let stack = Stack::new();
    let role = |client: Client<'_>| stack.run(who(&mut stack.client_of(&stack.pki.client(&client))));
    assert_eq!(role(Client::new("a", "admin")).unwrap().role, "admin");
    assert_eq!(role(Client::new("a", "reader")).unwrap().role, "reader");
    let both = Client { role: Some(Role::Reader), ..Client::new("a", "admin") };
    assert_eq!(role(both).unwrap().role, "reader", "the first source that has one decides");
    let refused = role(Client::new("eve", "build")).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("eve has no role on build1"), "{}", refused.message());
}

#[test]
fn a_policy_without_units_takes_roles_from_the_extension_alone() {
    let stack = Stack::with("", "roles_from = [\"extension\"]");
    let refused = stack.run(who(&mut stack.client("mallory", "admin"))).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let pair = stack.pki.client(&Client { role: Some(Role::User), ..Client::new("alice", "") });
    assert_eq!(stack.run(who(&mut stack.client_of(&pair))).unwrap().role, "user");
}

#[test]
fn connections_that_never_shake_hands_are_closed_and_hinder_nobody() {
    let stack = Stack::with("[limits]\nhandshake_seconds = 1\nhandshakes = 2\n", "");
    let idle: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(stack.address).unwrap()).collect();
    let begin = Instant::now();
    assert!(stack.run(who(&mut stack.client("alice", "user"))).is_ok());
    assert!(begin.elapsed() < Duration::from_millis(900), "it did not wait for the idle ones: {:?}", begin.elapsed());
    for socket in &idle {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut byte = [0];
        assert_eq!(std::io::Read::read(&mut &*socket, &mut byte).unwrap(), 0, "closed within its second");
    }
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_free_slots_are_used_again() {
    let stack = Stack::with("[limits]\nconnections = 2\n", "");
    let (mut first, mut second) = (stack.client("alice", "user"), stack.client("bob", "user"));
    assert!(stack.run(who(&mut first)).is_ok());
    assert!(stack.run(who(&mut second)).is_ok());
    let refused = stack.run(who(&mut stack.client("carol", "user"))).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    drop(first);
    stack.run(until("a free slot", || async {
        let mut third = stack.client("carol", "user");
        who(&mut third).await.is_ok()
    }));
    assert!(stack.run(who(&mut second)).is_ok());
}

#[test]
fn a_certificate_that_ends_takes_its_open_connection_along() {
    let stack = Stack::new();
    let pair = stack.pki.client(&Client { ends_in: 3, ..Client::new("alice", "user") });
    let mut client = stack.client_of(&pair);
    let mut admin = stack.client("admin", "admin");
    stack.run(async {
        let job = started(&mut client, "r1").await;
        let follow = v1::StreamOutputRequest { job: job.job_id, follow: true, ..Default::default() };
        let mut stream = client.stream_output(follow).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some(), "it begins");
        assert!(stream.message().await.is_err(), "and is cut when the certificate ends");
        assert!(who(&mut admin).await.is_ok());
    });
}

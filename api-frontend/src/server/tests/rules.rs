use tonic::Code;
use tonic_types::StatusExt;

use super::*;

const RULES: &str = r#"
[[rule]]
match = { cn = "mallory" }
role = "none"

[[rule]]
match = { ou = "build" }
role = "user"
profiles = ["deploy-web", "standard"]
group = "build"

[[rule]]
match = { cn = "root" }

[group.build]
jobs = 1
cpu = 16
"#;

fn sentence(status: &Status) -> &str {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "NO_ROLE");
    status.message()
}

#[test]
fn whoami_shows_what_the_rule_gives_and_how_full_the_group_is() {
    let stack = Stack::with("", RULES);
    let (mut bob, mut root) = (stack.client("bob", "build"), stack.client("root", "admin"));
    stack.run(async {
        let start = v1::StartJobRequest { profile: "standard".into(), ..start_request("r1") };
        bob.start_job(start).await.unwrap();
        let me = who(&mut bob).await.unwrap();
        assert_eq!((me.role.as_str(), me.profiles[0].name.as_str(), me.profiles.len()), ("user", "deploy-web", 2));
        let group = v1::Group {
            name: "build".into(),
            jobs: 1,
            max_jobs: Some(1),
            memory_bytes: 1 << 30,
            max_memory_bytes: None,
            cpu_cores: 2.0,
            max_cpu_cores: Some(16.0),
        };
        assert_eq!(me.group, Some(group));
        let start = v1::StartJobRequest { profile: "standard".into(), ..start_request("r2") };
        let full = bob.start_job(start).await.unwrap_err();
        assert_eq!(full.code(), Code::ResourceExhausted);
        assert!(full.message().starts_with("group build has 1 job running, its most; "), "{full}");
        assert_eq!(full.get_error_details().error_info().unwrap().reason, "GROUP");
        let me = who(&mut root).await.unwrap();
        assert_eq!((me.role.as_str(), me.group, me.profiles[0].name.as_str()), ("admin", None, "standard"));
    });
}

#[test]
fn whom_the_rules_shut_out_or_do_not_know_is_refused_every_call_of_every_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

    let stack = Stack::with("", RULES);
    for (name, unit, said) in [
        ("mallory", "build", "mallory has no role on build1: the policy shuts this name out; ask your operator"),
        ("eve", "admin", "eve has no role on build1: no rule of the policy fits the certificate; ask your operator"),
        (
            "root",
            "sales",
            "root has no role on build1: the certificate carries none that the policy accepts; ask your \
                           operator for one that does",
        ),
    ] {
        let pair = stack.pki.client(&Client::new(name, unit));
        stack.run(async {
            let mut client = stack.client_of(&pair);
            assert_eq!(sentence(&who(&mut client).await.unwrap_err()), said);
            assert_eq!(sentence(&client.start_job(start_request("r1")).await.unwrap_err()), said);
            assert_eq!(sentence(&client.list_jobs(v1::ListJobsRequest::default()).await.unwrap_err()), said);
            assert_eq!(sentence(&client.get_server_info(v1::GetServerInfoRequest {}).await.unwrap_err()), said);
            let output = v1::StreamOutputRequest { job: "last".into(), ..Default::default() };
            assert_eq!(sentence(&client.stream_output(output).await.unwrap_err()), said);
            let mut health = tonic_health::pb::health_client::HealthClient::new(stack.channel(Some(&pair)));
            let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
            assert_eq!(sentence(&health.check(request).await.unwrap_err()), said);
            let mut reflection = ServerReflectionClient::new(stack.channel(Some(&pair)));
            let request = ServerReflectionRequest { host: String::new(), message_request: None };
            let refused = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap_err();
            assert_eq!(sentence(&refused), said);
        });
    }
}

#[test]
fn who_is_shut_out_by_a_reload_loses_the_open_stream_and_others_keep_theirs() {
    let stack = Stack::with("", RULES);
    let (mut bob, mut root) = (stack.client("bob", "build"), stack.client("root", "admin"));
    stack.run(async {
        let start = v1::StartJobRequest { profile: "standard".into(), ..start_request("r1") };
        let job = bob.start_job(start).await.unwrap().into_inner().job.unwrap();
        let follow = || v1::StreamOutputRequest { job: job.job_id.clone(), follow: true, ..Default::default() };
        let mut cut = bob.stream_output(follow()).await.unwrap().into_inner();
        let mut kept = root.stream_output(follow()).await.unwrap().into_inner();
        assert!(cut.message().await.unwrap().is_some() && kept.message().await.unwrap().is_some());
        put(&stack.path("policy.toml"), &RULES.replace("mallory", "bob"));
        stack.frontend.reload().await.unwrap();
        assert!(cut.message().await.is_err(), "the stream is cut");
        assert!(sentence(&who(&mut stack.client("bob", "build")).await.unwrap_err()).contains("shuts this name out"));
        stack.fake.write(id(&job), ipc_protocol::Stream::Stdout, b"still here");
        assert!(kept.message().await.unwrap().is_some());
    });
}

#[test]
fn a_bad_rule_is_named_with_its_line_and_the_old_rules_stay() {
    let stack = Stack::with("", RULES);
    put(&stack.path("policy.toml"), &RULES.replace("group = \"build\"", "group = \"bild\""));
    let error = stack.run(stack.frontend.reload()).unwrap_err().to_string();
    let expected = format!("{}:10: there is no [group.bild]; groups are build", stack.path("policy.toml").display());
    assert_eq!(error, expected);
    assert!(stack.run(who(&mut stack.client("mallory", "build"))).is_err());
    assert_eq!(stack.run(who(&mut stack.client("bob", "build"))).unwrap().group.unwrap().name, "build");
}

#[test]
fn profiles_that_rules_name_and_the_executor_lacks_are_told_to_admins() {
    let stack = Stack::with("", "[[rule]]\nmatch = { cn = \"*\" }\nprofiles = [\"standard\", \"ofline\"]\n");
    let (mut root, mut bob) = (stack.client("root", "admin"), stack.client("bob", "user"));
    stack.run(async {
        let info = async |client: &mut JobServiceClient<Channel>| {
            client.get_server_info(v1::GetServerInfoRequest {}).await.unwrap().into_inner()
        };
        let sentence = "policy.toml:1 (cn *): the executor has no profile 'ofline'; correct the rule, or add \
                        [profile.ofline] to executor.toml";
        // The profiles come a moment after the connection.
        let end = Instant::now() + Duration::from_secs(10);
        while info(&mut root).await.warnings != [sentence] {
            assert!(Instant::now() < end, "{:?}", info(&mut root).await.warnings);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(info(&mut bob).await.warnings, [""; 0]);
        put(&stack.path("policy.toml"), "[output]\nreserve = 0\n");
        stack.frontend.reload().await.unwrap();
        assert_eq!(info(&mut root).await.warnings, [""; 0]);
    });
}

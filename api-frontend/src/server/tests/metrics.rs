use std::pin::Pin;

use hyper::body::Body as _;
use hyper::{Request, StatusCode};
use ipc_protocol::{End, Facts, Stream};
use tower::{Service as _, ServiceExt};

use super::*;
use crate::metrics::{CONTENT_TYPE, PATH};

/// What `GET` (or another method) of the path answers: status, type and text.
async fn ask(channel: &mut Channel, method: &str) -> (StatusCode, String, String) {
    let request = Request::builder().method(method).uri(PATH).body(tonic::body::Body::empty()).unwrap();
    let answer = channel.ready().await.unwrap().call(request).await.unwrap();
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        text.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    let kind = head.headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    (head.status, kind.unwrap_or_default(), String::from_utf8(text).unwrap())
}

impl Stack {
    fn channel_of(&self, name: &str, unit: &str) -> Channel {
        self.channel(Some(&self.pki.client(&Client::new(name, unit))))
    }

    /// The value of a line of the metrics, by its name with labels.
    fn metric(&self, line: &str) -> Option<u64> {
        let (status, kind, text) = self.run(ask(&mut self.channel_of("rita", "reader"), "GET"));
        assert_eq!((status, kind.as_str()), (StatusCode::OK, CONTENT_TYPE));
        assert!(text.ends_with("# EOF\n"), "{text}");
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))?;
        Some(found.parse().unwrap_or_else(|_| panic!("{line} {found}")))
    }

    fn metric_becomes(&self, line: &str, value: u64) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.metric(line) != Some(value) {
            assert!(Instant::now() < end, "{line} is {:?}, not {value}", self.metric(line));
        }
    }
}

#[test]
fn jobs_output_and_the_executor_are_counted() {
    let stack = Stack::new();
    let mut alice = stack.client("alice", "user");
    assert_eq!(stack.metric("airlock_build_info{version=\"0.1.0\"}"), Some(1));
    assert_eq!(stack.metric("airlock_executor_connected"), Some(1));
    assert_eq!(stack.metric("airlock_jobs_ended_total{state=\"out-of-memory\"}"), Some(0));
    let job = stack.run(started(&mut alice, "r1"));
    assert_eq!(stack.metric("airlock_jobs_started_total"), Some(1));
    assert_eq!(stack.metric("airlock_jobs{state=\"running\"}"), Some(1));
    stack.fake.write(id(&job), Stream::Stdout, &[b'x'; 100_000]);
    stack.fake.write(id(&job), Stream::Stderr, b"23 bytes of other output");
    stack.metric_becomes("airlock_output_bytes_total", 100_024);
    stack.fake.exit(id(&job), End::Exited(3), Facts::default());
    stack.metric_becomes("airlock_jobs_ended_total{state=\"failed\"}", 1);
    stack.metric_becomes("airlock_jobs{state=\"running\"}", 0);
    // Told again after a new connection, nothing is counted twice.
    stack.fake.disconnect();
    stack.metric_becomes("airlock_executor_connected", 1);
    assert_eq!(stack.metric("airlock_output_bytes_total"), Some(100_024));
    stack.fake.go_away();
    stack.metric_becomes("airlock_executor_connected", 0);
}

#[test]
fn calls_connections_room_and_ends_of_certificates_are_told() {
    let stack = Stack::new();
    let mut alice = stack.client("alice", "user");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    stack.run(async {
        alice.list_jobs(v1::ListJobsRequest::default()).await.unwrap();
        alice.get_job(v1::GetJobRequest { job: "none".into() }).await.unwrap_err();
        alice.get_job(v1::GetJobRequest { job: "none".into() }).await.unwrap_err();
    });
    assert_eq!(stack.metric("airlock_calls_total{method=\"ListJobs\"}"), Some(1));
    assert_eq!(stack.metric("airlock_calls_total{method=\"GetJob\"}"), Some(2));
    assert_eq!(stack.metric("airlock_calls_failed_total{method=\"GetJob\",code=\"NotFound\"}"), Some(2));
    assert_eq!(stack.metric("airlock_calls_failed_total{method=\"ListJobs\",code=\"NotFound\"}"), None);
    // Hers and the one that asks, when those that asked before are gone.
    stack.metric_becomes("airlock_connections", 2);
    assert_eq!(stack.metric("airlock_disk_reserve_bytes"), Some(0));
    assert!(stack.metric("airlock_disk_free_bytes").is_some_and(|free| free > 0));
    let in_time = |line: &str, seconds: u64| {
        let end = stack.metric(line).expect(line);
        assert!(end.abs_diff(now + seconds) < 120, "{line} is {end}, and now it is {now}");
    };
    in_time("airlock_revocation_list_end_timestamp_seconds", 3600);
    assert!(stack.metric("airlock_certificate_end_timestamp_seconds").is_some_and(|end| end > now));
    put(&stack.path("crl.pem"), &stack.pki.crl(&[], 7200));
    stack.run(stack.frontend.reload()).unwrap();
    in_time("airlock_revocation_list_end_timestamp_seconds", 7200);

    let refused = "airlock_connections_refused_total{why=\"handshake-failed\"}";
    assert_eq!(stack.metric(refused), Some(0));
    let mut nobody = JobServiceClient::new(stack.channel(None));
    stack.run(who(&mut nobody)).unwrap_err();
    stack.metric_becomes(refused, 1);
}

#[test]
fn metrics_are_for_those_who_see_all_jobs_and_only_to_be_read() {
    let stack =
        Stack::with("", "[[rule]]\nmatch = { cn = \"mallory\" }\nrole = \"none\"\n[[rule]]\nmatch = { cn = \"*\" }\n");
    for (name, unit, expected, sentence) in [
        ("root", "admin", StatusCode::OK, None),
        ("rita", "reader", StatusCode::OK, None),
        ("bob", "user", StatusCode::FORBIDDEN, Some("bob is a user on build1 and may not read metrics\n")),
        (
            "mallory",
            "reader",
            StatusCode::FORBIDDEN,
            Some("mallory has no role on build1: the policy shuts this name out; ask your operator\n"),
        ),
    ] {
        let (status, kind, text) = stack.run(ask(&mut stack.channel_of(name, unit), "GET"));
        assert_eq!(status, expected, "{name}: {text}");
        assert_eq!(kind == CONTENT_TYPE, sentence.is_none(), "{name}: {kind}");
        assert!(sentence.is_none_or(|sentence| sentence == text), "{name}: {text}");
    }
    let (status, _, text) = stack.run(ask(&mut stack.channel_of("rita", "reader"), "POST"));
    assert_eq!((status, text.as_str()), (StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET\n"));
}

#[test]
fn names_of_methods_that_callers_make_up_are_one() {
    let stack = Stack::new();
    let mut channel = stack.channel_of("alice", "user");
    for path in ["/airlock.v1.JobService/Guess", "/x", "/"] {
        let request = Request::builder().method("POST").uri(path).body(tonic::body::Body::empty()).unwrap();
        stack.run(async { channel.ready().await.unwrap().call(request).await.unwrap() });
    }
    assert_eq!(stack.metric("airlock_calls_total{method=\"other\"}"), Some(3));
    assert_eq!(stack.metric("airlock_calls_failed_total{method=\"other\",code=\"Unimplemented\"}"), Some(3));
}

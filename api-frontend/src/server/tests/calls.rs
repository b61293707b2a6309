use ipc_protocol::{End, Facts, Stream};
use tonic::{Code, Request};
use tonic_types::StatusExt;
use v1::stream_output_response::Event;

use super::*;

async fn collect(mut stream: tonic::Streaming<v1::StreamOutputResponse>) -> (Vec<u8>, Vec<Event>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    while let Some(message) = stream.message().await.unwrap() {
        let event = message.event.unwrap();
        if let Event::Chunk(chunk) = &event {
            bytes.extend_from_slice(&chunk.data);
        }
        events.push(event);
    }
    (bytes, events)
}

#[test]
fn a_job_goes_from_start_over_its_output_to_its_end() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let job = started(&mut client, "r1").await;
        assert_eq!(job.state(), v1::JobState::Running);
        assert_eq!((job.owner.as_str(), job.host.as_str(), job.request_id.as_str()), ("alice", "build1", "r1"));
        let follow = v1::StreamOutputRequest { job: job.job_id.clone(), follow: true, ..Default::default() };
        let stream = client.stream_output(follow).await.unwrap().into_inner();
        let big = vec![b'x'; 1_000_000];
        stack.fake.write(id(&job), Stream::Stdout, &big);
        stack.fake.write(id(&job), Stream::Stderr, b"err");
        stack.fake.exit(id(&job), End::Exited(3), Facts::default());
        let (bytes, events) = collect(stream).await;
        assert_eq!(bytes.len(), 1_000_003);
        assert!(matches!(&events[0], Event::Begin(begin) if begin.offset == 0));
        let Some(Event::End(end)) = events.last() else { panic!("no end: {:?}", events.last()) };
        let ended = end.job.clone().unwrap();
        assert_eq!((end.offset, ended.state(), ended.exit_status), (1_000_003, v1::JobState::Failed, Some(3)));
        assert!(ended.output.unwrap().complete);
        let waited =
            client.wait_job(v1::WaitJobRequest { job: "last".into(), timeout_ms: 0 }).await.unwrap().into_inner();
        assert!(waited.ended);
        let from = Some(v1::stream_output_request::From::Offset(1_000_000));
        let rest = v1::StreamOutputRequest { job: job.job_id.clone(), from, ..Default::default() };
        assert_eq!(collect(client.stream_output(rest).await.unwrap().into_inner()).await.0.len(), 3);
        let from = Some(v1::stream_output_request::From::Offset(1_000_004));
        let beyond = v1::StreamOutputRequest { job: job.job_id, from, ..Default::default() };
        assert_eq!(client.stream_output(beyond).await.unwrap_err().code(), Code::OutOfRange);
    });
}

#[test]
fn errors_carry_reason_field_and_request_id() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let limits = Some(v1::Limits { memory_bytes: Some(32 << 30), ..Default::default() });
        let status = client.start_job(v1::StartJobRequest { limits, ..start_request("0c5e") }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(status.message(), "memory 32G is above the most that profile standard allows, 16G");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "limits.memory_bytes");
        assert_eq!(violation.description, "airlock whoami shows all limits");
        assert_eq!(details.request_info().unwrap().request_id, "0c5e");
        assert_eq!(details.error_info().unwrap().domain, "airlock");

        let mut request = Request::new(v1::GetJobRequest { job: "3f9b".into() });
        request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
        let status = client.get_job(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no job '3f9b' that you may see on build1"));
        assert_eq!(status.get_error_details().request_info().unwrap().request_id, "mine-1");

        let nan = Some(v1::Limits { cpu_cores: Some(f64::NAN), ..Default::default() });
        let status = client.start_job(v1::StartJobRequest { limits: nan, ..start_request("r2") }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let signal = v1::SignalJobRequest { job: "last".into(), signal: 300 };
        assert_eq!(client.signal_job(signal).await.unwrap_err().code(), Code::InvalidArgument);
        let token = v1::ListJobsRequest { page_token: "junk".into(), ..Default::default() };
        assert_eq!(client.list_jobs(token).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn each_role_has_exactly_its_verbs_over_the_wire() {
    let stack = Stack::new();
    let mut alice = stack.client("alice", "user");
    let job = stack.run(started(&mut alice, "r1")).job_id;
    let not_found = [Code::NotFound; 6];
    let reader = [
        Code::Ok,
        Code::Ok,
        Code::PermissionDenied,
        Code::PermissionDenied,
        Code::PermissionDenied,
        Code::PermissionDenied,
    ];
    let admin = [Code::Ok, Code::Ok, Code::Ok, Code::FailedPrecondition, Code::FailedPrecondition, Code::Ok];
    for (name, unit, expected) in [("bob", "user", not_found), ("rita", "reader", reader), ("root", "admin", admin)] {
        let mut client = stack.client(name, unit);
        let job = || job.clone();
        let codes = stack.run(async {
            let output = v1::StreamOutputRequest { job: job(), ..Default::default() };
            [
                code(client.get_job(v1::GetJobRequest { job: job() }).await),
                code(client.stream_output(output).await),
                code(client.signal_job(v1::SignalJobRequest { job: job(), signal: 1 }).await),
                code(client.delete_job(v1::DeleteJobRequest { job: job() }).await),
                code(client.archive_job(v1::ArchiveJobRequest { job: job() }).await),
                code(client.stop_job(v1::StopJobRequest { job: job(), ..Default::default() }).await),
            ]
        });
        assert_eq!(codes, expected, "{name}");
    }
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[test]
fn input_is_uploaded_and_reaches_the_executor() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let parts: Vec<v1::UploadInputRequest> =
            (0..8).map(|n| v1::UploadInputRequest { data: vec![n; 100_000].into() }).collect();
        let uploaded = client.upload_input(tokio_stream::iter(parts)).await.unwrap().into_inner();
        assert_eq!(uploaded.bytes, 800_000);
        let request = v1::StartJobRequest { input_id: uploaded.input_id, ..start_request("r1") };
        let job = client.start_job(request).await.unwrap().into_inner().job.unwrap();
        assert_eq!(job.input.as_ref().unwrap().sha256, uploaded.sha256);
        assert_eq!(stack.fake.world().jobs[&id(&job)].input.len(), 800_000);
        let too_much: Vec<v1::UploadInputRequest> =
            (0..3).map(|n| v1::UploadInputRequest { data: vec![n; 500_000].into() }).collect();
        let refused = client.upload_input(tokio_stream::iter(too_much)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    });
}

#[test]
fn health_and_reflection_answer_over_the_same_door() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let stack = Stack::new();
    let pair = stack.pki.client(&Client::new("alice", "user"));
    stack.run(async {
        let mut health = tonic_health::pb::health_client::HealthClient::new(stack.channel(Some(&pair)));
        let request = tonic_health::pb::HealthCheckRequest { service: "airlock.v1.JobService".into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "SERVING");
        let mut reflection = ServerReflectionClient::new(stack.channel(Some(&pair)));
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = reflection.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(found)) = answer else { panic!("{answer:?}") };
        assert!(found.service.iter().any(|s| s.name == "airlock.v1.JobService"), "{found:?}");
    });
}

#[test]
fn at_shutdown_followers_are_sent_away_to_come_back_and_calls_end() {
    let mut stack = Stack::new();
    let mut client = stack.client("alice", "user");
    let (mut stream, job) = stack.run(async {
        let job = started(&mut client, "r1").await;
        let follow = v1::StreamOutputRequest { job: job.job_id.clone(), follow: true, ..Default::default() };
        let mut stream = client.stream_output(follow).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        (stream, job)
    });
    let begin = Instant::now();
    let following = stack.runtime().spawn(async move { stream.message().await });
    stack.stop().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    let status = stack.run(following).unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(stack.fake.world().jobs.contains_key(&id(&job)), "the job runs on");
    assert!(std::net::TcpStream::connect(stack.address).is_err(), "and nobody listens");
}

#[test]
fn a_list_of_jobs_with_long_commands_comes_in_pages_that_every_client_takes() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let long = "x".repeat(100_000);
        for n in 0..50 {
            let command = vec!["true".to_owned(), long.clone()];
            client.start_job(v1::StartJobRequest { command, ..start_request(&format!("r{n}")) }).await.unwrap();
        }
        let (mut seen, mut pages, mut page_token) = (std::collections::HashSet::new(), 0, String::new());
        loop {
            let request = v1::ListJobsRequest { page_size: 1000, page_token, ..Default::default() };
            let page = client.list_jobs(request).await.unwrap().into_inner();
            pages += 1;
            assert!(page.jobs.into_iter().all(|job| seen.insert(job.job_id)), "each job once");
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((seen.len(), pages), (50, 2));
    });
}

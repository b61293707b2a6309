use hyper::body::{Bytes, Frame};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;

const START: &str = "/airlock.v1.JobService/StartJob";
const SHUT_OUT: &str = "[[rule]]\nmatch = { cn = \"mallory\" }\nrole = \"none\"\n[[rule]]\nmatch = { cn = \"*\" }\n";

/// These bytes, and then silence: the call is never complete.
struct Unfinished(Option<Bytes>);

impl hyper::body::Body for Unfinished {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        // Nobody wakes it: what is awaited is the answer.
        self.0.take().map_or(std::task::Poll::Pending, |bytes| std::task::Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }
}

/// A connection without a gRPC library at this end.
async fn raw(stack: &Stack, name: &str) -> SendRequest<Unfinished> {
    let config = stack.tls_config(Some(&stack.pki.client(&Client::new(name, "user"))));
    let tcp = TcpStream::connect(stack.address).await.unwrap();
    let server = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(config).connect(server, tcp).await.unwrap();
    let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (calls, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    calls
}

/// Announces a message of `announced` bytes, sends `sent` of them, and waits for the answer.
async fn announce(calls: &mut SendRequest<Unfinished>, path: &str, announced: usize, sent: usize) -> Status {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(announced).unwrap().to_be_bytes());
    bytes.resize(5 + sent, 7);
    let request = hyper::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .body(Unfinished(Some(bytes.into())))
        .unwrap();
    calls.ready().await.unwrap();
    let answer = calls.send_request(request).await.unwrap();
    Status::from_header_map(answer.headers()).expect("it is refused")
}

async fn comes_in_again(client: &mut JobServiceClient<Channel>) {
    until("an answer", || {
        let mut client = client.clone();
        async move { client.start_job(start_request("again")).await.is_ok() }
    })
    .await;
}

#[test]
fn who_has_no_role_is_refused_while_the_message_is_still_to_come() {
    let stack = Stack::with("", SHUT_OUT);
    stack.run(async {
        let mut calls = raw(&stack, "mallory").await;
        for path in [
            START,
            "/airlock.v1.JobService/UploadInput",
            "/airlock.v1.JobService/StreamOutput",
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/no.such.Service/Method",
        ] {
            let refused = announce(&mut calls, path, 1000, 10).await;
            assert_eq!(refused.code(), Code::PermissionDenied, "{path}: {refused}");
            assert_eq!(refused.get_error_details().error_info().unwrap().reason, "NO_ROLE");
        }
    });
}

#[test]
fn a_connection_of_somebody_without_a_role_is_not_kept_and_those_of_others_are() {
    let stack = Stack::with("", SHUT_OUT);
    stack.run(async {
        let connect = async |name: &str| {
            let config = stack.tls_config(Some(&stack.pki.client(&Client::new(name, "user"))));
            let tcp = TcpStream::connect(stack.address).await.unwrap();
            let stream = TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), tcp).await;
            let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            http.handshake::<_, Unfinished>(TokioIo::new(stream.unwrap())).await.unwrap()
        };
        let (mut alices, connection) = connect("alice").await;
        tokio::spawn(connection);
        let (mallorys, connection) = connect("mallory").await;
        // Asks nothing, and is closed all the same.
        let _ = connection.await;
        drop(mallorys);
        assert_eq!(announce(&mut alices, START, 3 << 20, 0).await.code(), Code::InvalidArgument, "hers is open");
    });
}

#[test]
fn a_message_that_cannot_be_read_is_the_callers_fault_and_no_internal_error() {
    let stack = Stack::new();
    stack.run(async {
        let mut calls = raw(&stack, "alice").await;
        for path in ["StartJob", "UploadInput", "StreamOutput", "WhoAmI"] {
            // Sevens are no message of the interface.
            let refused = announce(&mut calls, &format!("/airlock.v1.JobService/{path}"), 10, 10).await;
            assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused}");
            assert!(!refused.get_error_details().request_info().unwrap().request_id.is_empty());
        }
    });
}

#[test]
fn a_message_longer_than_its_call_needs_is_refused_before_it_comes() {
    let stack = Stack::new();
    stack.run(async {
        let mut calls = raw(&stack, "alice").await;
        let refused = announce(&mut calls, START, 3 << 20, 0).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let sentence =
            "a message of 3145728 bytes is above the most that StartJob takes, 448 KiB; send large data as input";
        assert_eq!(refused.message(), sentence);
        for (path, most) in [("UploadInput", 2 << 20), ("GetJob", 100 << 10), ("StreamOutput", 100 << 10)] {
            let refused = announce(&mut calls, &format!("/airlock.v1.JobService/{path}"), most, 0).await;
            assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused}");
        }
    });
}

#[test]
fn messages_that_one_identity_never_completes_are_bounded_together_and_hinder_nobody_else() {
    let stack = Stack::new();
    let (mut alice, mut bob) = (stack.client("alice", "user"), stack.client("bob", "user"));
    stack.run(async {
        // Over two connections, more than the 32 MiB that one identity may have.
        let mut unfinished = JoinSet::new();
        for n in 0..2 {
            let calls = raw(&stack, "alice").await;
            for _ in 0..50 + n {
                let mut calls = calls.clone();
                unfinished.spawn(async move { announce(&mut calls, START, 400_000, 390_000).await });
            }
        }
        let refused = unfinished.join_next().await.unwrap().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert_eq!(refused.message(), "more than 32 MiB of your requests are under way; wait for answers");
        assert!(bob.start_job(start_request("r1")).await.is_ok());
        drop(unfinished);
        comes_in_again(&mut alice).await;
    });
}

#[test]
fn one_identity_leaves_connections_for_others_and_is_told_so() {
    let stack = Stack::with("[limits]\nconnections = 8\n", "");
    stack.run(async {
        let mut open = Vec::new();
        for n in 0..6 {
            let mut client = stack.client("alice", "user");
            assert!(who(&mut client).await.is_ok(), "{n}");
            open.push(client);
        }
        let refused = who(&mut stack.client("alice", "user")).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let sentence = "alice has 6 connections open here, the most that one identity may have; close some, or ask your \
                        operator for more (limits.connections_per_identity in frontend.toml)";
        assert_eq!(refused.message(), sentence);
        assert_eq!(refused.get_error_details().error_info().unwrap().reason, "CONNECTIONS");
        for name in ["bob", "carol"] {
            let mut client = stack.client(name, "user");
            assert!(who(&mut client).await.is_ok(), "{name}");
            open.push(client);
        }
        let refused = who(&mut stack.client("dora", "user")).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().starts_with("8 connections are open here, as many as there may be"), "{refused}");
        open.remove(0);
        until("alice's place", || async { who(&mut stack.client("alice", "user")).await.is_ok() }).await;
        for client in &mut open {
            assert!(who(client).await.is_ok(), "the others were left alone");
        }
    });
}

#[test]
fn handshakes_that_are_begun_and_never_ended_hold_up_no_other_address() {
    let stack = Stack::with("[limits]\nhandshakes = 2\nhandshake_seconds = 60\n", "");
    stack.run(async {
        let mut begun = Vec::new();
        for _ in 0..5 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(stack.address).await.unwrap();
            // The first byte of a handshake.
            tokio::io::AsyncWriteExt::write_all(&mut stream, &[22]).await.unwrap();
            begun.push(stream);
        }
        assert!(who(&mut stack.client("alice", "user")).await.is_ok());
    });
}

#[test]
fn one_identity_may_have_all_connections_where_the_operator_says_so() {
    let stack = Stack::with("[limits]\nconnections = 3\nconnections_per_identity = 3\n", "");
    stack.run(async {
        let mut clients = [(); 3].map(|()| stack.client("alice", "user"));
        for client in &mut clients {
            assert!(who(client).await.is_ok());
        }
    });
}

#[test]
fn calls_of_one_identity_are_bounded_over_all_its_connections_and_hinder_nobody_else() {
    let stack = Stack::new();
    let (mut alice, mut bob) = (stack.client("alice", "user"), stack.client("bob", "user"));
    stack.run(async {
        let job = started(&mut alice, "r1").await.job_id;
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            let client = stack.client("alice", "user");
            for _ in 0..250 {
                let (mut client, job) = (client.clone(), job.clone());
                waiting.spawn(async move { client.wait_job(v1::WaitJobRequest { job, timeout_ms: 0 }).await });
            }
        }
        let refused = waiting.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().starts_with("alice has 4096 calls under way, the most"), "{refused}");
        assert!(bob.start_job(start_request("r1")).await.is_ok());
        drop(waiting);
        comes_in_again(&mut alice).await;
    });
}

use std::fs::OpenOptions;
use std::path::Path;

use ipc_protocol::{End, Facts, Stream};
use v1::stream_output_response::Event;

use super::*;

/// A job that wrote so many bytes and ended well, and that nobody reads any more.
async fn ended_job(stack: &Stack, client: &mut JobServiceClient<Channel>, bytes: usize) -> v1::Job {
    let job = started(client, "r1").await;
    stack.fake.write(id(&job), Stream::Stdout, &vec![b'x'; bytes]);
    stack.fake.exit(id(&job), End::Exited(0), Facts::default());
    let waited = client.wait_job(v1::WaitJobRequest { job: job.job_id, timeout_ms: 0 }).await.unwrap().into_inner();
    assert!(waited.ended);
    waited.job.unwrap()
}

async fn status(client: &mut JobServiceClient<Channel>, job: &v1::Job) -> v1::Job {
    let get = v1::GetJobRequest { job: job.job_id.clone() };
    client.get_job(get).await.unwrap().into_inner().job.unwrap()
}

async fn events(client: &mut JobServiceClient<Channel>, job: &v1::Job, follow: bool) -> Vec<Event> {
    let request = v1::StreamOutputRequest { job: job.job_id.clone(), follow, ..Default::default() };
    let mut stream = client.stream_output(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        events.push(message.event.unwrap());
    }
    events
}

fn segment(folder: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.pop().unwrap()
}

#[test]
fn a_log_that_lost_its_end_after_the_job_says_so_in_its_output_and_in_its_status() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let job = ended_job(&stack, &mut client, 100_000).await;
        assert!(status(&mut client, &job).await.output.unwrap().complete);
        let folder = stack.path("state/output").join(&job.job_id);
        // As a power cut leaves it: the record is there, the end of the file is not.
        let path = segment(&folder);
        OpenOptions::new().write(true).open(path).unwrap().set_len(50_000).unwrap();
        for follow in [false, true] {
            let events = events(&mut client, &job, follow).await;
            let read: u64 = events.iter().map(|e| if let Event::Chunk(c) = e { c.data.len() as u64 } else { 0 }).sum();
            let [.., Event::Gap(gap), Event::End(end)] = &events[..] else {
                panic!("no gap before the end: {events:?}")
            };
            assert!(read > 0 && read < 50_000, "{read}");
            assert_eq!((gap.from, gap.to, gap.reason.as_str()), (read, 100_000, "log damaged"));
            assert_eq!(end.offset, 100_000);
            let output = end.job.clone().unwrap().output.unwrap();
            assert_eq!((output.complete, output.bytes, output.missing_bytes), (false, 100_000, 100_000 - read));
        }
        let output = status(&mut client, &job).await.output.unwrap();
        assert!(!output.complete && output.missing_bytes > 50_000, "{output:?}");
        // Files and folder may be gone altogether: the folder is younger than the record's file.
        std::fs::remove_dir_all(&folder).unwrap();
        let events = events(&mut client, &job, false).await;
        let [Event::Begin(_), Event::Gap(gap), Event::End(_)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((gap.from, gap.to), (0, 100_000));
        let output = status(&mut client, &job).await.output.unwrap();
        assert_eq!((output.complete, output.missing_bytes), (false, 100_000));
    });
}

#[test]
fn a_job_without_output_misses_nothing() {
    let stack = Stack::new();
    let mut client = stack.client("alice", "user");
    stack.run(async {
        let job = ended_job(&stack, &mut client, 0).await;
        let output = status(&mut client, &job).await.output.unwrap();
        assert!(output.complete && output.missing_bytes == 0);
    });
}

//! One end of the executor's socket: well-formed messages from the protocol's own crate, and raw bytes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airlock_e2e::scale;
use ipc_protocol::{
    ANSWER_FRAME_MAX, Answer, Claimed, End, FrameBuffer, Hello, JobEntry, JobId, Limits, Refusal, Request,
    SignalOutcome, Spawn, Stream, decode_answer, encode_request, frame_header,
};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// A connection.
#[derive(Debug)]
pub struct Peer {
    socket: UnixStream,
    incoming: FrameBuffer,
    // What came while something else was waited for.
    passed_over: VecDeque<Vec<u8>>,
    /// The jobs that the executor listed when this connection said hello.
    pub listed: Vec<JobEntry>,
}

impl Peer {
    /// Connects as this user. The kernel notes the user of the thread that connects.
    pub fn connect(path: &Path, uid: u32, gid: u32) -> std::io::Result<Self> {
        let path: PathBuf = path.to_owned();
        let thread = std::thread::spawn(move || {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            UnixStream::connect(path)
        });
        let socket = thread.join().unwrap_or_else(|_| panic!("the connecting thread died"))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        socket.set_write_timeout(Some(scale::seconds(20)))?;
        Ok(Self {
            socket,
            incoming: FrameBuffer::new(ANSWER_FRAME_MAX),
            passed_over: VecDeque::new(),
            listed: Vec::new(),
        })
    }

    /// Bytes as they are. A closed connection is no error: the executor may have closed it in the middle.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match self.socket.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => false,
            Err(error) => panic!("writing to the executor: {error}"),
        }
    }

    /// A body with the right length before it.
    pub fn frame(&mut self, body: &[u8]) -> bool {
        self.send(&[&frame_header(body.len())[..], body].concat())
    }

    /// A request.
    #[track_caller]
    pub fn say(&mut self, request: &Request) -> bool {
        let body = encode_request(request).unwrap_or_else(|error| panic!("{error}"));
        self.frame(&body)
    }

    /// A hello with these versions.
    pub fn hello(&mut self, min: u8, max: u8, epoch: u64) {
        let hello = Hello { min_version: min, epoch, build: "hostile".into() };
        let body = hello.encode(max).unwrap_or_else(|error| panic!("{error}"));
        self.frame(&body);
    }

    /// Waits for an answer of which `pick` makes something; others wait for who asks for them later.
    #[track_caller]
    pub fn waits_for<T>(&mut self, what: &str, pick: impl FnMut(&Answer<'_>) -> Option<T>) -> T {
        match self.hears(pick) {
            Some(found) => found,
            None => panic!("{what}: the executor closed the connection"),
        }
    }

    // None when the executor closes.
    #[track_caller]
    fn hears<T>(&mut self, mut pick: impl FnMut(&Answer<'_>) -> Option<T>) -> Option<T> {
        let mut found = |body: &[u8]| pick(&decode_answer(body).unwrap_or_else(|error| panic!("{error}")));
        for place in 0..self.passed_over.len() {
            if let Some(found) = found(&self.passed_over[place]) {
                self.passed_over.remove(place);
                return Some(found);
            }
        }
        let begin = Instant::now();
        while begin.elapsed() < scale::seconds(20) {
            match self.next() {
                Next::Body(body) => match found(&body) {
                    Some(found) => return Some(found),
                    None => self.passed_over.push_back(body),
                },
                Next::Nothing => {}
                Next::Closed => return None,
            }
        }
        panic!("no answer within {:?}", scale::seconds(20));
    }

    /// The executor closes within this time; what it says before is passed over.
    #[track_caller]
    pub fn is_closed_within(&mut self, limit: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if matches!(self.next(), Next::Closed) {
                return;
            }
        }
        panic!("the executor did not close the connection within {limit:?}");
    }

    /// The executor closes at once.
    #[track_caller]
    pub fn is_closed(&mut self) {
        self.is_closed_within(scale::seconds(2));
    }

    /// It still answers on this connection.
    #[track_caller]
    pub fn is_open(&mut self) {
        assert_eq!(self.signal(JobId::from_bytes([0xee; 16]), 1), SignalOutcome::Unknown);
    }

    // One answer, if one is there; one of which `pick` makes nothing is forgotten.
    fn hears_now<T>(&mut self, mut pick: impl FnMut(&Answer<'_>) -> Option<T>) -> Option<T> {
        match self.next() {
            Next::Body(body) => pick(&decode_answer(&body).unwrap_or_else(|error| panic!("{error}"))),
            Next::Nothing => None,
            Next::Closed => panic!("the executor closed the connection"),
        }
    }

    /// Bytes of output that came and that nobody has waited for yet.
    pub fn unread_output(&self) -> u64 {
        let output = |body: &Vec<u8>| match decode_answer(body) {
            Ok(Answer::Output { bytes, .. }) => bytes.len() as u64,
            _ => 0,
        };
        self.passed_over.iter().map(output).sum()
    }

    /// Reads what is there and forgets it.
    pub fn reads_a_little(&mut self) {
        let _ = self.next();
    }

    fn next(&mut self) -> Next {
        if let Some(body) = self.incoming.next_body().unwrap_or_else(|error| panic!("{error}")) {
            return Next::Body(body.to_vec());
        }
        let mut bytes = [0; 64 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(0) => Next::Closed,
            Ok(length) => {
                self.incoming.extend(&bytes[..length]);
                Next::Nothing
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Next::Nothing,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Next::Closed,
            Err(error) => panic!("reading from the executor: {error}"),
        }
    }

    /// Says hello and reads the list.
    #[track_caller]
    pub fn begins(&mut self, epoch: u64) {
        assert!(self.is_heard(epoch), "the executor closed the connection instead of listing its jobs");
    }

    /// Says hello and reads the list; false when the executor has no room for this connection.
    #[track_caller]
    pub fn is_heard(&mut self, epoch: u64) -> bool {
        self.hello(1, 1, epoch);
        let mut listed = Vec::new();
        let heard = self.hears(|answer| match answer {
            Answer::Job(entry) => {
                listed.push((**entry).clone());
                None
            }
            Answer::SyncEnd => Some(()),
            _ => None,
        });
        (self.listed, self.passed_over) = (listed, VecDeque::new());
        heard.is_some()
    }

    /// Says hello, compares all jobs, and is live.
    #[track_caller]
    pub fn becomes_live(&mut self, epoch: u64) {
        self.begins(epoch);
        self.compares();
    }

    /// Goes on with every job at what the executor says was acknowledged.
    pub fn compares(&mut self) {
        for entry in self.listed.clone() {
            self.say(&Request::Resume { job: entry.job, have: entry.acked });
        }
        self.say(&Request::SyncEnd);
    }

    /// Ends every listed job, takes its output and releases it.
    #[track_caller]
    pub fn ends_and_releases_everything(&mut self) {
        let mut held: Vec<JobId> = self.listed.iter().map(|entry| entry.job).collect();
        for job in held.clone() {
            self.say(&Request::Stop { job, signal: 9, grace_ms: 0, by: Claimed::default() });
        }
        let begin = Instant::now();
        while !held.is_empty() {
            let left: Vec<_> = self.listed.iter().filter(|entry| held.contains(&entry.job)).collect();
            assert!(begin.elapsed() < scale::seconds(15), "these jobs do not end: {left:#?}");
            let said = self.hears_now(|answer| match answer {
                Answer::Output { job, stream, offset, bytes, .. } => {
                    Some(Request::Ack { job: *job, stream: *stream, offset: offset + bytes.len() as u64 })
                }
                Answer::Exited { job, .. } | Answer::NotStarted { job, .. } => Some(Request::Release { job: *job }),
                _ => None,
            });
            let Some(said) = said else { continue };
            if let Request::Release { job } = said {
                held.retain(|id| *id != job);
            }
            self.say(&said);
        }
    }

    /// An ordinary job runs from its start to its release.
    #[track_caller]
    pub fn runs_true(&mut self) {
        let spawn = spawn(&["true"]);
        self.starts(&spawn);
        assert_eq!(self.ends(spawn.job), End::Exited(0));
        self.say(&Request::Release { job: spawn.job });
        self.is_open();
    }

    /// Starts a job that comes to run; its pid and uid.
    #[track_caller]
    pub fn starts(&mut self, spawn: &Spawn) -> (u32, u32) {
        self.say(&Request::Spawn(Box::new(spawn.clone())));
        self.waits_for("the start of a job", |answer| match answer {
            Answer::Spawned { job, pid, uid, .. } if *job == spawn.job => Some((*pid, *uid)),
            Answer::Refused { job, message, .. } if *job == spawn.job => panic!("refused: {message}"),
            Answer::NotStarted { job, error } if *job == spawn.job => panic!("not started: {error:?}"),
            _ => None,
        })
    }

    /// Asks for a job that is refused; the class, the field, and the sentence.
    #[track_caller]
    pub fn is_refused(&mut self, spawn: &Spawn) -> (Refusal, String, String) {
        self.say(&Request::Spawn(Box::new(spawn.clone())));
        self.waits_for("a refusal", |answer| match answer {
            Answer::Refused { job, refusal, field, message } if *job == spawn.job => {
                Some((*refusal, field.clone(), message.clone()))
            }
            Answer::Spawned { job, .. } if *job == spawn.job => panic!("this was started: {spawn:?}"),
            _ => None,
        })
    }

    /// Waits for a job's end, acknowledging its output.
    #[track_caller]
    pub fn ends(&mut self, id: JobId) -> End {
        self.output_until_end(id).1
    }

    /// A job's standard output, acknowledged as it comes, and its end.
    #[track_caller]
    pub fn output_until_end(&mut self, id: JobId) -> (Vec<u8>, End) {
        let mut output = Vec::new();
        loop {
            let said = self.waits_for("the end of a job", |answer| match answer {
                Answer::Output { job, stream, offset, bytes, .. } if *job == id => {
                    if *stream == Stream::Stdout {
                        output.extend_from_slice(bytes);
                    }
                    Some(Err(Request::Ack { job: *job, stream: *stream, offset: offset + bytes.len() as u64 }))
                }
                Answer::Exited { job, end, .. } if *job == id => Some(Ok(end.clone())),
                _ => None,
            });
            match said {
                Ok(end) => return (output, end),
                Err(ack) => drop(self.say(&ack)),
            }
        }
    }

    /// Asks for a stop; what became of it.
    #[track_caller]
    pub fn stop(&mut self, job: JobId, signal: u8, grace_ms: u64) -> SignalOutcome {
        self.say(&Request::Stop { job, signal, grace_ms, by: Claimed::default() });
        self.waits_for("the answer to a stop", |answer| match answer {
            Answer::Stopped { job: id, outcome } if *id == job => Some(*outcome),
            _ => None,
        })
    }

    /// Sends a signal; what became of it.
    #[track_caller]
    pub fn signal(&mut self, job: JobId, signal: u8) -> SignalOutcome {
        self.say(&Request::Signal { job, signal, by: Claimed::default() });
        self.waits_for("the answer to a signal", |answer| match answer {
            Answer::Signalled { job: id, outcome } if *id == job => Some(*outcome),
            _ => None,
        })
    }
}

enum Next {
    Body(Vec<u8>),
    Nothing,
    Closed,
}

/// An id that nobody has used.
pub fn fresh_id() -> JobId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    text.trim().parse().unwrap_or_else(|_| panic!("the kernel's '{text}' is not a UUID"))
}

/// A job of the standard profile.
pub fn spawn(words: &[&str]) -> Spawn {
    Spawn {
        job: fresh_id(),
        claimed: Claimed { owner: "eve".into(), ..Claimed::default() },
        profile: "standard".into(),
        argv: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: Vec::new(),
        cwd: None,
        limits: Limits::default(),
        input: None,
        merge: false,
    }
}

/// A job that runs until it is ended.
pub fn sleeper() -> Spawn {
    spawn(&["sleep", "1000"])
}

//! What an executor finds of a job through its keeper: another process that holds these descriptors.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use ipc_protocol::{JobEntry, StopFact, Stream};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, getpid},
};

use super::{Body, SEALS};
use crate::{
    plan::{Plan, RECORDS_SIZE, Record, Sealed, Stopping, encode, tests::plan, write_record},
    spool::Spool,
};

fn memfd(bytes: &[u8]) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    assert_eq!(rustix::io::write(&file, bytes), Ok(bytes.len()));
    file
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    let file = memfd(bytes);
    fcntl_add_seals(&file, SEALS).unwrap();
    file
}

fn plan_bytes(plan: Plan) -> Vec<u8> {
    encode(&Sealed::V1(Box::new(plan))).unwrap()
}

/// A process with the descriptors of a keeper, which does nothing.
struct Keeper {
    process: Child,
    records: OwnedFd,
    out: OwnedFd,
    err: OwnedFd,
}

impl Keeper {
    fn holding(plan: &OwnedFd) -> Self {
        let records = memfd(b"");
        ftruncate(&records, RECORDS_SIZE).unwrap();
        let pipe = || pipe_with(PipeFlags::CLOEXEC).unwrap();
        let ((event, event_writer), (out_reader, out), (err_reader, err)) = (pipe(), pipe(), pipe());
        let (out_spool, err_spool) = (memfd(b"12345"), memfd(b""));
        let at = |fd: &OwnedFd| format!("/proc/{}/fd/{}", getpid().as_raw_nonzero(), fd.as_raw_fd());
        // In the order of plan::fd. The event's reading end is only held until the other process has the writing one.
        let opened = [
            format!("3<{}", at(plan)),
            format!("4<>{}", at(&records)),
            format!("5>{}", at(&event_writer)),
            format!("6<{}", at(&out_reader)),
            format!("7<{}", at(&err_reader)),
            format!("8<>{}", at(&out_spool)),
            format!("9<>{}", at(&err_spool)),
        ];
        let script = format!("exec {} && echo ready && exec sleep 60", opened.join(" "));
        let mut process = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        drop(event);
        Self { process, records, out, err }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_job_of_a_former_executor_is_found_with_its_plan_its_pipes_and_its_spools() {
    let keeper = Keeper::holding(&sealed(&plan_bytes(plan())));
    let (mut body, found) = Body::adopt(keeper.pid()).unwrap();
    assert_eq!(format!("{found:?}"), format!("{:?}", plan()));
    assert_eq!(body.keeper, keeper.pid());
    assert_eq!(body.spool(Stream::Stdout).offsets(), Ok((5, 0)));
    rustix::io::write(&keeper.out, b"more").unwrap();
    assert_eq!(body.spool(Stream::Stdout).take(5, 100), Ok(4));
    assert!(body.spool(Stream::Stderr).pipe.is_none(), "a merged job has one pipe");
}

#[test]
fn a_job_that_is_not_merged_has_a_second_pipe() {
    let entry = JobEntry { merge: false, ..plan().entry };
    let keeper = Keeper::holding(&sealed(&plan_bytes(Plan { entry, ..plan() })));
    let (mut body, _) = Body::adopt(keeper.pid()).unwrap();
    rustix::io::write(&keeper.err, b"err").unwrap();
    assert_eq!(body.spool(Stream::Stderr).take(0, 100), Ok(3));
}

#[test]
fn what_keeper_and_executor_record_is_read_by_the_next_executor() {
    let keeper = Keeper::holding(&sealed(&plan_bytes(plan())));
    let (body, _) = Body::adopt(keeper.pid()).unwrap();
    assert_eq!((body.record(), body.stopping()), (Some(Record::default()), None));
    let record = Record { started_ns: 5, pidfd: 12, ..Record::default() };
    write_record(&keeper.records, &record, 0).unwrap();
    let stop = Stopping { fact: StopFact { by: "alice".into(), signal: 15, at_ns: 1 }, kill_at_ns: 2 };
    body.write_stop(Some(&stop)).unwrap();
    let (next, _) = Body::adopt(keeper.pid()).unwrap();
    assert_eq!((next.record(), next.stopping()), (Some(record), Some(stop)));
}

// Pids are reused: what is at the keeper's number is the keeper only if it holds the other end of the event pipe.
#[test]
fn another_process_at_the_keepers_number_is_neither_read_nor_written() {
    let (keeper, other) = (Keeper::holding(&sealed(b"")), Keeper::holding(&sealed(&plan_bytes(plan()))));
    let (theirs, _) = Body::adopt(other.pid()).unwrap();
    let stranger = Body { keeper: keeper.pid(), ..theirs };
    let stop = Stopping { fact: StopFact { by: "alice".into(), signal: 15, at_ns: 1 }, kill_at_ns: 2 };
    assert_eq!((stranger.record(), stranger.write_stop(Some(&stop)), stranger.stopping()), (None, None, None));
    let mut written = [0; RECORDS_SIZE as usize];
    rustix::io::pread(&keeper.records, &mut written, 0).unwrap();
    assert_eq!(written, [0; RECORDS_SIZE as usize]);
}

#[test]
fn a_keeper_that_is_gone_has_nothing_to_tell() {
    let keeper = Keeper::holding(&sealed(&plan_bytes(plan())));
    let (body, _) = Body::adopt(keeper.pid()).unwrap();
    drop(keeper);
    assert_eq!((body.record(), body.write_stop(None), body.stopping()), (None, None, None));
    assert_eq!(body.command_pid(12), None);
}

fn why_not(plan: &OwnedFd) -> String {
    let keeper = Keeper::holding(plan);
    match Body::adopt(keeper.pid()) {
        Err(why) => why,
        Ok(_) => panic!("it was taken for a keeper"),
    }
}

#[test]
fn a_plan_that_somebody_could_have_changed_is_refused() {
    let bytes = plan_bytes(plan());
    assert_eq!(why_not(&memfd(&bytes)), "its plan is not sealed");
    for missing in SEALS.iter() {
        let file = memfd(&bytes);
        // SEAL last: nothing can be added behind it.
        fcntl_add_seals(&file, SEALS.difference(missing)).unwrap();
        assert_eq!(why_not(&file), "its plan is not sealed", "without {missing:?}");
    }
}

#[test]
fn a_file_on_a_disk_is_no_plan_whatever_it_holds() {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &plan_bytes(plan())).unwrap();
    let why = why_not(&OwnedFd::from(file));
    assert!(why == "its plan is not sealed" || why.starts_with("its plan is no memfd: "), "{why}");
}

#[test]
fn a_plan_of_another_layout_or_beyond_reason_is_refused() {
    let says = "its plan has another layout than this executor knows";
    assert_eq!(why_not(&sealed(b"")), says);
    let mut other = plan_bytes(plan());
    other[0] = 1;
    assert_eq!(why_not(&sealed(&other)), says);
    let file = memfd(b"");
    ftruncate(&file, 4 * 1024 * 1024 + 1).unwrap();
    fcntl_add_seals(&file, SEALS).unwrap();
    assert_eq!(why_not(&file), "its plan is too long");
}

#[test]
fn a_process_without_a_plan_is_no_keeper() {
    // Whoever started the tests may have left them a third descriptor, which would be this process's too.
    let script = "exec 3>&- && echo ready && exec sleep 60";
    let mut process = Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let (pid, (_, out)) = (Pid::from_child(&process), pipe_with(PipeFlags::CLOEXEC).unwrap());
    let keeper = Keeper { process, records: memfd(b""), err: out.try_clone().unwrap(), out };
    let why = Body::adopt(pid).map(|_| ()).unwrap_err();
    assert!(why.starts_with(&format!("/proc/{}/fd/3: ", pid.as_raw_nonzero())), "{why}");
    drop(keeper);
}

#[test]
fn a_spool_belongs_to_its_stream() {
    let (event, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let spools = [Spool::new(None, memfd(b"out")), Spool::new(None, memfd(b"error"))];
    let mut body = Body { keeper: getpid(), event, spools };
    let lengths = Stream::BOTH.map(|stream| body.spool(stream).offsets().unwrap().0);
    assert_eq!(lengths, [3, 5]);
}

//! What the life cycle of a job (job.rs) wants done, done.

use ipc_protocol::{Stream, output_prefix};
use rustix::pipe::fcntl_getpipe_size;

use super::{Executor, log, requests};
use crate::{
    cgroup::JobGroup,
    connection::Closed,
    job::{Chunk, Effect, Input, Violation},
    plan::now_ns,
};

impl Executor {
    /// Something happens to a job. What the frontend is to blame for closes its connection.
    pub(super) fn happen(&mut self, serial: u64, input: Input) {
        let Some(held) = self.jobs.get_mut(&serial) else { return };
        let before = held.job.in_flight();
        let stepped = held.job.step(input);
        let after = held.job.in_flight();
        self.in_flight = self.in_flight.saturating_add(after).saturating_sub(before);
        let done = stepped.map_err(|Violation(what)| Closed::Protocol(what));
        let done = done.and_then(|effects| effects.into_iter().try_for_each(|effect| self.perform(serial, effect)));
        if let (Err(why), Some(token)) = (done, self.live) {
            self.close(token, why);
        }
        if after < before && self.starved {
            self.feed_starved();
        }
        #[cfg(feature = "kill-points")]
        kill_points::note(self.jobs.values().map(|super::Held { job, .. }| {
            (*job.life() != crate::job::Life::Starting, job.totals() != [0; 2], job.has_ended())
        }));
    }

    fn perform(&mut self, serial: u64, effect: Effect) -> Result<(), Closed> {
        kill_point!(before(&effect));
        let Some(held) = self.jobs.get_mut(&serial) else { return Ok(()) };
        match effect {
            Effect::Tell(answer) => self.tell(&answer),
            Effect::Send(piece) => return self.send(serial, piece),
            Effect::Ready => drop(self.ready.insert(serial)),
            Effect::Punch(stream, acked, taken) => {
                if let Some(body) = &mut held.body {
                    body.spool(stream).punch(acked, taken);
                    if body.spool(stream).readable {
                        self.pump(serial, stream);
                    }
                }
            }
            Effect::WakeAt(at) => self.wake_ns = self.wake_ns.min(at),
            Effect::RecordStop => {
                let _ = held.body.as_ref().and_then(|body| body.write_stop(held.job.stopping()));
            }
            Effect::Signal(number) => drop(requests::send(held, number)),
            Effect::KillGroup => {
                let _ = JobGroup::of(&self.hierarchy, held.job.id()).kill();
            }
            Effect::Drain => self.drain(serial),
            Effect::AuditEnd => self.audit_end(serial),
            Effect::Forget => self.let_go(serial),
        }
        Ok(())
    }

    fn send(&mut self, serial: u64, piece: Chunk) -> Result<(), Closed> {
        let Some(held) = self.jobs.get_mut(&serial) else { return Ok(()) };
        let Some(connection) = self.live.and_then(|token| self.connections.get_mut(&token)) else { return Ok(()) };
        let Some(body) = &mut held.body else { return Ok(()) };
        let Chunk { stream, offset, length, time_ns, recovered } = piece;
        let length = usize::try_from(length).unwrap_or(0);
        let prefix =
            output_prefix(held.job.id(), stream, offset, time_ns, recovered, length).map_err(Closed::Message)?;
        connection.output(&prefix, &body.spool(stream).file, offset, length)
    }

    pub(super) fn on_pipe(&mut self, serial: u64, stream: Stream) {
        if let Some(body) = self.jobs.get_mut(&serial).and_then(|held| held.body.as_mut()) {
            body.spool(stream).readable = true;
            self.pump(serial, stream);
        }
    }

    // Takes what a pipe has, as far as there is room; the job that writes more waits in its write until an acknowledgement makes some.
    fn pump(&mut self, serial: u64, stream: Stream) {
        loop {
            let (half, jobs) = (self.config.ceilings.output_in_flight / 2, self.config.ceilings.jobs);
            let held = self.jobs.get_mut(&serial);
            let (room, own) = held.map_or((0, 0), |held| (held.job.room(stream), held.job.in_flight()));
            // Half is for whoever comes first. Of the other half each job has its share, so that nobody's keeps another's from writing.
            let share = half.checked_div(jobs).unwrap_or(0).saturating_sub(own);
            let ceiling = half.saturating_sub(self.in_flight).max(share);
            self.starved |= room > 0 && ceiling == 0;
            if self.take(serial, stream, room.min(ceiling)).unwrap_or(0) == 0 {
                return;
            }
        }
    }

    // Bytes taken; `None` when the kernel refused.
    fn take(&mut self, serial: u64, stream: Stream, room: u64) -> Option<u64> {
        let Some(held) = self.jobs.get_mut(&serial).filter(|_| room > 0) else { return Some(0) };
        let mut taken = held.job.totals();
        match held.body.as_mut().map_or(Ok(0), |body| body.spool(stream).take(*stream.of(&mut taken), room)) {
            Ok(bytes) => {
                if bytes > 0 {
                    kill_point!(Spliced);
                    self.happen(serial, Input::Took { stream, bytes, at_ns: now_ns() });
                }
                Some(bytes)
            }
            Err(errno) => {
                log(3, &format!("output of job {}: {errno}", held.job.id()));
                // No memory for the spool is the host's trouble: wait as if the ceiling were reached.
                self.starved = true;
                None
            }
        }
    }

    /// Goes on with the pipes that waited for room.
    pub(super) fn feed_starved(&mut self) {
        if !std::mem::take(&mut self.starved) {
            return;
        }
        for (serial, stream) in self.held().into_iter().flat_map(|serial| Stream::BOTH.map(|stream| (serial, stream))) {
            let Some(held) = self.jobs.get_mut(&serial) else { continue };
            if held.job.has_ended() {
                self.drain(serial);
            } else if held.body.as_mut().is_some_and(|body| body.spool(stream).readable) {
                self.pump(serial, stream);
            }
        }
    }

    // Takes what the pipes of an ended job still hold. All writers are dead, so a pipe that has nothing now has nothing ever. Somebody
    // outside the job may hold it and go on writing: what fits into one is all that is taken.
    fn drain(&mut self, serial: u64) {
        for stream in Stream::BOTH {
            let spool = self.jobs.get_mut(&serial).and_then(|held| held.body.as_mut()).map(|body| body.spool(stream));
            let pipe = spool.and_then(|spool| fcntl_getpipe_size(spool.pipe.as_ref()?).ok());
            let mut left = pipe.unwrap_or(0) as u64;
            loop {
                match self.take(serial, stream, left) {
                    Some(0) => break,
                    Some(bytes) => left = left.saturating_sub(bytes),
                    // Without memory for the spool the rest waits in the pipe.
                    None => return,
                }
            }
            if let Some(body) = self.jobs.get_mut(&serial).and_then(|held| held.body.as_mut()) {
                body.spool(stream).pipe = None;
            }
        }
        self.happen(serial, Input::Drained);
    }
}

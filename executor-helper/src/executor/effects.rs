//! What the life cycle of a job (job.rs) wants done, done.

use ipc_protocol::{Stream, output_prefix};
use rustix::{io::Errno, pipe::fcntl_getpipe_size};

use super::{Executor, Held, log, requests};
use crate::{
    cgroup::JobGroup,
    config::Ceilings,
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
        if after < before {
            self.feed_starved();
        }
        #[cfg(feature = "kill-points")]
        kill_points::note(self.jobs.values().map(|Held { job, .. }| {
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
                held.body.iter_mut().for_each(|body| body.spool(stream).punch(acked, taken));
                self.pump(serial);
            }
            Effect::WakeAt(at) => self.wake_ns = self.wake_ns.min(at),
            Effect::RecordStop => {
                let _ = held.body.as_ref().and_then(|body| body.write_stop(held.job.stopping()));
            }
            Effect::Signal(number) => drop(requests::send(held, number)),
            Effect::KillGroup => {
                let _ = JobGroup::of(&self.hierarchy, held.job.id()).kill();
            }
            Effect::Drain => self.pump(serial),
            Effect::AuditEnd => self.audit_end(serial),
            Effect::Forget => self.let_go(serial),
        }
        Ok(())
    }

    fn send(&mut self, serial: u64, piece: Chunk) -> Result<(), Closed> {
        let Some(Held { job, body: Some(body), .. }) = self.jobs.get_mut(&serial) else { return Ok(()) };
        let Some(connection) = self.live.and_then(|token| self.connections.get_mut(&token)) else { return Ok(()) };
        let Chunk { stream, offset, length, time_ns, recovered } = piece;
        let length = usize::try_from(length).unwrap_or(0);
        let prefix = output_prefix(job.id(), stream, offset, time_ns, recovered, length).map_err(Closed::Message)?;
        connection.output(&prefix, &body.spool(stream).file, offset, length)
    }

    /// Goes on with the jobs that waited for room.
    pub(super) fn feed_starved(&mut self) {
        std::mem::take(&mut self.starved).into_iter().for_each(|serial| self.pump(serial));
    }

    /// Takes what a job's pipes have, as far as there is room: when one of them is reported (once for each change), and whenever there may
    /// be more room than there was. Of an ended job everything, and then it is drained.
    pub(super) fn pump(&mut self, serial: u64) {
        for stream in Stream::BOTH {
            if let (Err(errno), Some(held)) = (self.take(serial, stream), self.jobs.get(&serial)) {
                log(3, &format!("output of job {}: {errno}", held.job.id()));
                // No memory for the spool is the host's trouble: it waits in the pipe as if the ceiling were reached.
                self.starved.insert(serial);
                return;
            }
        }
        if self.jobs.get(&serial).is_some_and(|held| held.job.has_ended()) {
            self.happen(serial, Input::Drained);
        }
    }

    // A job that writes more than there is room for waits in its write until an acknowledgement makes some. All writers of an ended one
    // are dead, so a pipe that has nothing now has nothing ever. Somebody outside the job may hold it and go on writing: what fits into
    // one is all that is taken, and then it is closed.
    fn take(&mut self, serial: u64, stream: Stream) -> Result<(), Errno> {
        let mut left = None;
        loop {
            let Some(Held { job, body: Some(body), .. }) = self.jobs.get_mut(&serial) else { return Ok(()) };
            let (spool, room) = (body.spool(stream), job.room(stream));
            let ceiling = if job.has_ended() {
                let capacity = || spool.pipe.as_ref().and_then(|pipe| fcntl_getpipe_size(pipe).ok());
                *left.get_or_insert_with(|| capacity().unwrap_or(0) as u64)
            } else {
                // Half is for whoever comes first. Of the other half each job has its share, so that nobody's keeps another's from writing.
                let Ceilings { output_in_flight, jobs, .. } = self.config.ceilings;
                let half = output_in_flight / 2;
                let share = half.checked_div(jobs).unwrap_or(0).saturating_sub(job.in_flight());
                let ceiling = half.saturating_sub(self.in_flight).max(share);
                if room > 0 && ceiling == 0 {
                    self.starved.insert(serial);
                }
                ceiling
            };
            let bytes = spool.take(*stream.of(&mut job.totals()), room.min(ceiling))?;
            if bytes == 0 {
                spool.pipe.take_if(|_| left.is_some());
                return Ok(());
            }
            left = left.map(|left| left.saturating_sub(bytes));
            kill_point!(Spliced);
            self.happen(serial, Input::Took { stream, bytes, at_ns: now_ns() });
        }
    }
}

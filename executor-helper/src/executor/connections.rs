//! Connections of frontends: who may connect, what is sent and when, and how one ends.

use ipc_protocol::Answer;
use rustix::{
    event::epoll,
    io::Errno,
    net::{SocketFlags, accept_with, sockopt::socket_peercred},
};
use serde_json::json;

use super::{CONNECTIONS_MAX, Executor, FIRST_JOB, log};
use crate::{
    connection::{Closed, Connection, State},
    job::Job,
};

impl Executor {
    // SO_PEERCRED before a byte is read: whoever connected must be the frontend's user.
    pub(super) fn accept(&mut self) {
        loop {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(errno) => return log(4, &format!("accept: {errno}")),
            };
            let peer = socket_peercred(&socket).map(|cred| (cred.uid.as_raw(), cred.pid.as_raw_nonzero().get()));
            match peer {
                Ok((uid, pid)) if uid != self.config.frontend.0 => {
                    let fields = [("uid", json!(uid)), ("pid", json!(pid)), ("why", json!("not the frontend's user"))];
                    let _ = self.audit.write_refusal("frontend-refused", &fields);
                }
                Ok(_) if self.connections.len() >= CONNECTIONS_MAX => {
                    let _ = self.audit.write_refusal("frontend-refused", &[("why", json!("too many connections"))]);
                }
                Ok(_) => {
                    let token = self.next_connection;
                    self.next_connection = token.saturating_add(1).min(FIRST_JOB - 1);
                    let event = epoll::EventData::new_u64(token);
                    if epoll::add(&self.epoll, &socket, event, epoll::EventFlags::IN | epoll::EventFlags::RDHUP).is_ok()
                    {
                        self.connections.insert(token, Connection::new(socket));
                    }
                }
                Err(errno) => log(4, &format!("SO_PEERCRED: {errno}")),
            }
        }
    }

    pub(super) fn on_connection(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let open = match connection.receive() {
            Ok(open) => open,
            Err(why) => return self.close(token, why),
        };
        if let Err(why) = self.serve_frames(token) {
            return self.close(token, why);
        }
        if !open {
            return self.close(token, Closed::Gone);
        }
        self.flush(token);
    }

    fn serve_frames(&mut self, token: u64) -> Result<(), Closed> {
        while let Some(connection) = self.connections.get_mut(&token) {
            let Some(body) = connection.next_frame()? else { return Ok(()) };
            self.serve(token, &body)?;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, token: u64, why: Closed) {
        self.connections.remove(&token);
        if self.live == Some(token) {
            self.live = None;
            self.inputs.clear();
            self.jobs.values_mut().for_each(Job::begin_again);
            self.ready.clear();
        }
        match why {
            Closed::Gone | Closed::Replaced => {}
            why => {
                log(4, &format!("frontend connection closed: {why:?}"));
                let _ = self.audit.write_refusal("frontend-refused", &[("why", json!(format!("{why:?}")))]);
            }
        }
    }

    /// Sends what is queued; watches for room while the socket has none.
    pub(super) fn flush(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let flushed = connection.flush();
        let blocked = matches!(flushed, Ok(false));
        if blocked != connection.blocked {
            connection.blocked = blocked;
            let room = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | room;
            let _ = epoll::modify(&self.epoll, connection.socket(), epoll::EventData::new_u64(token), flags);
        }
        if let Err(why) = flushed {
            self.close(token, why);
        }
    }

    /// Answers on the live connection, if there is one.
    pub(super) fn tell(&mut self, answer: &Answer<'_>) {
        let Some(token) = self.live else { return };
        let told = self.connections.get_mut(&token).map(|connection| connection.answer(answer));
        if let Some(Err(why)) = told {
            self.close(token, why);
        }
    }

    // One piece per job and turn, while the socket takes them.
    pub(super) fn send_output(&mut self) {
        let Some(token) = self.live else { return };
        loop {
            self.flush(token);
            let Some(connection) = self.connections.get_mut(&token) else { return };
            if connection.blocked || !connection.is_clear() {
                return;
            }
            let Some(serial) = self.ready.pop_front() else { return };
            let Some(job) = self.jobs.get_mut(&serial).filter(|job| job.resumed) else { continue };
            job.queued = false;
            if let Some(piece) = job.next_piece()
                && let Err(why) = connection.output(job, piece)
            {
                return self.close(token, why);
            }
            self.make_ready(serial);
            self.tell_end(serial);
        }
    }

    pub(super) fn is_live(&self, token: u64) -> bool {
        self.connections.get(&token).is_some_and(|c| c.state == State::Live)
    }
}

//! Connections of frontends: who may connect, what is sent and when, and how one ends.

use ipc_protocol::Answer;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{SocketFlags, accept_with, sockopt::socket_peercred},
};
use serde_json::{Value, json};

use super::{Executor, log};
use crate::{
    connection::{Closed, Connection},
    job::Input,
};

/// Connections that may be open at once, the live one included.
const CONNECTIONS_MAX: usize = 8;
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

impl Executor {
    // SO_PEERCRED before a byte is read: whoever connected must be the frontend's user.
    pub(super) fn accept(&mut self) {
        loop {
            let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return,
                Err(errno) => return log(4, &format!("accept: {errno}")),
            };
            match socket_peercred(&socket).map(|cred| (cred.uid.as_raw(), cred.pid.as_raw_nonzero().get())) {
                Ok((uid, pid)) if uid != self.config.frontend.0 => {
                    self.refuse_connection(&[("uid", json!(uid)), ("pid", json!(pid))], "not the frontend's user");
                }
                Ok(_) if self.connections.len() >= CONNECTIONS_MAX => {
                    self.refuse_connection(&[], "too many connections");
                }
                Ok(_) => {
                    let token = self.next_token();
                    if self.watch(&socket, token, READABLE).is_ok() {
                        self.connections.insert(token, Connection::new(socket));
                    }
                }
                Err(errno) => log(4, &format!("SO_PEERCRED: {errno}")),
            }
        }
    }

    fn refuse_connection(&mut self, who: &[(&str, Value)], why: &str) {
        let _ = self.audit.write_bounded("frontend-refused", &[who, &[("why", json!(why))]].concat());
    }

    pub(super) fn on_connection(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match connection.receive().and_then(|()| self.serve_frames(token)) {
            Ok(()) => self.flush(token),
            Err(why) => self.close(token, why),
        }
    }

    fn serve_frames(&mut self, token: u64) -> Result<(), Closed> {
        while let Some(connection) = self.connections.get_mut(&token) {
            let Some(body) = connection.next_frame()? else { return Ok(()) };
            self.serve(token, &body)?;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, token: u64, why: Closed) {
        if self.connections.remove(&token).is_none() {
            return;
        }
        if self.live == Some(token) {
            self.live = None;
            self.inputs.waiting.clear();
            self.ready.clear();
            self.held().into_iter().for_each(|serial| self.happen(serial, Input::Disconnected));
        }
        if !matches!(why, Closed::Gone | Closed::Replaced) {
            log(4, &format!("frontend connection closed: {why:?}"));
            self.refuse_connection(&[], &format!("{why:?}"));
        }
    }

    /// Sends what is queued; watches for room while the socket has none.
    pub(super) fn flush(&mut self, token: u64) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let flushed = connection.flush();
        let blocked = matches!(flushed, Ok(false));
        if blocked != std::mem::replace(&mut connection.blocked, blocked) {
            let flags = if blocked { READABLE | EventFlags::OUT } else { READABLE };
            let _ = epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(token), flags);
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
        while let Some(token) = self.live {
            self.flush(token);
            let Some(connection) = self.connections.get(&token) else { return };
            let next = self.ready.range(self.turn.saturating_add(1)..).next().or(self.ready.first()).copied();
            let Some(serial) = next.filter(|_| !connection.blocked && connection.is_clear()) else { return };
            self.turn = serial;
            self.ready.remove(&serial);
            self.happen(serial, Input::Turn);
        }
    }
}

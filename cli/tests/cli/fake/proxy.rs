//! A stretch of network between client and server that can be cut.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Forwards connections to a port of this host.
pub struct Proxy {
    pub port: u16,
    wires: Arc<Mutex<Wires>>,
}

#[derive(Default)]
struct Wires {
    /// Bytes towards the client after which each coming connection breaks.
    budgets: VecDeque<usize>,
    refusing: bool,
    open: Vec<TcpStream>,
    accepted: usize,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let wires = Arc::new(Mutex::new(Wires::default()));
        let shared = wires.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut wires = shared.lock().unwrap();
                wires.accepted += 1;
                if wires.refusing {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let budget = wires.budgets.pop_front();
                wires.open.push(client.try_clone().unwrap());
                wires.open.push(server.try_clone().unwrap());
                drop(wires);
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from_client, to_server, None));
                thread::spawn(move || copy(server, client, budget));
            }
        });
        Proxy { port: own, wires }
    }

    /// Each of the next connections breaks after so many bytes towards the client.
    pub fn break_after(&self, budgets: impl IntoIterator<Item = usize>) {
        self.wires.lock().unwrap().budgets.extend(budgets);
    }

    /// Cuts what is open.
    pub fn cut(&self) {
        for stream in self.wires.lock().unwrap().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes new connections at once.
    pub fn refuse(&self, refusing: bool) {
        self.wires.lock().unwrap().refusing = refusing;
    }

    pub fn accepted(&self) -> usize {
        self.wires.lock().unwrap().accepted
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, budget: Option<usize>) {
    let mut left = budget.unwrap_or(usize::MAX);
    let mut buffer = [0; 16384];
    while left > 0 {
        let most = buffer.len().min(left);
        match from.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                left = left.saturating_sub(count);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

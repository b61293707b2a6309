//! Connections whose handshake is not over: nobody knows yet whose they are, so they are counted by where they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::ServerLimits;

/// All of them. Apart from the connections that are open, so that who never ends a handshake takes nothing from those who did.
#[derive(Debug)]
pub struct Doorstep {
    most: usize,
    most_of_one: usize,
    turns: Semaphore,
    turns_of_one: usize,
    standing: Mutex<HashMap<IpAddr, Standing>>,
}

/// Those of one address.
#[derive(Debug)]
struct Standing {
    count: usize,
    turns: Arc<Semaphore>,
}

/// One of them, for as long as this lives.
#[derive(Debug)]
pub struct Place {
    doorstep: Arc<Doorstep>,
    from: IpAddr,
    turns: Arc<Semaphore>,
}

/// The right to work on a handshake: it holds up as many others as may be worked on at a time.
#[derive(Debug)]
pub struct Turn<'a> {
    _of_one: Option<SemaphorePermit<'a>>,
    _of_all: Option<SemaphorePermit<'a>>,
}

impl Doorstep {
    /// Room for as many as may be open, of which one address may take as many as one identity; and turns for handshakes, of which
    /// one address leaves some to others.
    pub fn new(limits: &ServerLimits) -> Arc<Self> {
        Arc::new(Self {
            most: limits.connections(),
            most_of_one: limits.connections_per_identity(),
            turns: Semaphore::new(limits.handshakes()),
            turns_of_one: limits.handshakes_per_address(),
            standing: Mutex::default(),
        })
    }

    /// A place for a connection from this address; `None` when there is none.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = network(from);
        let mut standing = self.standing();
        let of_one = standing.get(&from).map_or(0, |those| those.count);
        if of_one >= self.most_of_one || standing.values().map(|those| those.count).sum::<usize>() >= self.most {
            return None;
        }
        let turns = || Arc::new(Semaphore::new(self.turns_of_one));
        let those = standing.entry(from).or_insert_with(|| Standing { count: 0, turns: turns() });
        those.count += 1;
        Some(Place { doorstep: self.clone(), from, turns: those.turns.clone() })
    }

    fn standing(&self) -> MutexGuard<'_, HashMap<IpAddr, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for a turn: first among those of its address, so that these stand in nobody else's way.
    pub async fn turn(&self) -> Turn<'_> {
        // Neither is ever closed.
        Turn { _of_one: self.turns.acquire().await.ok(), _of_all: self.doorstep.turns.acquire().await.ok() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self.doorstep.standing();
        if let Some(those) = standing.get_mut(&self.from) {
            those.count -= 1;
            if those.count == 0 {
                standing.remove(&self.from);
            }
        }
    }
}

/// Where an address belongs: one host chooses freely among the 2^64 addresses of its IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doorstep(limits: &str) -> Arc<Doorstep> {
        Doorstep::new(&toml::from_str(limits).unwrap())
    }

    #[test]
    fn one_address_takes_its_part_of_the_places_and_no_more_and_gives_them_back() {
        let doorstep = doorstep("connections = 4");
        let here: IpAddr = "10.0.4.17".parse().unwrap();
        let mut places: Vec<_> = (0..3).map(|_| doorstep.enter(here).unwrap()).collect();
        assert!(doorstep.enter(here).is_none());
        assert!(doorstep.enter("::ffff:10.0.4.17".parse().unwrap()).is_none(), "the same address in other words");
        let other = doorstep.enter("10.0.4.18".parse().unwrap()).unwrap();
        assert!(doorstep.enter("10.0.4.19".parse().unwrap()).is_none(), "there are four");
        places.pop();
        assert!(doorstep.enter(here).is_some());
        drop((places, other));
        assert!(doorstep.standing().is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let doorstep = doorstep("connections = 4\nconnections_per_identity = 1");
        let _place = doorstep.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(doorstep.enter("2001:db8::2".parse().unwrap()).is_none());
        assert!(doorstep.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}

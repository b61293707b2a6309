//! Connections whose handshake is not over: nobody knows yet whose they are, so they are counted by where they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All of them. Apart from the connections that are open, so that who never ends a handshake takes nothing from those who did.
#[derive(Debug)]
pub struct Doorstep {
    most: usize,
    most_of_one: usize,
    standing: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them, for as long as this lives.
#[derive(Debug)]
pub struct Place {
    doorstep: Arc<Doorstep>,
    from: IpAddr,
}

impl Doorstep {
    /// Room for `most`, of which one address may take `most_of_one`.
    pub fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_one, standing: Mutex::default() })
    }

    /// A place for a connection from this address; `None` when there is none.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = network(from);
        let mut standing = self.standing();
        let of_one = standing.get(&from).copied().unwrap_or(0);
        if of_one >= self.most_of_one || standing.values().sum::<usize>() >= self.most {
            return None;
        }
        standing.insert(from, of_one + 1);
        Some(Place { doorstep: self.clone(), from })
    }

    fn standing(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut standing = self.doorstep.standing();
        if let Some(of_one) = standing.get_mut(&self.from) {
            *of_one -= 1;
            if *of_one == 0 {
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

    #[test]
    fn one_address_takes_its_part_of_the_places_and_no_more_and_gives_them_back() {
        let doorstep = Doorstep::new(4, 3);
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
        let doorstep = Doorstep::new(4, 1);
        let _place = doorstep.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(doorstep.enter("2001:db8::2".parse().unwrap()).is_none());
        assert!(doorstep.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}

//! What one identity takes up, over all its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::turns::Turns;

/// Counts of one identity. Shared by its connections.
#[derive(Debug)]
pub struct Share {
    calls: AtomicUsize,
    request_bytes: AtomicUsize,
    searches: Arc<Semaphore>,
    turns: Turns,
}

/// Searches of one identity at a time, through records or through logs. There are four of each for all identities, and one may take
/// seconds: the others of an identity wait behind its own, not before everybody else's.
const SEARCHES_MAX: usize = 2;

/// One call of an identity, with the bytes of its request, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    share: Arc<Share>,
    bytes: AtomicUsize,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            calls: 0.into(),
            request_bytes: 0.into(),
            searches: Arc::new(Semaphore::new(SEARCHES_MAX)),
            turns: Turns::default(),
        }
    }
}

impl Share {
    /// The identity's turns at the records and at starting jobs.
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Waits for the identity's turn to search. `None` would mean that turns are over, which they never are.
    pub async fn search(&self) -> Option<OwnedSemaphorePermit> {
        self.searches.clone().acquire_owned().await.ok()
    }

    /// One more call; `None` when there are `most` already.
    pub fn begin(self: &Arc<Self>, most: usize) -> Option<Arc<Held>> {
        let held = Arc::new(Held { share: self.clone(), bytes: AtomicUsize::new(0) });
        (self.calls.fetch_add(1, Ordering::Relaxed) < most).then_some(held)
    }
}

impl Held {
    /// Adds bytes of the request; false when all calls of the identity then have more than `most`.
    pub fn add(&self, bytes: usize, most: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.share.request_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= most
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.calls.fetch_sub(1, Ordering::Relaxed);
        self.share.request_bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn an_identity_searches_twice_at_a_time_and_others_do_not_wait_for_it() {
        let (one, other) = (Share::default(), Share::default());
        let (first, _second) = (one.search().now_or_never(), one.search().now_or_never());
        assert!(first.is_some() && one.search().now_or_never().is_none());
        assert!(other.search().now_or_never().is_some());
        drop(first);
        assert!(one.search().now_or_never().is_some());
    }

    #[test]
    fn calls_and_their_bytes_are_bounded_together_and_given_back() {
        let share = Arc::new(Share::default());
        let (first, second) = (share.begin(2).unwrap(), share.begin(2).unwrap());
        assert!(share.begin(2).is_none() && share.begin(2).is_none());
        assert!(first.add(60, 100) && second.add(40, 100) && !second.add(1, 100));
        drop(second);
        assert!(share.begin(2).is_some(), "what was refused counts no more");
        assert!(first.add(40, 100));
        drop(first);
        assert_eq!((share.calls.load(Ordering::Relaxed), share.request_bytes.load(Ordering::Relaxed)), (0, 0));
    }
}

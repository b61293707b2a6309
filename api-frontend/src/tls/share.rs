//! What one identity takes up, over all its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of one identity. Shared by its connections.
#[derive(Debug, Default)]
pub struct Share {
    calls: AtomicUsize,
    request_bytes: AtomicUsize,
}

/// One call of an identity, with the bytes of its request, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    share: Arc<Share>,
    bytes: AtomicUsize,
}

impl Share {
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
    use super::*;

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

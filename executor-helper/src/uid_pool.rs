//! Uids for jobs: one per live job, the least recently used first.

use std::collections::BTreeSet;

use crate::config::UidRange;

/// The pool. A uid that is taken, or whose job's directory could not be emptied, is not given out.
#[derive(Debug)]
pub struct UidPool {
    first: u32,
    count: u32,
    next: u32,
    busy: BTreeSet<u32>,
}

impl UidPool {
    /// `first..first+count`, beginning somewhere: after a restart the first uids would else be used over and over.
    pub fn new(UidRange { first, count }: UidRange, somewhere: u32) -> Self {
        Self { first, count, next: somewhere.checked_rem(count).unwrap_or(0), busy: BTreeSet::new() }
    }

    /// The uid that `take` would give, without taking it.
    pub fn peek(&self) -> Option<u32> {
        let from = |offset: u32| self.first.checked_add(self.next.checked_add(offset)?.checked_rem(self.count)?);
        (0..self.count).filter_map(from).find(|uid| !self.busy.contains(uid))
    }

    /// Marks a uid as used; the next search begins behind it, unless it was used already or is none of the pool's.
    pub fn take(&mut self, uid: u32) {
        let offset = uid.checked_sub(self.first).filter(|offset| *offset < self.count);
        if let (true, Some(offset)) = (self.busy.insert(uid), offset) {
            self.next = offset.saturating_add(1).checked_rem(self.count).unwrap_or(0);
        }
    }

    /// Gives it back.
    pub fn give_back(&mut self, uid: u32) {
        self.busy.remove(&uid);
    }

    /// Other bounds after a reload; what is taken stays taken.
    pub fn resize(&mut self, UidRange { first, count }: UidRange) {
        (self.first, self.count) = (first, count);
    }
}

#[cfg(test)]
mod tests;

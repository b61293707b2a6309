//! Counts what was tried, so that "a hundred million frames" is a number somebody read.

use std::{cell::RefCell, collections::BTreeMap};

/// Adds to a figure; all of them are told on standard error when the process ends by itself.
pub fn add(what: &'static str, times: u64) {
    TALLY.with(|tally| *tally.0.borrow_mut().entry(what).or_default() += times);
}

struct Tally(RefCell<BTreeMap<&'static str, u64>>);

// The engine leaves by exit(), which destroys the main thread's locals.
thread_local! {
    static TALLY: Tally = const { Tally(RefCell::new(BTreeMap::new())) };
}

impl Drop for Tally {
    fn drop(&mut self) {
        for (what, times) in self.0.borrow().iter() {
            eprintln!("tally: {times} {what}");
        }
    }
}

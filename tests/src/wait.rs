//! Waiting for a condition, never for luck.

use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

/// Tries until `condition` yields a value; panics with `what` when it has not after `deadline`.
///
/// Looks every 10 milliseconds: the condition should be cheap, or take its own time.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < deadline, "{what}: not within {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As [`wait_until`], for what may be over again before an ordinary thread of a busy machine has its next turn: looks every
/// millisecond, and before all other work.
#[track_caller]
pub fn catch<T: Send>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T> + Send) -> T {
    let begin = Instant::now();
    let look = move || {
        // Of this thread alone, and it ends with it.
        setpriority_process(None, -20).unwrap_or_else(|error| panic!("a higher priority: {error}"));
        loop {
            let found = condition();
            if found.is_some() || begin.elapsed() >= deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    match std::thread::scope(|scope| scope.spawn(look).join()) {
        Ok(Some(found)) => found,
        Ok(None) => panic!("{what}: not within {deadline:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

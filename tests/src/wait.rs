//! Waiting for a condition, never for luck.

use std::time::{Duration, Instant};

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

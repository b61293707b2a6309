//! Turns: how much of what all share one identity may be asking for at a time.
//!
//! Records are read and written, and jobs are started, in the order in which that is asked. Whoever asks for thousands of things
//! at once would have everybody wait behind them. So what one identity asks for waits behind its own, before the common queues.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Things of one identity at a time: as many as keep the records and the executor busy when nobody else asks.
const AT_ONCE: u32 = 32;
/// Bytes of a start's words that take one turn: a large record is written as slowly as many small ones.
const BYTES_A_TURN: usize = 8 << 10;

/// The turns of one identity. Clones are the same turns.
#[derive(Debug, Clone)]
pub struct Turns {
    records: Arc<Semaphore>,
    starts: Arc<Semaphore>,
}

/// A turn, until this is dropped. Who has one waits for no other of its kind.
#[derive(Debug)]
pub struct Turn {
    /// `None` would mean that turns are over, which they never are.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        let all = || Arc::new(Semaphore::new(AT_ONCE as usize));
        Self { records: all(), starts: all() }
    }
}

impl Turns {
    /// Waits for a turn to look something up in the records, or to change one.
    pub async fn record(&self) -> Turn {
        Turn { _permit: self.records.clone().acquire_owned().await.ok() }
    }

    /// Waits for a turn to start a job, whose words are so long together.
    pub async fn start(&self, bytes: usize) -> Turn {
        let turns = u32::try_from(bytes / BYTES_A_TURN + 1).unwrap_or(AT_ONCE).min(AT_ONCE);
        Turn { _permit: self.starts.clone().acquire_many_owned(turns).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_one_identity_asks_for_waits_behind_its_own_and_a_large_start_counts_for_many() {
        let (one, other) = (Turns::default(), Turns::default());
        let mut taken: Vec<Turn> = (0..32).map(|_| one.clone().record().now_or_never().expect("a turn")).collect();
        assert!(one.record().now_or_never().is_none());
        assert!(other.record().now_or_never().is_some() && one.start(100).now_or_never().is_some());
        taken.pop();
        assert!(one.record().now_or_never().is_some());
        let large = one.start(127 << 10).now_or_never();
        let second = one.start(127 << 10).now_or_never();
        assert!(large.is_some() && second.is_some() && one.start(1).now_or_never().is_none());
        drop((large, second));
        assert!(one.start(usize::MAX).now_or_never().is_some(), "whatever it is, it has a turn");
    }
}

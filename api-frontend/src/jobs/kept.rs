//! What a record says of its log, against the log itself.
//!
//! A record that is committed survives a power cut; the end of a log that was written a moment before may not. Waiting for the
//! disk at each job's end would cost every job what one in a power cut loses, so the record counts what the log must hold, and
//! whoever asks for the job or its output is told when it does not.

use super::{JobView, Jobs};
use crate::output::Totals;

impl Jobs {
    /// The view of an ended job, corrected by what its log still holds. Looks at the end of the log's files, off the threads that
    /// serve; a job without output costs nothing. A log that cannot be read now is taken as the record has it: reading it will
    /// say why.
    pub async fn checked(&self, mut view: JobView) -> JobView {
        if view.job.state.is_live() || view.output.bytes == 0 {
            return view;
        }
        let (logs, id) = (self.core.logs.clone(), view.job.id);
        let found = match logs.totals_in_use(id) {
            Some(found) => Some(found),
            None => tokio::task::spawn_blocking(move || logs.totals(id)).await.ok().and_then(Result::ok),
        };
        if let Some(found) = found {
            view.output = still_kept(view.output, found);
        }
        view
    }
}

/// `recorded` as it is true of a log that holds `found` now.
fn still_kept(recorded: Totals, found: Totals) -> Totals {
    let cut = recorded.bytes.saturating_sub(found.bytes);
    let missing = found.missing.saturating_add(cut).min(recorded.bytes);
    if cut == 0 && missing <= recorded.missing {
        return recorded;
    }
    let first_offset = if cut > 0 { recorded.bytes } else { found.first_offset };
    Totals { missing: missing.max(recorded.missing), first_offset, complete: false, ..recorded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(bytes: u64, missing: u64) -> Totals {
        Totals { bytes, streams: [bytes, 0], first_offset: 0, missing, complete: true, disk_bytes: bytes + 200 }
    }

    #[test]
    fn a_log_that_holds_what_its_record_says_changes_nothing() {
        assert_eq!(still_kept(totals(100, 0), totals(100, 0)), totals(100, 0));
        // The limit dropped some of it while the job ran.
        assert_eq!(still_kept(totals(100, 30), totals(100, 30)), totals(100, 30));
        // The last record, which says that nothing follows, may be gone: all bytes are there.
        assert_eq!(still_kept(totals(100, 0), Totals { complete: false, ..totals(100, 0) }), totals(100, 0));
        // Bytes at the end that never came are counted by the record alone.
        let lost = Totals { complete: false, ..totals(100, 40) };
        assert_eq!(still_kept(lost, totals(60, 0)).missing, 40);
    }

    #[test]
    fn what_is_gone_from_a_log_is_missing_and_the_log_no_longer_complete() {
        let cut = still_kept(totals(100, 10), totals(80, 10));
        assert_eq!((cut.bytes, cut.missing, cut.first_offset, cut.complete), (100, 30, 100, false));
        let vanished = still_kept(totals(100, 0), Totals::default());
        assert_eq!((vanished.missing, vanished.complete), (100, false));
        let hole = still_kept(totals(100, 0), Totals { first_offset: 60, ..totals(100, 50) });
        assert_eq!((hole.missing, hole.first_offset, hole.complete), (50, 60, false));
    }
}

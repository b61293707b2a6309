//! Trying again: how long, with which pauses, and what may be tried again at all.
//!
//! Two patiences differ. A connection that was lost may stay away for minutes, since a job hangs on it ([`Patience`]). One that
//! does not come about at first is an error, but a server that is being restarted or upgraded is back within a moment, and
//! nobody should have to know about that moment: the first connection has a short patience of its own ([`Calling`]).

use crate::error::Error;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How long the first connection is tried for, unless `Client::with_patience` says otherwise.
pub(crate) const FIRST: Duration = Duration::from_secs(2);
/// Waiting for longer than this is worth a word.
const WORTH_A_WORD: Duration = Duration::from_millis(500);

/// How long to go on trying: pauses that grow, until the window is over.
pub(crate) struct Patience {
    window: Duration,
    since: Option<Instant>,
    attempts: u32,
    resume_at: Option<Instant>,
}

impl Patience {
    const SHORTEST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn new(window: Duration) -> Self {
        Patience { window, since: None, attempts: 0, resume_at: None }
    }

    /// Something succeeded.
    pub(crate) fn renew(&mut self) {
        self.since = None;
        self.attempts = 0;
        self.resume_at = None;
    }

    /// Something failed; an error when the window is over.
    pub(crate) fn fail(&mut self, cause: Error) -> Result<(), Error> {
        match self.pass() {
            Ok(()) => Ok(()),
            Err(after) => Err(Error::GaveUp { after, cause: Box::new(cause) }),
        }
    }

    /// Waits out the pause. Cancelling and calling again waits for the same moment.
    pub(crate) async fn wait(&mut self) {
        if let Some(moment) = self.resume_at {
            sleep_until(moment).await;
            self.resume_at = None;
        }
    }

    pub(crate) async fn pause(&mut self, cause: Error) -> Result<(), Error> {
        self.fail(cause)?;
        self.wait().await;
        Ok(())
    }

    // Plans the next pause; the error says how long the window, now over, was.
    fn pass(&mut self) -> Result<(), Duration> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let after = now - since;
        if after >= self.window {
            return Err(after);
        }
        let pause = Self::SHORTEST.saturating_mul(1 << self.attempts.min(10)).min(Self::LONGEST);
        self.attempts += 1;
        self.resume_at = Some((now + pause).min(since + self.window));
        Ok(())
    }
}

/// Which failures of a call allow to make it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Any that a restarting server causes: the call twice does what it does once.
    Harmless,
    /// Only those after which nothing can have arrived.
    Unsent,
}

/// The first connection's patience, for one call.
pub(crate) struct Calling {
    repeat: Repeat,
    patience: Patience,
    notice: Notice,
}

impl Calling {
    pub(crate) fn new(courtesy: &Courtesy, repeat: Repeat) -> Self {
        Calling { repeat, patience: Patience::new(courtesy.patience), notice: courtesy.notice.clone() }
    }

    /// A failure: plans the pause before the next attempt, or gives the failure back when there is to be none.
    pub(crate) fn fail(&mut self, error: Error) -> Result<(), Error> {
        let may_repeat = match self.repeat {
            Repeat::Harmless => error.may_be_a_restart(),
            Repeat::Unsent => error.may_be_a_restart() && matches!(error, Error::Unreachable(_)),
        };
        if !may_repeat || self.patience.pass().is_err() {
            return Err(error);
        }
        if self.patience.since.is_some_and(|since| since.elapsed() >= WORTH_A_WORD) {
            self.notice.give();
        }
        Ok(())
    }

    /// Waits out the pause. Cancelling and calling again waits for the same moment.
    pub(crate) async fn wait(&mut self) {
        self.patience.wait().await;
    }

    /// Both.
    pub(crate) async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.fail(error)?;
        self.wait().await;
        Ok(())
    }
}

/// What a client does about a server that is not there at first.
#[derive(Clone)]
pub(crate) struct Courtesy {
    pub(crate) patience: Duration,
    pub(crate) notice: Notice,
}

impl Default for Courtesy {
    fn default() -> Self {
        Courtesy { patience: FIRST, notice: Notice::default() }
    }
}

/// Tells somebody, once, that the server is being waited for.
#[derive(Clone, Default)]
pub(crate) struct Notice(Option<Arc<Told>>);

struct Told {
    tell: Box<dyn Fn() + Send + Sync>,
    done: AtomicBool,
}

impl Notice {
    pub(crate) fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Notice(Some(Arc::new(Told { tell: Box::new(tell), done: AtomicBool::new(false) })))
    }

    fn give(&self) {
        if let Some(told) = &self.0
            && !told.done.swap(true, Ordering::Relaxed)
        {
            (told.tell)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dial::DialError, error::Answer};
    use std::sync::atomic::AtomicUsize;
    use tonic::Code;

    fn calling(repeat: Repeat) -> Calling {
        Calling::new(&Courtesy { patience: Duration::from_secs(60), notice: Notice::default() }, repeat)
    }

    fn answer(code: Code, reason: &str) -> Error {
        let reason = Some(reason.to_owned());
        Error::Answer(Box::new(Answer {
            code,
            message: String::new(),
            field: None,
            hint: None,
            reason,
            request_id: None,
        }))
    }

    fn not_listening() -> Error {
        Error::Unreachable(DialError::NotListening { server: "build1:7443".into() })
    }

    #[test]
    fn a_call_that_may_have_arrived_is_repeated_only_where_twice_does_what_once_does() {
        let (lost, stopping) = (|| Error::Lost("cut".into()), || answer(Code::Unavailable, "STOPPING"));
        assert!(calling(Repeat::Harmless).fail(lost()).is_ok());
        assert!(calling(Repeat::Harmless).fail(stopping()).is_ok());
        assert!(calling(Repeat::Unsent).fail(lost()).is_err());
        assert!(calling(Repeat::Unsent).fail(stopping()).is_err());
        assert!(calling(Repeat::Unsent).fail(not_listening()).is_ok());
    }

    #[test]
    fn what_no_restart_mends_is_not_waited_for() {
        let server = || "build1:7443".to_owned();
        let untrusted = DialError::Untrusted { server: server(), reason: "expired".into() };
        let unknown = DialError::Resolve { server: server(), reason: "no such name".into() };
        let silent = DialError::Silent { server: server() };
        for error in [untrusted, unknown, silent].map(Error::Unreachable) {
            assert!(calling(Repeat::Harmless).fail(error).is_err());
        }
        assert!(calling(Repeat::Harmless).fail(answer(Code::NotFound, "NO_SUCH_JOB")).is_err());
        // The server has waited for its executor already.
        assert!(calling(Repeat::Harmless).fail(answer(Code::Unavailable, "EXECUTOR_AWAY")).is_err());
    }

    #[tokio::test]
    async fn patience_ends_with_the_failure_itself_and_a_long_wait_is_told_once() {
        let told = Arc::new(AtomicUsize::new(0));
        let notice = {
            let told = told.clone();
            Notice::new(move || {
                told.fetch_add(1, Ordering::Relaxed);
            })
        };
        let courtesy = Courtesy { patience: Duration::from_millis(1200), notice };
        let begun = Instant::now();
        let mut calling = Calling::new(&courtesy, Repeat::Harmless);
        let error = loop {
            if let Err(error) = calling.pause(not_listening()).await {
                break error;
            }
        };
        assert!(matches!(error, Error::Unreachable(DialError::NotListening { .. })), "{error}");
        assert!(begun.elapsed() >= courtesy.patience);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}

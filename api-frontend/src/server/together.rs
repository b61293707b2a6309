//! A connection and its calls, run together.
//!
//! hyper gives each call to an executor of ours. Given to the runtime, a call that streams output and the connection that sends
//! it run on two threads, which wake each other and wait for each other's lock for every few records. Here they take turns
//! within one job of the runtime: what a call has made is sent at once, by the thread that made it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;
use hyper::rt::Executor;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Turns of connection and calls before other connections have theirs.
const TURNS: usize = 8;

/// Where a connection puts its new calls.
#[derive(Clone, Default)]
pub(super) struct NewCalls(Arc<Mutex<Vec<Call>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for NewCalls {
    fn execute(&self, call: F) {
        self.lock().push(Box::pin(call));
    }
}

impl NewCalls {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with its calls. Ends with the connection; calls that are still open then are dropped.
pub(super) struct Together<C> {
    connection: Pin<Box<C>>,
    new: NewCalls,
    calls: FuturesUnordered<Call>,
    turn: Arc<Turn>,
}

impl<C: Future> Together<C> {
    /// `connection` puts its calls into `new`.
    pub(super) fn new(connection: C, new: NewCalls) -> Self {
        Self { connection: Box::pin(connection), new, calls: FuturesUnordered::new(), turn: Arc::default() }
    }

    /// The connection alone.
    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.turn.outside.register(cx.waker());
        let waker = Waker::from(this.turn.clone());
        let within = &mut Context::from_waker(&waker);
        for _ in 0..TURNS {
            this.turn.begin();
            if let Poll::Ready(ended) = this.connection.as_mut().poll(within) {
                return Poll::Ready(ended);
            }
            this.calls.extend(this.new.lock().drain(..));
            while let Poll::Ready(Some(())) = this.calls.poll_next_unpin(within) {}
            // Without budget whatever is asked says that it is not ready, and wakes.
            if this.turn.end() || !tokio::task::coop::has_budget_remaining() {
                break;
            }
        }
        if this.turn.end() { Poll::Pending } else { this.turn.put_off(cx) }
    }
}

/// Tells a wake-up during a turn, which asks for another one, from one that must reach the runtime.
#[derive(Debug, Default)]
struct Turn {
    state: AtomicU8,
    outside: AtomicWaker,
}

const AT_REST: u8 = 0;
const RUNNING: u8 = 1;
const WOKEN: u8 = 2;

impl Turn {
    fn begin(&self) {
        self.state.store(RUNNING, Ordering::SeqCst);
    }

    /// Whether nothing woke during the turn, so that waiting is right.
    fn end(&self) -> bool {
        self.state.compare_exchange(RUNNING, AT_REST, Ordering::SeqCst, Ordering::SeqCst) != Err(WOKEN)
    }

    /// Another turn is due, later.
    fn put_off<T>(&self, cx: &Context<'_>) -> Poll<T> {
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::SeqCst) == AT_REST {
            self.outside.wake();
        }
    }
}

#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;

/// A connection that ends when it is told to, and a call that it has begun.
fn connection_with(
    call: impl Future<Output = ()> + Send + 'static,
) -> (Together<oneshot::Receiver<()>>, oneshot::Sender<()>) {
    let new = NewCalls::default();
    new.execute(call);
    let (end, ended) = oneshot::channel();
    (Together::new(ended, new), end)
}

#[tokio::test]
async fn a_call_goes_on_whenever_what_it_waits_for_is_there_and_ends_with_the_connection() {
    let (give, mut given) = mpsc::channel(1);
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let (together, end) = connection_with(async move {
        while given.recv().await.is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let running = tokio::spawn(together);
    for so_far in 0..1000 {
        give.send(()).await.unwrap();
        let caught_up = async {
            while seen.load(Ordering::SeqCst) < so_far {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), caught_up).await.expect("no wake-up is lost");
    }
    end.send(()).unwrap();
    timeout(Duration::from_secs(10), running).await.expect("it ends").unwrap().unwrap();
    assert!(give.is_closed(), "the open call went with the connection");
}

#[tokio::test]
async fn a_call_that_always_has_something_to_do_leaves_the_others_their_turn() {
    let busy = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    let (together, end) = connection_with(busy);
    let running = tokio::spawn(together);
    timeout(Duration::from_secs(10), tokio::task::yield_now()).await.expect("this one has its turn on the same thread");
    end.send(()).unwrap();
    timeout(Duration::from_secs(10), running).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_from_another_thread_are_never_lost() {
    let (give, mut given) = mpsc::unbounded_channel();
    let (tell, told) = oneshot::channel();
    let (together, _end) = connection_with(async move {
        for expected in 0..100_000 {
            assert_eq!(given.recv().await, Some(expected));
        }
        let _ = tell.send(());
    });
    tokio::spawn(together);
    let giving = std::thread::spawn(move || (0..100_000).for_each(|number| give.send(number).unwrap()));
    timeout(Duration::from_secs(60), told).await.expect("all arrived").unwrap();
    giving.join().unwrap();
}

//! What a coroutine waits for besides operations: a time, its turn, another of its futures.

use super::core::Runtime;
use crate::stdx::time::Mono;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Ready at `at`.
pub async fn sleep_until(runtime: &Runtime, at: Mono) {
    poll_fn(|_| {
        if runtime.now().mono >= at {
            return Poll::Ready(());
        }
        runtime.wake_by(at);
        Poll::Pending
    })
    .await;
}

/// Lets the other coroutines have a turn.
pub async fn yield_now(runtime: &Runtime) {
    let mut yielded = false;
    poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        runtime.wake(runtime.current().expect("only coroutines yield"));
        Poll::Pending
    })
    .await;
}

/// The future's output, or `None` at `at` if it is not ready by then: it can still be awaited.
pub async fn until<F: Future>(runtime: &Runtime, at: Mono, mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if runtime.now().mono >= at {
            return Poll::Ready(None);
        }
        runtime.wake_by(at);
        Poll::Pending
    })
    .await
}

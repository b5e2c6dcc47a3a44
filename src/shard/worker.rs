//! The two kinds of coroutine a shard runs: one that accepts, and those that serve.

use super::connections::Slot;
use super::state::{Job, State};
use crate::proxy::{Scratch, serve};
use crate::runtime::TcpListener;
use crate::runtime::wait::yield_now;
use crate::stdx::slab::Key;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Accepts until the shard drains, and then what has arrived by then.
pub async fn accept(state: Rc<State>, listener: TcpListener, name: Rc<str>) {
    let runtime = &state.shared.runtime;
    let local = listener.address();
    let mut accepted_in_turn = 0;
    loop {
        let accepted = {
            let mut next = pin!(listener.accept());
            poll_fn(|context| match next.as_mut().poll(context) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if state.shared.draining.get() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        match accepted {
            Some(Ok((stream, peer))) => state.admit(stream, peer, local, &name),
            // That connection is gone; the listener is not.
            Some(Err(_)) => {}
            None => break,
        }
        accepted_in_turn += 1;
        if accepted_in_turn == ACCEPTS_MAX {
            accepted_in_turn = 0;
            yield_now(runtime).await;
        }
    }
    state.acceptor_ended();
}

/// Serves one connection after another, each until it is idle or has ended.
pub async fn work(state: Rc<State>) {
    let mut scratch = Scratch::default();
    while let Some((key, downstream)) = next_job(&state).await {
        let place = Place { state: &state, key };
        if let Some(idle) = serve(&state.shared, &mut scratch, downstream).await {
            place.keep();
            state.park(key, idle, state.shared.plan.limits.idle_timeout);
        }
    }
}

async fn next_job(state: &State) -> Option<Job> {
    let mut waits = false;
    poll_fn(|_| match state.next_job() {
        Some(job) => Poll::Ready(Some(job)),
        None if waits => Poll::Pending,
        None => {
            let me = state.shared.runtime.current().expect("workers are coroutines");
            waits = state.wait_for_job(me);
            if waits { Poll::Pending } else { Poll::Ready(None) }
        }
    })
    .await
}

/// A connection's place in the table, given back when its coroutine is done with it, in a panic too.
struct Place<'a> {
    state: &'a State,
    key: Key<Slot>,
}

impl Place<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.state.connections.borrow_mut().release(self.key);
    }
}

/// Connections one listener brings into a turn.
const ACCEPTS_MAX: usize = 16;

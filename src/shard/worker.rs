//! The two kinds of coroutine a shard runs: one that accepts, and those that serve.

use super::connections::Slot;
use super::state::{Desk, Job, State};
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

/// Serves one connection after another, each until it is idle or has ended. The first lies on the desk.
pub async fn work(state: Rc<State>, desk: Desk) {
    let me = state.shared.runtime.current().expect("workers are coroutines");
    let mut scratch = Scratch::default();
    loop {
        let (key, downstream) = next_job(&desk).await;
        let mut place = Place { state: &state, key: Some(key) };
        if let Some(idle) = serve(&state.shared, &mut scratch, downstream).await {
            place.key = None;
            state.park(key, idle, state.shared.plan.limits.idle_timeout);
        }
        if !state.wait_for_job(me, &desk) {
            return;
        }
    }
}

async fn next_job(desk: &Desk) -> Job {
    poll_fn(|_| desk.take().map_or(Poll::Pending, Poll::Ready)).await
}

/// A connection's place in the table, given back when its coroutine is done with it, in a panic too.
struct Place<'a> {
    state: &'a State,
    /// Absent when the connection keeps its place.
    key: Option<Key<Slot>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.state.connections.borrow_mut().release(key);
        }
    }
}

/// Connections one listener brings into a turn.
const ACCEPTS_MAX: usize = 16;

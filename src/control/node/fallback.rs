//! A ring that fails while it serves: a seccomp profile may forbid at any time what it allowed at the start.
//!
//! What a ring was doing is lost with it, and so are its connections. The listening sockets are not: the control thread
//! has a descriptor of each, who arrives waits in their queues, and the shards begin anew on epoll.

use super::begin::{Started, start_shards};
use super::{LOG_PATIENCE, Node, Phase};
use crate::control::journal::say;
use crate::control::start::StartError;
use crate::runtime::driver::choice::Choice;
use crate::runtime::options::EventLoop;
use crate::runtime::{Error, Stop};
use crate::shard::Mail;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

impl Node {
    /// The end of `shard` was told. If its ring has failed it, all shards begin anew, and where their ends are told is
    /// returned; `None` if that is not what happened, or not possible.
    pub(super) fn fall_back(&mut self, shard: Option<usize>) -> Option<UnboundedReceiver<usize>> {
        let accepts = matches!(self.phase, Phase::Serving | Phase::Leaving { .. });
        let on_ring = self.status.borrow().event_loop.event_loop == EventLoop::Uring;
        if !accepts || !on_ring {
            return None;
        }
        let error = self.workers.failure_of(shard?)?;
        match self.begin_anew(error) {
            Ok(ended) => Some(ended),
            Err(failed) => {
                say!(Error, "the shards cannot begin anew: {failed}");
                None
            }
        }
    }

    fn begin_anew(&mut self, error: Error) -> Result<UnboundedReceiver<usize>, StartError> {
        let reason = format!("io_uring failed while it served: {error}");
        say!(Warn, "{reason}; connections are lost, and the shards begin anew");
        // Those whose ring still turns; their connections are on it.
        self.workers.tell_all(|| Mail::Drain { patience: Duration::ZERO, stop: Stop::Leave });
        self.sockets.take_back();
        let event_loop = Choice { event_loop: EventLoop::Epoll, reason };
        let (shards, keys) = (self.workers.len(), self.issuers.book());
        let ledger = self.workers.board.ledger().cloned();
        let (Started { workers, writer, reports }, ended) =
            start_shards(&self.nursery, shards, &self.snapshot, &mut self.sockets, &event_loop, keys, ledger)?;
        // Their plan is the one in force: no earlier one is waited for.
        (0..workers.len()).for_each(|shard| workers.board.adopt_generation(shard, self.generation));
        self.status.borrow_mut().begun_anew(event_loop, workers.board.clone());
        let healthy = std::mem::replace(&mut self.workers, workers).finish(true);
        if let Some(ledger) = self.workers.board.ledger().filter(|_| !healthy) {
            // Of one that ended in the middle of things nobody knows what it held.
            ledger.recall();
        }
        let writer = std::mem::replace(&mut self.writer, writer);
        writer.finish(LOG_PATIENCE);
        self.status.borrow_mut().log_lines_lost += writer.take_lines_lost();
        self.reports = reports;
        Ok(ended)
    }
}

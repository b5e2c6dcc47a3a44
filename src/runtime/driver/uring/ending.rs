//! How a ring ends.

use super::{ACCEPT, CANCEL, KINDS, Rx, Socket, Tx, Uring, connections};
use crate::runtime::driver::Close;
use io_uring::{opcode, types};

impl Drop for Uring {
    /// Ends everything that the kernel does for this ring before the memory goes that it does it with.
    fn drop(&mut self) {
        self.push(opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build(), CANCEL);
        for _ in 0..DRAIN_WAITS_MAX {
            while let Some(completion) = self.ring.reap() {
                self.flying -= usize::from(!completion.more());
                if completion.user_data & KINDS == ACCEPT && completion.result >= 0 {
                    connections::reclaim(completion.result);
                }
            }
            if self.flying == 0 || self.ring.wait_briefly().is_err() {
                break;
            }
        }
        if self.flying > 0 {
            // The kernel may still write there.
            Box::leak(Box::new((self.part(), self.windows.take())));
        }
    }
}

impl Uring {
    /// Closes every socket, and returns what the kernel may still write to for it.
    fn part(&mut self) -> Vec<(Rx, Tx)> {
        let keys: Vec<_> = self.sockets.iter().map(|(key, _)| key).collect();
        let sockets = keys.into_iter().filter_map(|key| self.sockets.remove(key));
        let memory = sockets.map(|Socket { fd, rx, tx, closing, .. }| {
            connections::close(fd, closing.unwrap_or(Close::Graceful));
            (rx, tx)
        });
        memory.collect()
    }
}

/// How often a ring that ends waits for what it cancelled: two seconds in all.
const DRAIN_WAITS_MAX: usize = 200;

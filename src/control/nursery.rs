//! The thread that starts shards. A thread inherits the niceness of the one that starts it and has no right to less,
//! and the control thread, which may have to start shards again, is nicer than a shard is to be.

use super::start::StartError;
use super::workers::{Addresses, Beginning, Workers};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// To be made before the thread that makes it gives way. It ends with this value.
pub struct Nursery {
    orders: Sender<Order>,
}

struct Order {
    shards: usize,
    beginning: Beginning,
    started: Sender<Result<(Workers, Addresses), StartError>>,
}

impl Nursery {
    pub fn new() -> io::Result<Self> {
        let (orders, ordered): (_, Receiver<Order>) = channel();
        std::thread::Builder::new().name("nursery".to_owned()).spawn(move || {
            for Order { shards, beginning, started } in ordered {
                // Whoever ordered waits for it.
                let _gone = started.send(Workers::start(shards, beginning));
            }
        })?;
        Ok(Self { orders })
    }

    pub fn start(&self, shards: usize, beginning: Beginning) -> Result<(Workers, Addresses), StartError> {
        let (started, told) = channel();
        self.orders.send(Order { shards, beginning, started }).map_err(|_| StartError::ShardEnded)?;
        told.recv().map_err(|_| StartError::ShardEnded)?
    }
}

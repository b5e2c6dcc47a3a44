//! One worker: its listeners, its connections, its coroutines, and the loop that turns them.
//!
//! ```text
//!   accept --> idle (a record, one armed receive) --first byte--> active (a coroutine of the pool) --+
//!                ^                                                                                   |
//!                +----------------- the next request may come ---------------------------------------+
//! ```

mod connections;
mod mail;
mod state;
mod worker;

pub use self::mail::Mail;

use self::state::State;
use crate::proxy::{Plan, Shared};
use crate::runtime::mailbox::Inbox;
use crate::runtime::{Error, Runtime, TcpListener};
use crate::stdx::rng::Rng;
use crate::stdx::time::Mono;
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::LogRing;
use crate::upstream::Pools;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A shard and what it needs to turn. It lives and dies on one thread.
pub struct Shard {
    state: Rc<State>,
    inbox: Inbox<Mail>,
    /// When the shard ends at the latest, once it has been told to.
    ends_at: Option<Mono>,
}

/// What a shard is made of.
pub struct Parts {
    pub runtime: Runtime,
    pub plan: Arc<Plan>,
    /// Names and addresses.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Absent when the access log is off.
    pub log: Option<LogRing>,
    pub seed: u64,
    pub inbox: Inbox<Mail>,
}

/// Which listener could not be opened, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenError {
    pub name: String,
    pub address: SocketAddr,
    pub error: Error,
}

impl Shard {
    /// Opens the listeners; connections are accepted from the first turn on. Also returns where it listens.
    pub fn new(parts: Parts) -> Result<(Self, Vec<(String, SocketAddr)>), ListenError> {
        let Parts { runtime, plan, listeners, log, seed, inbox } = parts;
        let pools = Pools::new(state::UPSTREAM_MARK);
        let shared = Shared::new(runtime.clone(), plan, pools, Rng::new(seed), log);
        let state = Rc::new(State::new(shared, seed));
        let mut addresses = Vec::new();
        for (name, address) in listeners {
            let listener = TcpListener::bind(&runtime, address).map_err(|error| {
                let name = name.clone();
                ListenError { name, address, error }
            })?;
            addresses.push((name.clone(), listener.address()));
            state.add_acceptor(listener, &name);
        }
        state.begin();
        Ok((Self { state, inbox, ends_at: None }, addresses))
    }

    /// Turns until the shard has been told to end and has ended.
    pub fn run(&mut self) -> Result<(), Error> {
        while self.turn(Mono::NEVER)? {}
        Ok(())
    }

    /// One turn of the loop, sleeping until `deadline` at most. False when the shard has ended.
    pub fn turn(&mut self, deadline: Mono) -> Result<bool, Error> {
        let state = &self.state;
        let deadline = [Some(deadline), self.ends_at, state.shared.log_due()].into_iter().flatten().min();
        let deadline = deadline.unwrap_or(Mono::NEVER);
        state.shared.runtime.turn(deadline, &mut |event| state.on_event(event))?;
        state.shared.flush_log();
        while let Some(mail) = self.inbox.take() {
            match mail {
                Mail::Drain { patience } => {
                    state.drain();
                    self.ends_at = Some(state.shared.runtime.now().mono + patience);
                }
            }
        }
        let overdue = self.ends_at.is_some_and(|ends_at| state.shared.runtime.now().mono >= ends_at);
        if overdue || self.ends_at.is_some() && state.is_empty() {
            state.end();
            return Ok(false);
        }
        Ok(true)
    }

    /// When the next turn has something to do of its own accord.
    pub fn wakes_at(&self) -> Option<Mono> {
        let shared = &self.state.shared;
        [shared.runtime.wakes_at(), self.ends_at, shared.log_due()].into_iter().flatten().min()
    }

    /// This shard's counters, as of now.
    pub fn counters(&self) -> Counters {
        self.state.counters()
    }
}

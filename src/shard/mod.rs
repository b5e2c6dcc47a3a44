//! One worker: its listeners, its connections, its coroutines, and the loop that turns them.
//!
//! ```text
//!   accept --> idle (a record, one armed receive) --first byte--> active (a coroutine of the pool) --+
//!     |          ^                                                                                   |
//!     |          +----------------- the next request may come ---------------------------------------+
//!     +--> another shard, if that has far fewer connections
//! ```

mod connections;
mod listeners;
mod mail;
mod state;
mod worker;

pub use self::mail::{Described, Handoff, Listen, Mail, Publication};

use self::listeners::Refused;
use self::state::State;
use crate::policy::jwt::jwks::KeyBook;
use crate::policy::rate_limit;
use crate::proxy::{Calls, Plan, Shared};
use crate::runtime::mailbox::{Inbox, Latest, Outbox};
use crate::runtime::{Error, Runtime, Turns};
use crate::stdx::board::Board;
use crate::stdx::histogram::Histogram;
use crate::stdx::rng::Rng;
use crate::stdx::time::Mono;
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::LogRing;
use crate::telemetry::report::{Limited, Reporter};
use crate::upstream::Pools;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A shard and what it needs to turn. It lives and dies on one thread.
pub struct Shard {
    state: Rc<State>,
    inbox: Inbox<Mail>,
    handoffs: Inbox<Handoff>,
    publications: Latest<Publication>,
    keys: Latest<KeyBook>,
    /// Without it nobody asks.
    reporter: Option<Reporter>,
    /// How long each piece of a new configuration took to be put in force, since the last report.
    changes: Histogram,
    /// When the shard ends at the latest, once it has been told to.
    ends_at: Option<Mono>,
}

/// What a shard is made of, beside its event loop.
pub struct Parts {
    /// Which of the board's shards it is.
    pub shard: usize,
    pub board: Arc<Board>,
    pub plan: Arc<Plan>,
    pub listeners: Vec<Listen>,
    /// Without it there is no access log.
    pub log: Option<LogRing>,
    pub seed: u64,
    pub inbox: Inbox<Mail>,
    pub handoffs: Inbox<Handoff>,
    /// By the number of the shard; one for itself too.
    pub peers: Vec<Outbox<Handoff>>,
    pub publications: Latest<Publication>,
    /// The keys that issuers of tokens publish.
    pub keys: Latest<KeyBook>,
    /// Where it asks what it cannot answer.
    pub calls: Calls,
    /// Without it nothing is told of what the shard does.
    pub reporter: Option<Reporter>,
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
    pub fn new(runtime: Runtime, parts: Parts) -> Result<(Self, Vec<(String, SocketAddr)>), ListenError> {
        let Parts { shard, board, plan, listeners, log, seed, inbox, handoffs, peers, publications, .. } = parts;
        let (keys, calls, reporter) = (parts.keys, parts.calls, parts.reporter);
        let pools = Pools::new(state::UPSTREAM_MARK, (shard, board.shards()));
        let limits = rate_limit::State::new(board.clone(), shard, seed.rotate_left(32));
        let shared = Shared::new(runtime, plan, board, pools, Rng::new(seed), calls, log);
        shared.policies.borrow_mut().limits = limits;
        let state = Rc::new(State::new(shared, shard, peers));
        let shard =
            Self { state, inbox, handoffs, publications, keys, reporter, changes: Histogram::default(), ends_at: None };
        let opened = listeners.into_iter().map(|listen| shard.state.open(listen));
        let addresses = opened.collect::<Result<_, Refused>>().map_err(|Refused { listen, error }| {
            let Listen { name, address, .. } = listen;
            ListenError { name, address, error }
        })?;
        shard.state.begin();
        Ok((shard, addresses))
    }

    /// Turns until the shard has been told to end and has ended, or until its event loop fails: then its connections
    /// are closed, as nothing will be heard of them any more.
    pub fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.turn(Mono::NEVER) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            }
        }
    }

    /// One turn of the loop, sleeping until `deadline` at most. False when the shard has ended.
    pub fn turn(&mut self, deadline: Mono) -> Result<bool, Error> {
        let shared = &self.state.shared;
        let deadline = if shared.clean_up() { Mono::ZERO } else { deadline.min(self.due()) };
        shared.runtime.turn(deadline, &mut |event| self.state.on_event(event))?;
        shared.flush_log();
        shared.policies.borrow_mut().limits.reconcile(shared.runtime.now().mono);
        self.report();
        if self.state.shared.runtime.take_rung() {
            self.read_mail();
        }
        if self.has_ended() {
            self.end();
            return Ok(false);
        }
        Ok(true)
    }

    /// When the next turn has something to do of its own accord.
    pub fn wakes_at(&self) -> Option<Mono> {
        let due = self.state.shared.runtime.wakes_at().map_or(self.due(), |at| at.min(self.due()));
        (due < Mono::NEVER).then_some(due)
    }

    /// When this shard has something to do that is no coroutine's and no timer's.
    fn due(&self) -> Mono {
        let routes = self.state.shared.routes.borrow();
        let report = self.reporter.as_ref().and_then(|reporter| reporter.due(&routes)).unwrap_or(Mono::NEVER);
        let log = self.state.shared.log_due().unwrap_or(Mono::NEVER);
        let limits = self.state.shared.policies.borrow().limits.due().unwrap_or(Mono::NEVER);
        self.ends_at.unwrap_or(Mono::NEVER).min(report).min(log).min(limits)
    }

    /// This shard's counters, as of now.
    pub fn counters(&self) -> Counters {
        self.state.counters()
    }

    fn read_mail(&mut self) {
        while let Some(mail) = self.inbox.take() {
            match mail {
                Mail::Drain { .. } => self.obey(mail),
                of_configuration => self.configure(|shard| shard.obey(of_configuration)),
            }
        }
        // Behind the mail: where it says to accept, the plan lies here that says what is met there.
        if let Some(Publication { generation, plan }) = self.publications.take() {
            self.configure(|shard| shard.state.shared.swap(plan));
            self.state.shared.board.adopt_generation(self.state.shard, generation);
        }
        if let Some(book) = self.keys.take() {
            self.state.shared.policies.borrow_mut().jwt.publish(book);
        }
        self.state.shared.calls.deliver(&self.state.shared.runtime);
        for _ in 0..HANDOFFS_MAX {
            let Some(handoff) = self.handoffs.take() else { break };
            self.state.handed(handoff);
        }
        if !self.handoffs.is_empty() {
            // For those that are left the bell has been rung, and heard: nobody rings it again.
            self.state.look_again();
        }
    }

    fn report(&mut self) {
        let Self { reporter: Some(reporter), state, changes, .. } = self else { return };
        let now = state.shared.runtime.now().mono;
        reporter.tell(now, &mut state.shared.routes.borrow_mut(), |report| {
            let Turns { busy, lag } = state.shared.runtime.take_turns();
            (report.counters, report.gauges) = (state.counters(), state.gauges());
            (report.busy, report.lag) = (busy, lag);
            report.changes = std::mem::take(changes);
            state.tell_refused(&mut report.listeners_refused);
            let mut policies = state.shared.policies.borrow_mut();
            report.keys_wanted = policies.jwt.take_wanted();
            report.keys_used.extend(policies.keys.take_uses());
            report.refused.extend(policies.limits.take_refused().map(|refused| {
                let rate_limit::Refused { route, consumer, limit, count } = refused;
                (Limited { route, consumer, limit }, count)
            }));
        });
    }

    /// Does what a changed configuration asks for, and counts the connections that this cost at once: there should be
    /// none, and what ends later for another reason is not told apart from what would have ended anyway.
    fn configure(&mut self, change: impl FnOnce(&mut Self)) {
        let (before, began) = (self.state.connections.borrow().len(), self.state.shared.runtime.read_clocks().mono);
        change(self);
        self.changes.record(self.state.shared.runtime.read_clocks().mono.since(began));
        let closed = before.saturating_sub(self.state.connections.borrow().len());
        self.state.shared.counters.borrow_mut().connections_closed_by_configuration += closed as u64;
    }

    fn obey(&mut self, mail: Mail) {
        match mail {
            Mail::Listen(listen) => self.state.try_to_open(listen),
            Mail::Describe(described) => self.state.describe(&described),
            Mail::Unlisten(id) => self.state.unlisten(id),
            Mail::Rest => self.state.rest(),
            Mail::Drain { patience, stop } => {
                self.state.drain(stop);
                self.ends_at = Some(self.state.shared.runtime.now().mono + patience);
            }
        }
    }

    /// It was told to end, and nothing can come any more or its time is over.
    fn has_ended(&self) -> bool {
        let Some(ends_at) = self.ends_at else { return false };
        let Shared { runtime, board, .. } = &self.state.shared;
        runtime.now().mono >= ends_at || self.state.is_empty() && board.is_closed() && self.handoffs.is_empty()
    }

    fn end(&self) {
        while let Some(handoff) = self.handoffs.take() {
            self.state.handed(handoff);
        }
        self.state.end();
    }
}

/// Connections of other shards that are taken in a turn.
const HANDOFFS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Entrance, ListenerInfo, Settings};
    use crate::route::Table;
    use crate::runtime::driver::Driver;
    use crate::runtime::driver::epoll::Epoll;
    use crate::runtime::mailbox::mailbox;
    use crate::runtime::{Parcel, TcpListener, TcpStream};
    use std::cell::RefCell;

    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn runtime() -> Runtime {
        Runtime::new(Driver::Epoll(Box::new(Epoll::new().expect("epoll is there"))), 1 << 20)
    }

    /// Connections that another shard has accepted.
    fn parcels(count: usize) -> Vec<Parcel> {
        let (far, clients) = (runtime(), Rc::new(RefCell::new(Vec::new())));
        let parcels = Rc::new(RefCell::new(Vec::new()));
        let listener = TcpListener::bind(&far, LOCAL).expect("a free port is there");
        let (address, accepted, connected, near) = (listener.address(), parcels.clone(), clients.clone(), far.clone());
        far.spawn(async move {
            for _ in 0..count {
                let client = TcpStream::connect(&near, address, Mono::NEVER).await.expect("somebody listens");
                connected.borrow_mut().push(client);
                let (stream, _) = listener.accept().await.expect("somebody has come");
                accepted.borrow_mut().push(stream.release().unwrap_or_else(|_| panic!("nobody has used it")));
            }
        });
        while far.tasks() > 0 {
            far.turn(Mono::NEVER, &mut |_| ()).expect("a turn never fails");
        }
        parcels.take()
    }

    #[test]
    fn hand_offs_beyond_what_a_turn_takes_are_taken_by_the_next_ones_though_nobody_rings_again() {
        let driver = Driver::Epoll(Box::new(Epoll::new().expect("epoll is there")));
        let (bell, runtime) = (driver.bell(), Runtime::new(driver, 1 << 20));
        let (services, routes, settings) = (Vec::new(), Vec::new(), Settings::default());
        let (table, chains, limits) = (Table::compile(&[]), Vec::new(), Vec::new());
        let plan = Arc::new(Plan { services, routes, table, chains, limits, shared: Vec::new(), settings });
        let (peer, handoffs) = mailbox(4 * HANDOFFS_MAX, bell.clone());
        let (_outbox, inbox) = mailbox(1, bell);
        let parts = Parts {
            shard: 0,
            board: Arc::new(Board::new(1, 1, 8)),
            plan,
            listeners: Vec::new(),
            log: None,
            seed: 1,
            inbox,
            handoffs,
            peers: vec![peer.clone()],
            publications: Latest::new(None),
            keys: Latest::new(None),
            calls: Calls::new(mailbox(1, None).0, None),
            reporter: None,
        };
        let (mut shard, _) = Shard::new(runtime, parts).expect("it listens nowhere");
        let (name, entrance) = ("public".to_owned(), Entrance::new(LOCAL, 0));
        let listener = Arc::new(ListenerInfo { id: 0, entrance, name, address: LOCAL, proxies: [].into() });
        for parcel in parcels(3 * HANDOFFS_MAX) {
            let accepted_at = shard.state.shared.runtime.now().mono;
            let handoff = Handoff { parcel, peer: LOCAL, listener: listener.clone(), accepted_at };
            shard.state.shared.board.arrive(0);
            assert!(peer.post(handoff).is_ok(), "there is room");
        }
        (0..4).for_each(|_| assert!(shard.turn(Mono::ZERO).expect("a turn never fails")));
        assert_eq!(shard.counters().handoffs_received, 3 * HANDOFFS_MAX as u64);
        shard.state.end();
    }
}

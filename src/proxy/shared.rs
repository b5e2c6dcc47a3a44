//! What the exchanges of one shard have in common. Nothing in it leaves the shard.

use super::active::{Active, RouteRecord, Routed};
use super::error::Failure;
use super::guard::Notes;
use super::plan::{Plan, Settings};
use crate::http::date::{self, DateLine};
use crate::http::head::{RequestHead, ResponseHead};
use crate::http::view::{ArgumentName, without_values};
use crate::policy;
use crate::policy::rate_limit::Expected;
use crate::route::{Asked, Asker, PathEdit, PathRule};
use crate::runtime::pages::fetch_ahead;
use crate::runtime::{Runtime, calls};
use crate::stdx::board::{Board, Lease};
use crate::stdx::ledger::{Ledger, Tag};
use crate::stdx::rng::Rng;
use crate::stdx::time::Mono;
use crate::telemetry::access_log::Record;
use crate::telemetry::clock::Clock;
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::LogRing;
use crate::telemetry::route_stats::RouteStats;
use crate::upstream::{Balancer, Pools};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub struct Shared {
    pub runtime: Runtime,
    active: RefCell<Active>,
    pub board: Arc<Board>,
    /// Places for requests in flight.
    places: RefCell<Lease>,
    pub pools: RefCell<Pools>,
    pub balancer: RefCell<Balancer>,
    pub counters: RefCell<Counters>,
    pub routes: RefCell<RouteStats>,
    pub rng: RefCell<Rng>,
    date: RefCell<DateLine>,
    /// What policies keep from one request to the next.
    pub policies: RefCell<policy::State>,
    /// What policies ask of other threads.
    pub calls: Calls,
    log: Option<RefCell<Log>>,
    /// The shard is ending: every answer says that its connection closes.
    pub draining: Cell<bool>,
}

/// Where a shard asks what it cannot answer itself.
pub type Calls = calls::Calls<policy::Question, policy::Answer>;

struct Log {
    ring: LogRing,
    clock: Clock,
    /// Memory for a query as it may be read.
    query: Vec<u8>,
}

/// Memory of one coroutine, used by one exchange after another.
#[derive(Default)]
pub struct Scratch {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub notes: Notes,
}

impl Shared {
    /// Without `log` there is no access log, whatever the plan says.
    pub fn new(
        runtime: Runtime,
        plan: Arc<Plan>,
        board: Arc<Board>,
        pools: Pools,
        mut rng: Rng,
        calls: Calls,
        log: Option<LogRing>,
    ) -> Self {
        let policies = policy::State::new(rng.next_u64());
        Self {
            runtime,
            active: RefCell::new(Active::new(plan)),
            board,
            places: RefCell::default(),
            pools: RefCell::new(pools),
            balancer: RefCell::default(),
            counters: RefCell::default(),
            routes: RefCell::default(),
            rng: RefCell::new(rng),
            date: RefCell::default(),
            policies: RefCell::new(policies),
            calls,
            log: log.map(|ring| RefCell::new(Log { ring, clock: Clock::new(), query: Vec::new() })),
            draining: Cell::new(false),
        }
    }

    /// The line that tells when an answer was given which does not tell it.
    pub fn date(&self) -> date::Line {
        *self.date.borrow_mut().at(self.runtime.now().wall)
    }

    /// What holds for a request that comes now.
    pub fn settings(&self) -> Rc<Settings> {
        self.active.borrow().settings().clone()
    }

    /// How long a connection may be idle that becomes idle now.
    pub fn idle_timeout(&self) -> Duration {
        self.active.borrow().settings().limits.idle_timeout
    }

    /// Whether these still hold for a request that comes now.
    pub fn is_in_force(&self, settings: &Settings) -> bool {
        std::ptr::eq(&**self.active.borrow().settings(), settings)
    }

    /// The route for a request that comes now, from this client.
    pub fn find(&self, asked: &Asked<'_>, client: IpAddr) -> Option<Routed> {
        self.active.borrow_mut().find(asked, client, || self.rng.borrow_mut().next_u64())
    }

    /// The arm of a split that has waited for who asks.
    pub fn decide(
        &self,
        undecided: &RouteRecord,
        asked: &Asked<'_>,
        identity: Option<&policy::Identity>,
        client: IpAddr,
    ) -> Rc<RouteRecord> {
        let belonging = identity.and_then(|identity| identity.belonging.as_ref());
        let consumer = identity.and_then(|identity| identity.consumer.as_deref());
        let asker = Asker { consumer, groups: belonging.map_or(&[], |belonging| &belonging.groups) };
        let chance = || self.rng.borrow_mut().next_u64();
        self.active.borrow_mut().decide(undecided, asked, asker, client, chance)
    }

    /// Lets the route change the request's path. From here on the request has no other.
    pub fn rewrite(&self, routed: &Routed, request: &mut RequestHead) -> Result<(), Failure> {
        let RouteRecord { route, settings, .. } = &*routed.record;
        let Some(edit) = route.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref()) else { return Ok(()) };
        let mut active = self.active.borrow_mut();
        if let Some(path) = active.edit(edit, (&route.rules[routed.rule].path, &request.path), settings)? {
            std::mem::swap(path, &mut request.path);
        }
        Ok(())
    }

    /// Calls `use_it` with what an edit makes of `path`, or with `path` itself.
    pub fn with_path<T>(
        &self,
        edit: Option<(&PathEdit, &PathRule)>,
        path: &[u8],
        settings: &Settings,
        use_it: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Failure> {
        let mut active = self.active.borrow_mut();
        let edited = match edit {
            Some((edit, by)) => active.edit(edit, (by, path), settings)?,
            None => None,
        };
        Ok(use_it(edited.map_or(path, |edited| edited)))
    }

    /// From now on requests meet this plan; those in flight keep what they began with.
    pub fn swap(&self, plan: Arc<Plan>) {
        self.balancer.borrow_mut().retain(&plan.services);
        self.active.borrow_mut().swap(plan);
        let mut policies = self.policies.borrow_mut();
        policies.jwt.swapped();
        policies.limits.swapped();
    }

    /// Lets go of some of what earlier plans left behind; false if there is nothing left.
    pub fn clean_up(&self) -> bool {
        self.active.borrow_mut().clean_up()
    }

    /// Has what a request is likely to be charged for fetched, while there is other work.
    pub fn expect(&self, expected: Expected) {
        self.policies.borrow().limits.expect(expected, fetch);
    }

    /// The same where only the client is known.
    pub fn expect_of(&self, client: IpAddr) {
        self.policies.borrow().limits.expect_of(client, fetch);
    }

    /// Takes one of the places for requests in flight, or says that there is none.
    pub fn enter(&self, settings: &Settings) -> Result<InFlight<'_>, Failure> {
        let mut counters = self.counters.borrow_mut();
        let places = settings.limits.requests_in_flight_max;
        if !self.places.borrow_mut().enter(&self.board.requests, places, self.board.shards()) {
            counters.sheds += 1;
            return Err(Failure::Overloaded);
        }
        counters.requests_in_flight += 1;
        Ok(InFlight { shared: self })
    }

    /// Gives back the places that this shard holds and does not use.
    pub fn settle(&self) {
        self.places.borrow_mut().settle(&self.board.requests);
    }

    /// Whether anybody reads the access log.
    pub fn logs(&self) -> bool {
        self.log.is_some() && self.active.borrow().settings().access_log
    }

    /// What the query has in arguments of these names stays unsaid.
    pub fn log(&self, record: &Record<'_>, secret_arguments: &[ArgumentName]) {
        let Some(log) = &self.log else { return };
        let Log { ring, clock, query: memory } = &mut *log.borrow_mut();
        let query = record.query.map(|query| without_values(query, secret_arguments, memory));
        let record = Record { query, ..*record };
        ring.append(self.runtime.now().mono, |line| record.write_json(line, clock));
    }

    /// Hands lines to the writer that have waited long enough.
    pub fn flush_log(&self) {
        if let Some(log) = &self.log {
            log.borrow_mut().ring.flush(self.runtime.now().mono);
        }
    }

    /// When `flush_log` has something to do.
    pub fn log_due(&self) -> Option<Mono> {
        self.log.as_ref()?.borrow().ring.flush_due()
    }

    pub fn log_lines_dropped(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.borrow().ring.lines_dropped())
    }
}

fn fetch(ledger: &Ledger, tag: Tag) {
    ledger.lines(tag).into_iter().for_each(fetch_ahead);
}

/// A place among the requests in flight; dropping it gives it back, in a panic too.
pub struct InFlight<'a> {
    shared: &'a Shared,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        shared.counters.borrow_mut().requests_in_flight -= 1;
        let places = shared.active.borrow().settings().limits.requests_in_flight_max;
        shared.places.borrow_mut().leave(&shared.board.requests, places, shared.board.shards());
    }
}

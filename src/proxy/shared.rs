//! What the exchanges of one shard have in common. Nothing in it leaves the shard.

use super::error::Failure;
use super::plan::Plan;
use crate::http::head::{RequestHead, ResponseHead};
use crate::runtime::Runtime;
use crate::stdx::rng::Rng;
use crate::telemetry::access_log::{Clock, Record};
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::LogRing;
use crate::upstream::{Balancer, Pools};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

pub struct Shared {
    pub runtime: Runtime,
    pub plan: Arc<Plan>,
    pub pools: RefCell<Pools>,
    pub balancer: RefCell<Balancer>,
    pub counters: RefCell<Counters>,
    pub rng: RefCell<Rng>,
    log: Option<RefCell<Log>>,
    /// The shard is ending: every answer says that its connection closes.
    pub draining: Cell<bool>,
}

struct Log {
    ring: LogRing,
    clock: Clock,
    line: Vec<u8>,
}

/// Memory of one coroutine, used by one exchange after another.
#[derive(Default)]
pub struct Scratch {
    pub request: RequestHead,
    pub response: ResponseHead,
}

impl Shared {
    /// `log` is absent when the access log is off.
    pub fn new(runtime: Runtime, plan: Arc<Plan>, pools: Pools, rng: Rng, log: Option<LogRing>) -> Self {
        Self {
            runtime,
            plan,
            pools: RefCell::new(pools),
            balancer: RefCell::default(),
            counters: RefCell::default(),
            rng: RefCell::new(rng),
            log: log.map(|ring| RefCell::new(Log { ring, clock: Clock::new(), line: Vec::new() })),
            draining: Cell::new(false),
        }
    }

    /// Takes one of the places for requests in flight, or says that there is none.
    pub fn enter(&self) -> Result<InFlight<'_>, Failure> {
        let mut counters = self.counters.borrow_mut();
        if counters.requests_in_flight >= self.plan.limits.requests_in_flight_max as u64 {
            counters.requests_shed += 1;
            return Err(Failure::Overloaded);
        }
        counters.requests_in_flight += 1;
        Ok(InFlight { shared: self })
    }

    /// Whether anybody reads the access log.
    pub fn logs(&self) -> bool {
        self.log.is_some()
    }

    pub fn log(&self, record: &Record<'_>) {
        let Some(log) = &self.log else { return };
        let Log { ring, clock, line } = &mut *log.borrow_mut();
        line.clear();
        record.write_json(line, clock);
        ring.append(line, self.runtime.now().mono);
    }

    /// Hands lines to the writer that have waited long enough. Called when the shard has nothing else to do.
    pub fn flush_log(&self) {
        if let Some(log) = &self.log {
            log.borrow_mut().ring.flush(self.runtime.now().mono);
        }
    }
}

/// A place among the requests in flight; dropping it gives it back, in a panic too.
pub struct InFlight<'a> {
    shared: &'a Shared,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.counters.borrow_mut().requests_in_flight -= 1;
    }
}

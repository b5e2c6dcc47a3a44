//! What the exchanges of one shard have in common. Nothing in it leaves the shard.

use super::error::Failure;
use super::plan::Plan;
use crate::http::head::{RequestHead, ResponseHead};
use crate::runtime::Runtime;
use crate::stdx::rng::Rng;
use crate::stdx::time::Mono;
use crate::telemetry::access_log::Record;
use crate::telemetry::clock::Clock;
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
            log: log.map(|ring| RefCell::new(Log { ring, clock: Clock::new() })),
            draining: Cell::new(false),
        }
    }

    /// Takes one of the places for requests in flight, or says that there is none.
    pub fn enter(&self) -> Result<InFlight<'_>, Failure> {
        let mut counters = self.counters.borrow_mut();
        if counters.requests_in_flight >= self.plan.limits.requests_in_flight_max as u64 {
            counters.sheds += 1;
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
        let Log { ring, clock } = &mut *log.borrow_mut();
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

/// A place among the requests in flight; dropping it gives it back, in a panic too.
pub struct InFlight<'a> {
    shared: &'a Shared,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.shared.counters.borrow_mut().requests_in_flight -= 1;
    }
}

//! The plan that one shard goes by, from one swap to the next.
//!
//! ```text
//!   Arc<Plan> (all shards)          Rc<RouteRecord> (this shard)          an exchange
//!      routes[i], services[j] --first use--> route, service, settings <--pins--+
//! ```
//!
//! An exchange pins the record of its route, never the plan: a long download keeps a few hundred bytes of an old
//! configuration alive, not all of it, and counts references on no line of the cache that another shard uses.

use super::plan::{Plan, Settings};
use crate::policy::Chain;
use crate::route::Route;
use crate::telemetry::route_stats::Tally;
use crate::upstream::Service;
use std::rc::Rc;
use std::sync::Arc;

pub struct Active {
    plan: Arc<Plan>,
    settings: Rc<Settings>,
    /// By the index of the route in the plan; made when the route is first used.
    records: Vec<Option<Rc<RouteRecord>>>,
    /// Records of earlier plans, let go of a few at a time: each may be the last reference to its route.
    retired: Vec<Option<Rc<RouteRecord>>>,
}

/// A route and all that its exchanges go by.
pub struct RouteRecord {
    pub route: Arc<Route>,
    pub service: Arc<Service>,
    pub settings: Rc<Settings>,
    pub chain: Option<Arc<Chain>>,
    /// What they add to. Of one route there may be several, of plans that followed one another: each tells its own.
    pub tally: Rc<Tally>,
}

impl Active {
    pub fn new(plan: Arc<Plan>) -> Self {
        let (settings, records) = (Rc::new(plan.settings.clone()), blank(&plan));
        Self { plan, settings, records, retired: Vec::new() }
    }

    pub fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// The record of the route for a request.
    pub fn find(&mut self, host: &[u8], path: &[u8]) -> Option<Rc<RouteRecord>> {
        let index = self.plan.table.find(host, path)?;
        let record = self.records[index].get_or_insert_with(|| {
            let route = self.plan.routes[index].clone();
            let service = self.plan.services[route.service as usize].clone();
            let (chain, tally) = (self.plan.chains[index].clone(), Tally::new(route.id));
            Rc::new(RouteRecord { route, service, settings: self.settings.clone(), chain, tally })
        });
        Some(record.clone())
    }

    /// From now on requests meet this plan. The old one must be kept elsewhere until then, and is freed there.
    pub fn swap(&mut self, plan: Arc<Plan>) {
        let records = std::mem::replace(&mut self.records, blank(&plan));
        if self.retired.is_empty() {
            self.retired = records;
        } else {
            // Swaps that follow one another faster than records are let go of.
            self.retired.extend(records.into_iter().filter(Option::is_some));
        }
        self.settings = Rc::new(plan.settings.clone());
        self.plan = plan;
    }

    /// Lets go of some of what earlier plans left behind; false if there is nothing left.
    pub fn clean_up(&mut self) -> bool {
        if self.retired.is_empty() {
            return false;
        }
        let keep = self.retired.len().saturating_sub(RETIRED_A_TURN_MAX);
        self.retired.truncate(keep);
        if keep == 0 {
            self.retired = Vec::new();
        }
        keep > 0
    }
}

fn blank(plan: &Plan) -> Vec<Option<Rc<RouteRecord>>> {
    let mut records = Vec::new();
    records.resize_with(plan.routes.len(), || None);
    records
}

/// Records that are let go of in one turn.
const RETIRED_A_TURN_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limits::Limits;
    use crate::route::{HostRule, PathRule, Rule, Table};
    use crate::upstream::service::{PoolLimits, Retry, Timeouts};

    fn plan(routes: usize, retry_after_s: u32) -> Arc<Plan> {
        let service = Service {
            id: 0,
            name: "service".to_owned(),
            endpoints: Vec::new(),
            timeouts: Timeouts::default(),
            pool: PoolLimits::default(),
            retry: Retry::default(),
        };
        let chains = vec![None; routes];
        let routes: Vec<_> = (0..routes)
            .map(|index| {
                let path = PathRule::Exact(format!("/{index}").into_bytes().into());
                Arc::new(Route {
                    id: index as u32,
                    name: format!("route-{index}"),
                    service: 0,
                    rules: vec![Rule { host: HostRule::Any, path, rank: index as u64 }],
                    preserve_host: true,
                    websocket: false,
                    body_bytes_max: None,
                })
            })
            .collect();
        let limits = Limits { retry_after_s, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        let (services, table) = (vec![Arc::new(service)], Table::compile(&routes));
        Arc::new(Plan { services, table, routes, chains, limits: Vec::new(), settings })
    }

    #[test]
    fn an_exchange_keeps_its_record_and_lets_the_plan_go() {
        let old = plan(1000, 1);
        let mut active = Active::new(old.clone());
        let pinned = active.find(b"", b"/7").expect("there is a route");
        assert!(Rc::ptr_eq(&pinned, &active.find(b"", b"/7").expect("there is a route")));
        (0..1000).for_each(|index| assert!(active.find(b"", format!("/{index}").as_bytes()).is_some()));
        let tally = |active: &mut Active, path: &[u8]| active.find(b"", path).expect("there is a route").tally.clone();
        let [gone, kept] = [b"/8", b"/7"].map(|path| Rc::downgrade(&tally(&mut active, path)));
        active.swap(plan(5, 2));
        assert_eq!(Arc::strong_count(&old), 1);
        assert_eq!(Arc::strong_count(&old.routes[7]), 2);
        let mut turns = 1;
        while active.clean_up() {
            turns += 1;
        }
        assert_eq!(turns, 1000usize.div_ceil(RETIRED_A_TURN_MAX));
        assert_eq!((Arc::strong_count(&old.routes[8]), Arc::strong_count(&old.routes[7])), (1, 2));
        assert_eq!((gone.strong_count(), kept.strong_count()), (0, 1), "what is counted goes with the record");
        assert_eq!((pinned.settings.limits.retry_after_s, active.settings().limits.retry_after_s), (1, 2));
        assert!(active.find(b"", b"/7").is_none());
    }

    #[test]
    fn swaps_in_a_row_forget_nothing() {
        let (first, second) = (plan(600, 1), plan(600, 2));
        let mut active = Active::new(first.clone());
        assert!(active.find(b"", b"/599").is_some());
        active.swap(second.clone());
        assert!(active.find(b"", b"/599").is_some());
        active.swap(plan(1, 3));
        while active.clean_up() {}
        for plan in [first, second] {
            assert_eq!(Arc::strong_count(&plan.routes[599]), 1);
        }
    }
}

//! The plan that one shard goes by, from one swap to the next.
//!
//! ```text
//!   Arc<Plan> (all shards)          Rc<RouteRecord> (this shard)            an exchange
//!      routes[i], services[j] --first use--> route, service, chain ... <--pins--+
//! ```
//!
//! An exchange pins the record of its route, never the plan: a long download keeps a few hundred bytes of an old
//! configuration alive, not all of it, and counts references on no line of the cache that another shard uses.

use super::error::Failure;
use super::plan::{Plan, Settings};
use super::rewrite::Rewriter;
use crate::policy::Chain;
use crate::route::{Action, Asked, Asker, PathEdit, PathRule, Route, Scratch};
use crate::telemetry::route_stats::Tally;
use crate::upstream::Service;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

pub struct Active {
    plan: Arc<Plan>,
    settings: Rc<Settings>,
    scratch: Scratch,
    rewriter: Rewriter,
    /// By the index of the route in the plan; made when the route is first used.
    records: Vec<Option<Rc<RouteRecord>>>,
    /// Records of earlier plans, let go of a few at a time: each may be the last reference to its route.
    retired: Vec<Option<Rc<RouteRecord>>>,
}

/// A route and all that its exchanges go by.
pub struct RouteRecord {
    pub route: Arc<Route>,
    /// `None` if the route answers itself.
    pub service: Option<Arc<Service>>,
    pub settings: Rc<Settings>,
    pub chain: Option<Arc<Chain>>,
    /// What they add to. Of one route there may be several, of plans that followed one another: each tells its own.
    pub tally: Rc<Tally>,
    /// Of a split that waits: what answers meet beside, as long as it does.
    pub rest: Option<Arc<Chain>>,
    /// Of a split: a record for each arm, which exchanges pin instead of this one.
    arms: Vec<Rc<RouteRecord>>,
}

/// The record of a request, and by which of the route's rules it was found.
pub struct Routed {
    pub record: Rc<RouteRecord>,
    pub rule: usize,
}

impl RouteRecord {
    /// Its arm is chosen when it is known who asks.
    pub fn waits(&self) -> bool {
        self.service.is_none() && matches!(&self.route.action, Action::Split(split) if split.waits())
    }
}

impl Active {
    pub fn new(plan: Arc<Plan>) -> Self {
        let (settings, records) = (Rc::new(plan.settings.clone()), blank(&plan));
        let (scratch, rewriter) = (Scratch::default(), Rewriter::default());
        Self { plan, settings, scratch, rewriter, records, retired: Vec::new() }
    }

    pub fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// The record of the route for a request. A split asks for chance if it needs it.
    pub fn find(&mut self, asked: &Asked<'_>, client: IpAddr, chance: impl FnOnce() -> u64) -> Option<Routed> {
        let found = self.plan.table.find(asked, &mut self.scratch)?;
        let record = match &mut self.records[found.route] {
            Some(record) => record,
            empty => empty.insert(record(&self.plan, &self.settings, found.route)),
        };
        let record = match &record.route.action {
            Action::Split(split) if !split.waits() => {
                &record.arms[split.choose(asked, Asker::default(), &mut self.scratch, client, chance)]
            }
            _ => record,
        };
        Some(Routed { record: record.clone(), rule: found.rule })
    }

    /// The record of the arm of a split that has waited for who asks.
    pub fn decide(
        &mut self,
        undecided: &RouteRecord,
        asked: &Asked<'_>,
        asker: Asker<'_>,
        client: IpAddr,
        chance: impl FnOnce() -> u64,
    ) -> Rc<RouteRecord> {
        let Action::Split(split) = &undecided.route.action else { unreachable!("only a split has arms") };
        undecided.arms[split.choose(asked, asker, &mut self.scratch, client, chance)].clone()
    }

    /// What an edit makes of a path that the rule's path matched; `None` if it stays.
    pub fn edit(
        &mut self,
        edit: &PathEdit,
        matched: (&PathRule, &[u8]),
        settings: &Settings,
    ) -> Result<Option<&mut Vec<u8>>, Failure> {
        self.rewriter.edit(edit, matched, settings, &mut self.scratch.caches)
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
        self.scratch = Scratch::default();
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

/// The arms of a split add to one tally: it is the route's.
fn record(plan: &Plan, settings: &Rc<Settings>, index: usize) -> Rc<RouteRecord> {
    let (route, chains) = (&plan.routes[index], &plan.chains[index]);
    let tally = Tally::new(route.id);
    let record = |service: Option<u32>, chain: &Option<Arc<Chain>>, arms| {
        let service = service.map(|service| plan.services[service as usize].clone());
        let (route, settings, tally) = (route.clone(), settings.clone(), tally.clone());
        RouteRecord { route, service, settings, chain: chain.clone(), tally, rest: None, arms }
    };
    let divided = |chain: &Option<Arc<Chain>>| chain.as_ref().map_or([None, None], |chain| chain.divided());
    Rc::new(match &route.action {
        Action::Service(service) => record(Some(*service), &chains[0], Vec::new()),
        Action::Split(split) if split.waits() => {
            // What runs before is the same whatever the arm: that was looked at when the file was read.
            let arms = split.arms.iter().zip(chains).map(|(arm, chain)| {
                let [_, rest] = divided(chain);
                Rc::new(record(Some(arm.service), &rest, Vec::new()))
            });
            let [until_known, rest] = divided(&chains[split.arms.len()]);
            RouteRecord { rest, ..record(None, &until_known, arms.collect()) }
        }
        Action::Split(split) => {
            let arms = split.arms.iter().zip(chains);
            let arms = arms.map(|(arm, chain)| Rc::new(record(Some(arm.service), chain, Vec::new())));
            record(None, &None, arms.collect())
        }
        Action::Redirect(_) | Action::Respond(_) => record(None, &chains[0], Vec::new()),
    })
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
    use crate::http::head::RequestHead;
    use crate::proxy::limits::Limits;
    use crate::route::{Action, HostRule, PathRule, Rule, Table};
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
        let chains = vec![[None].into(); routes];
        let routes: Vec<_> = (0..routes)
            .map(|index| {
                let path = PathRule::Exact(format!("/{index}").into_bytes().into());
                Arc::new(Route {
                    id: index as u32,
                    name: format!("route-{index}"),
                    action: Action::Service(0),
                    rewrite: None,
                    rules: vec![Rule { host: HostRule::Any, path, predicates: Arc::default(), rank: index as u32 }],
                    priority: 0,
                    preserve_host: true,
                    websocket: false,
                    body_bytes_max: None,
                })
            })
            .collect();
        let limits = Limits { retry_after_s, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        let (services, table) = (vec![Arc::new(service)], Table::compile(&routes));
        Arc::new(Plan { services, table, routes, chains, limits: Vec::new(), shared: Vec::new(), settings })
    }

    fn find(active: &mut Active, path: &str) -> Option<Rc<RouteRecord>> {
        let mut head = RequestHead::new();
        head.path = path.into();
        let asked = Asked { head: &head, bytes: b"", peer_is_trusted: false };
        let routed = active.find(&asked, [127, 0, 0, 1].into(), || 0);
        routed.map(|routed| routed.record)
    }

    #[test]
    fn an_exchange_keeps_its_record_and_lets_the_plan_go() {
        let old = plan(1000, 1);
        let mut active = Active::new(old.clone());
        let pinned = find(&mut active, "/7").expect("there is a route");
        assert!(Rc::ptr_eq(&pinned, &find(&mut active, "/7").expect("there is a route")));
        (0..1000).for_each(|index| assert!(find(&mut active, &format!("/{index}")).is_some()));
        let mut tally = |path| Rc::downgrade(&find(&mut active, path).expect("there is a route").tally);
        let [gone, kept] = ["/8", "/7"].map(&mut tally);
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
        assert!(find(&mut active, "/7").is_none());
    }

    #[test]
    fn swaps_in_a_row_forget_nothing() {
        let (first, second) = (plan(600, 1), plan(600, 2));
        let mut active = Active::new(first.clone());
        assert!(find(&mut active, "/599").is_some());
        active.swap(second.clone());
        assert!(find(&mut active, "/599").is_some());
        active.swap(plan(1, 3));
        while active.clean_up() {}
        for plan in [first, second] {
            assert_eq!(Arc::strong_count(&plan.routes[599]), 1);
        }
    }
}

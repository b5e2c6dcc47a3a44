//! What a shard tells the control thread: its counters, and what has changed of its routes. The boxes go round, so that
//! neither side allocates; without a free one the shard goes on counting and tells later.

use super::counters::Counters;
use super::route_stats::{Block, RouteStats};
use crate::stdx::histogram::Histogram;
use crate::stdx::time::Mono;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::time::Duration;

/// One message.
#[derive(Debug, Default)]
pub struct Report {
    pub shard: usize,
    /// As of now, not since the last report.
    pub counters: Counters,
    pub gauges: Gauges,
    /// How long its event loop was awake, and how long each turn took, since the last report.
    pub busy: Duration,
    pub lag: Histogram,
    /// How long each piece of a new configuration took to be put in force.
    pub changes: Histogram,
    /// Listeners that the shard cannot accept on, and why.
    pub listeners_refused: Vec<(String, String)>,
    /// Places where issuers of tokens publish keys, of which a token named one that they did not have.
    pub keys_wanted: Vec<u64>,
    /// Whom limits refused, and how often since the last report.
    pub refused: Vec<(Limited, u64)>,
    /// Keys of consumers that were used since the last report, and when last, in seconds since 1970.
    pub keys_used: Vec<(u32, u64)>,
    /// Differences, by the route's id.
    pub routes: Vec<(u32, Block)>,
}

/// Who was refused by a limit, as far as metrics tell them apart.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Limited {
    /// By its id; none where a request had no route.
    pub route: Option<u32>,
    pub consumer: Option<Box<str>>,
    /// The period of the limit.
    pub limit: &'static str,
}

/// What a shard holds now; receives that had to wait for a buffer are counted from the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gauges {
    pub connections_idle: u64,
    pub upstream_idle: u64,
    pub buffer_bytes: u64,
    pub receives_parked: u64,
    pub coroutines: u64,
}

/// The shard's end.
#[derive(Debug)]
pub struct Reporter {
    full: Sender<Box<Report>>,
    empty: Receiver<Box<Report>>,
    due: Mono,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Reports {
    full: Receiver<Box<Report>>,
    empty: Vec<Sender<Box<Report>>>,
}

/// A reporter for each shard, and where they all end.
pub fn reports(shards: usize) -> (Vec<Reporter>, Reports) {
    let (full, told) = bounded(shards * BOXES);
    let (mut reporters, mut empties) = (Vec::new(), Vec::new());
    for shard in 0..shards {
        let (give_back, empty) = bounded(BOXES);
        for _ in 0..BOXES {
            let report = Report { shard, routes: Vec::with_capacity(ROUTES_MAX), ..Report::default() };
            give_back.try_send(Box::new(report)).expect("there is room for all of them");
        }
        reporters.push(Reporter { full: full.clone(), empty, due: Mono::ZERO });
        empties.push(give_back);
    }
    (reporters, Reports { full: told, empty: empties })
}

impl Reporter {
    /// When there is something to tell, if `dirty` routes say that there is.
    pub fn due(&self, routes: &RouteStats) -> Option<Mono> {
        routes.is_dirty().then_some(self.due)
    }

    /// Tells if it is time. `fill` adds the rest, and is called only then.
    pub fn tell(&mut self, now: Mono, routes: &mut RouteStats, fill: impl FnOnce(&mut Report)) {
        if now < self.due {
            return;
        }
        self.due = now + INTERVAL;
        let Ok(mut report) = self.empty.try_recv() else { return };
        routes.take(ROUTES_MAX, &mut report.routes);
        if routes.is_dirty() {
            // The rest in the next turns.
            self.due = now;
        }
        fill(&mut report);
        // There is room for every box there is; nobody listens any more when the process ends.
        let _gone = self.full.try_send(report);
    }
}

impl Reports {
    pub fn next(&self) -> Option<Box<Report>> {
        self.full.try_recv().ok()
    }

    pub fn give_back(&self, mut report: Box<Report>) {
        report.routes.clear();
        let shard = report.shard;
        // The shard may have ended.
        let _gone = self.empty[shard].try_send(report);
    }
}

/// Blocks in one report: what is copied within one turn.
const ROUTES_MAX: usize = 64;
/// Reports of one shard on their way.
const BOXES: usize = 8;
/// How old what the control thread knows may be.
const INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::route_stats::{Sample, Tally};
    use std::rc::Rc;

    fn record(routes: &mut RouteStats, route: &Rc<Tally>) {
        let request = Duration::from_micros(1);
        let (ingress_bytes, egress_bytes, upstream) = (1, 1, None);
        let sample = Sample { status: 200, by_service: true, request, upstream, ingress_bytes, egress_bytes };
        routes.record(Some(route), &sample);
    }

    #[test]
    fn many_routes_are_told_of_a_few_at_a_time_and_none_is_lost() {
        let (mut reporters, reports) = reports(1);
        let (mut routes, mut now, mut told) = (RouteStats::default(), Mono::from_nanos(1 << 40), 0);
        let all = 10 * (ROUTES_MAX * BOXES) as u32;
        (0..all).for_each(|route| record(&mut routes, &Tally::new(route)));
        while routes.is_dirty() {
            now = reporters[0].due(&routes).expect("there is more").max(now);
            reporters[0].tell(now, &mut routes, |report| report.counters.requests_total = 7);
            now = now + Duration::from_micros(1);
            while let Some(report) = reports.next() {
                assert!(report.routes.len() <= ROUTES_MAX && report.counters.requests_total == 7);
                told += report.routes.len();
                reports.give_back(report);
            }
        }
        assert_eq!((told, reporters[0].due(&routes)), (all as usize, None));
    }

    #[test]
    fn a_control_thread_that_does_not_listen_costs_nothing_but_news() {
        let (mut reporters, reports) = reports(2);
        let (mut routes, route) = (RouteStats::default(), Tally::new(0));
        for round in 0..100 {
            record(&mut routes, &route);
            let now = Mono::ZERO + INTERVAL * (round + 1);
            reporters[1].tell(now, &mut routes, |report| report.busy = Duration::from_secs(1));
        }
        assert!(routes.is_dirty());
        let mut counted = 0;
        while let Some(report) = reports.next() {
            assert_eq!((report.shard, report.busy), (1, Duration::from_secs(1)));
            counted += report.routes[0].1.fine.count();
            reports.give_back(report);
        }
        reporters[1].tell(Mono::NEVER, &mut routes, |_| ());
        counted += reports.next().map_or(0, |report| report.routes[0].1.fine.count());
        assert_eq!(counted, 100);
    }
}

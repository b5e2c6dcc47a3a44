//! What a shard counts of each route: plain fields, sent to the control thread as differences, a few blocks at a time.

use crate::stdx::histogram::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// One exchange that is over.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// As it was sent; 0 if nothing was.
    pub status: u16,
    /// The service answered, not the gateway.
    pub by_service: bool,
    /// From the request's first byte to the answer's last.
    pub request: Duration,
    /// The part of it that the service took until it answered.
    pub upstream: Option<Duration>,
    pub ingress_bytes: u64,
    pub egress_bytes: u64,
}

/// What was counted of one route, by one shard since its last report, or by all since the start.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// Sorted by nothing.
    codes: [Code; CODES_MAX],
    /// Answers whose statuses find no place in them: the gateway's, and the service's.
    others: [u64; 2],
    pub gateway: Millis<GATEWAY_CELLS>,
    pub upstream: Millis<SERVICE_CELLS>,
    pub request: Millis<SERVICE_CELLS>,
    pub fine: Histogram,
    pub ingress_bytes: u64,
    pub egress_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Code {
    /// 0 where nothing was sent.
    pub status: u16,
    pub by_service: bool,
    pub count: u64,
}

/// Times in the cells that Kong has; the last is for all that are longer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Millis<const CELLS: usize> {
    pub cells: [u64; CELLS],
    pub sum_us: u64,
}

/// One shard's count of one route, as differences since it was told. Whoever counts holds it, and so does who tells,
/// until that is done: it goes with the last of both. So a route that no configuration has any more leaves nothing
/// behind, and its exchanges that still run are counted to their end.
#[derive(Debug)]
pub struct Tally {
    /// The route's stable id, which never comes back: what is told late is never taken for another route's.
    route: u32,
    block: RefCell<Block>,
    is_dirty: Cell<bool>,
}

/// What one shard has to tell of its routes.
#[derive(Debug)]
pub struct RouteStats {
    no_route: Rc<Tally>,
    /// First come first served: a route that is always asked for again must not keep others from being told of.
    dirty: VecDeque<Rc<Tally>>,
}

impl Tally {
    pub fn new(route: u32) -> Rc<Self> {
        Rc::new(Self { route, block: RefCell::default(), is_dirty: Cell::new(false) })
    }
}

impl RouteStats {
    /// `None` when no route was found.
    pub fn record(&mut self, tally: Option<&Rc<Tally>>, sample: &Sample) {
        let tally = tally.unwrap_or(&self.no_route);
        tally.block.borrow_mut().record(sample);
        if !tally.is_dirty.replace(true) {
            self.dirty.push_back(tally.clone());
        }
    }

    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Moves the counts of up to `most` routes to `into`.
    pub fn take(&mut self, most: usize, into: &mut Vec<(u32, Block)>) {
        for _ in 0..most {
            let Some(tally) = self.dirty.pop_front() else { break };
            tally.is_dirty.set(false);
            into.push((tally.route, tally.block.take()));
        }
    }
}

impl Default for RouteStats {
    fn default() -> Self {
        Self { no_route: Tally::new(NO_ROUTE), dirty: VecDeque::new() }
    }
}

impl Block {
    fn record(&mut self, sample: &Sample) {
        self.answered(Code { status: sample.status, by_service: sample.by_service, count: 1 });
        self.request.record(sample.request, &SERVICE_BOUNDS_MS);
        self.fine.record(sample.request);
        if let Some(upstream) = sample.upstream {
            self.upstream.record(upstream, &SERVICE_BOUNDS_MS);
        }
        self.gateway.record(sample.request.saturating_sub(sample.upstream.unwrap_or_default()), &GATEWAY_BOUNDS_MS);
        self.ingress_bytes += sample.ingress_bytes;
        self.egress_bytes += sample.egress_bytes;
    }

    pub fn merge(&mut self, other: &Self) {
        other.codes().for_each(|code| self.answered(*code));
        self.others.iter_mut().zip(other.others).for_each(|(own, more)| *own += more);
        self.gateway.merge(&other.gateway);
        self.upstream.merge(&other.upstream);
        self.request.merge(&other.request);
        self.fine.merge(&other.fine);
        self.ingress_bytes += other.ingress_bytes;
        self.egress_bytes += other.egress_bytes;
    }

    fn answered(&mut self, Code { status, by_service, count }: Code) {
        let is_it = |own: &&mut Code| own.count == 0 || own.status == status && own.by_service == by_service;
        match self.codes.iter_mut().find(is_it) {
            Some(own) => *own = Code { status, by_service, count: own.count + count },
            None => self.others[usize::from(by_service)] += count,
        }
    }

    /// Every status that was sent, and by whom; some may be among the `others`.
    pub fn codes(&self) -> impl Iterator<Item = &Code> {
        self.codes.iter().filter(|code| code.count > 0)
    }

    /// Whether by the service, and how many with statuses beyond those that are told apart.
    pub fn others(&self) -> impl Iterator<Item = (bool, u64)> {
        [false, true].into_iter().zip(self.others).filter(|(_, count)| *count > 0)
    }
}

impl<const CELLS: usize> Millis<CELLS> {
    fn record(&mut self, time: Duration, bounds_ms: &[u64]) {
        let micros = time.as_micros() as u64;
        // Most requests are quick, so the search is over at its first step.
        let cell = bounds_ms.iter().position(|bound_ms| micros <= bound_ms * 1_000).unwrap_or(bounds_ms.len());
        self.cells[cell] += 1;
        self.sum_us += micros;
    }

    fn merge(&mut self, other: &Self) {
        for (to, from) in self.cells.iter_mut().zip(&other.cells) {
            *to += from;
        }
        self.sum_us += other.sum_us;
    }
}

impl<const CELLS: usize> Default for Millis<CELLS> {
    fn default() -> Self {
        Self { cells: [0; CELLS], sum_us: 0 }
    }
}

/// The block of requests that no route was found for.
pub const NO_ROUTE: u32 = u32::MAX;
/// Kong 3.10's bounds of its own latency, and of a service's and a request's, in milliseconds.
pub const GATEWAY_BOUNDS_MS: [u64; 17] = [1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000];
pub const SERVICE_BOUNDS_MS: [u64; 13] = [25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000];
const GATEWAY_CELLS: usize = GATEWAY_BOUNDS_MS.len() + 1;
const SERVICE_CELLS: usize = SERVICE_BOUNDS_MS.len() + 1;
/// Statuses told apart of one route.
const CODES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(status: u16, request_ms: u64) -> Sample {
        Sample {
            status,
            by_service: status != 404,
            request: Duration::from_millis(request_ms),
            upstream: Some(Duration::from_millis(request_ms / 2)),
            ingress_bytes: 10,
            egress_bytes: 100,
        }
    }

    #[test]
    fn what_was_reported_adds_up_to_what_was_recorded() {
        let (mut stats, mut sum, mut whole) = (RouteStats::default(), Block::default(), Block::default());
        let route = Tally::new(3);
        for round in 0..10 {
            for status in [200, 200, 503, 404] {
                let sample = sample(status, 7 * round + u64::from(status));
                stats.record(Some(&route), &sample);
                whole.record(&sample);
            }
            let mut reported = Vec::new();
            stats.take(5, &mut reported);
            assert_eq!((reported.len(), reported[0].0, stats.is_dirty()), (1, 3, false));
            sum.merge(&reported[0].1);
        }
        assert_eq!(sum, whole);
        assert_eq!(
            sum.codes().map(|code| (code.status, code.count)).collect::<Vec<_>>(),
            [(200, 20), (503, 10), (404, 10)]
        );
        assert_eq!((sum.ingress_bytes, sum.egress_bytes, sum.fine.count()), (400, 4000, 40));
        assert_eq!(sum.request.cells.iter().sum::<u64>(), 40);
    }

    #[test]
    fn a_time_lies_in_the_first_cell_whose_bound_it_does_not_exceed() {
        let mut block = Block::default();
        for request_ms in [0, 25, 26, 60_000, 60_001, 600_000] {
            block.record(&sample(200, request_ms));
        }
        assert_eq!((block.request.cells[0], block.request.cells[1]), (2, 1));
        assert_eq!((block.request.cells[12], block.request.cells[13]), (1, 2));
        assert_eq!(block.request.sum_us, 720_052_000);
    }

    #[test]
    fn a_route_is_reported_however_busy_others_are() {
        let mut stats = RouteStats::default();
        let routes: Vec<_> = (0..10).map(Tally::new).collect();
        routes.iter().for_each(|route| stats.record(Some(route), &sample(200, 1)));
        let mut reported = Vec::new();
        for _ in 0..5 {
            let before = reported.len();
            stats.take(2, &mut reported);
            // Those that were told of are asked for at once.
            reported[before..].iter().for_each(|(id, _)| stats.record(Some(&routes[*id as usize]), &sample(200, 1)));
        }
        reported.sort_by_key(|(route, _)| *route);
        assert!(reported.iter().map(|(route, _)| *route).eq(0..10), "each once before one is twice");
    }

    #[test]
    fn a_route_that_has_gone_is_told_of_and_leaves_nothing() {
        let (mut stats, mut reported) = (RouteStats::default(), Vec::new());
        let gone = Tally::new(1);
        let left = Rc::downgrade(&gone);
        stats.record(Some(&gone), &sample(200, 1));
        drop(gone);
        assert_eq!(left.strong_count(), 1, "it is not told of yet");
        stats.take(1, &mut reported);
        assert_eq!((reported.len(), reported[0].0, reported[0].1.fine.count()), (1, 1, 1));
        assert_eq!((left.strong_count(), stats.is_dirty()), (0, false));
    }

    #[test]
    fn statuses_beyond_the_table_are_counted_together() {
        let mut block = Block::default();
        (200..300).for_each(|status| block.record(&sample(status, 1)));
        let codes: Vec<(u16, u64)> = block.codes().map(|code| (code.status, code.count)).collect();
        let first: Vec<(u16, u64)> = (200..).take(CODES_MAX).map(|status| (status, 1)).collect();
        assert_eq!(codes, first);
        assert_eq!(block.others().collect::<Vec<_>>(), [(true, 100 - CODES_MAX as u64)]);
    }

    #[test]
    fn an_exchange_without_an_answer_is_not_one_of_a_status_beyond_the_table() {
        let (mut block, mut sum) = (Block::default(), Block::default());
        let unanswered = Sample { by_service: false, ..sample(0, 1) };
        block.record(&unanswered);
        (400..418).for_each(|status| block.record(&Sample { by_service: false, ..sample(status, 1) }));
        block.record(&unanswered);
        for block in [block, Block::default()] {
            sum.merge(&block);
            let unanswered: Vec<_> = sum.codes().filter(|code| code.status == 0).collect();
            assert_eq!(unanswered, [&Code { status: 0, by_service: false, count: 2 }]);
            assert_eq!(sum.others().collect::<Vec<_>>(), [(false, 18 + 1 - CODES_MAX as u64)]);
        }
    }

    #[test]
    fn reports_are_bounded_and_those_without_a_route_have_their_own() {
        let mut stats = RouteStats::default();
        (0..10).for_each(|route| stats.record(Some(&Tally::new(route)), &sample(200, 1)));
        stats.record(None, &sample(404, 1));
        let mut reported = Vec::new();
        while stats.is_dirty() {
            let before = reported.len();
            stats.take(4, &mut reported);
            assert!(reported.len() - before <= 4);
        }
        let mut routes: Vec<_> = reported.iter().map(|(route, _)| *route).collect();
        routes.sort_unstable();
        assert_eq!(routes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, NO_ROUTE]);
    }
}

//! What the gateway's script does at Redis, in Rust: `tests/e2e` holds it to the script itself, in a real server.

use std::collections::BTreeMap;

/// What the script keeps, and its arithmetic.
#[derive(Clone, Debug, Default)]
pub struct Store {
    run: String,
    clock: f64,
    last: Option<u64>,
    epoch: f64,
    since: u64,
    seed: Option<String>,
    /// Share, and when it was heard last.
    nodes: BTreeMap<String, (u64, u64)>,
    /// Debt in tokens, and when by the clock.
    buckets: BTreeMap<String, (f64, f64)>,
}

/// One call of the script.
#[derive(Clone, Debug)]
pub struct Call {
    pub keys: Vec<String>,
    pub arguments: Vec<String>,
}

/// The integers of its reply, and the seed between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    pub now: u64,
    /// Share, nodes, seed, grants; none if the call came too late.
    pub rest: Option<(u64, u64, String, Vec<u64>)>,
}

impl Store {
    pub fn call(&mut self, call: &Call, now: u64) -> Reply {
        let [node, run, deadline, holds, grows, seed, of_keys @ ..] = &call.arguments[..] else {
            panic!("six arguments and three a key: {call:?}");
        };
        let number = |text: &String| text.parse::<u64>().expect("a number");
        if now > number(deadline) {
            return Reply { now, rest: None };
        }
        let is_new = self.run != *run;
        let last = self.last.replace(now).unwrap_or(now);
        if is_new || now.saturating_sub(last) > SILENT {
            self.since = now;
        }
        self.advance(now, last);
        if is_new {
            self.clock += 1.0;
            (self.run, self.epoch) = (run.clone(), self.clock);
        }
        let (share, count) = self.share(node, number(holds), grows == "1", now);
        self.nodes.insert(node.clone(), (share.max(number(holds)), now));
        let seed = self.seed.get_or_insert_with(|| seed.clone()).clone();
        let grants = call.keys[1..].iter().zip(of_keys.chunks_exact(3)).map(|(key, of_key)| {
            let token: f64 = of_key[1].parse().expect("microseconds");
            self.grant(key, number(&of_key[0]), token, number(&of_key[2]))
        });
        Reply { now, rest: Some((share, count, seed, grants.collect())) }
    }

    fn advance(&mut self, now: u64, last: u64) {
        let is_silent = |seen: u64| now.saturating_sub(seen) > SILENT;
        let of = |silent: bool| {
            let nodes = self.nodes.values().filter(move |(_, seen)| is_silent(*seen) == silent);
            nodes.map(|(share, _)| *share).sum::<u64>()
        };
        let pace = if self.is_young(now) { of(false).min(SHARES) } else { SHARES.saturating_sub(of(true)) };
        if now > last {
            self.clock += ((now - last) as f64 * pace as f64 / SHARES as f64).floor();
        }
    }

    /// Some may earn by themselves that are not known yet, or not heard again.
    fn is_young(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < YOUNG
    }

    fn share(&mut self, node: &str, holds: u64, grows: bool, now: u64) -> (u64, u64) {
        let is_young = self.is_young(now);
        self.nodes.retain(|id, (_, seen)| id == node || is_young || now.saturating_sub(*seen) <= FORGOTTEN);
        let others = self.nodes.iter().filter(|(id, _)| *id != node);
        let (sum, count) = others.fold((0, 1), |(sum, count), (_, (share, _))| (sum + share, count + 1));
        let target = SHARES / count;
        let share = match holds > target {
            true => target,
            false if grows => holds.max(target.min(SHARES.saturating_sub(sum))),
            false => holds,
        };
        (share, count)
    }

    fn grant(&mut self, key: &str, want: u64, token: f64, size: u64) -> u64 {
        let known = self.buckets.get(key).copied().filter(|(_, at)| *at >= self.epoch);
        let (debt, at) = known.unwrap_or((size as f64, self.epoch));
        let debt = (debt - (self.clock - at) / token).max(0.0);
        let grant = want.min((size as f64 - debt).floor().max(0.0) as u64);
        if grant > 0 {
            self.buckets.insert(key.to_owned(), (debt + grant as f64, self.clock));
        }
        grant
    }
}

const SHARES: u64 = 1 << 16;
const SILENT: u64 = 500_000;
const FORGOTTEN: u64 = 60_000_000;
const YOUNG: u64 = 10_000_000;

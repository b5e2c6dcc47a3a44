//! How exact limits are: simulated shards that share a ledger, on virtual time, against one bucket that knows all.
//!
//! Every request that was admitted is replayed through an ideal bucket of the same terms, in whole numbers: if it never
//! runs dry, no window of any width had more than `rate x width + burst`. And an ideal bucket that sees all arrivals
//! says how many could have been admitted. `SHARDGATE_SEEDS=N` runs N seeds instead of one.

use std::collections::BTreeMap;
use std::time::Duration;

use shardgate::policy::rate_limit::LEASE_KEYS;
use shardgate::stdx::board::Board;
use shardgate::stdx::ledger::{Algorithm, Charge, Leases, Ledger, RECONCILE_EVERY, Tag, Terms};
use shardgate::stdx::rng::Rng;
use shardgate::stdx::time::Mono;

const SHARDS: usize = 8;
const SECOND: u64 = 1_000_000_000;
const LIMIT: u16 = 1;

/// A bucket in whole numbers: a token is `SECOND` parts, and a nanosecond brings as many parts as the rate.
struct Ideal {
    rate: i128,
    burst: i128,
    /// Parts that are missing to a full bucket.
    debt: i128,
    at: u64,
}

impl Ideal {
    fn new(rate: u32, burst: u32) -> Self {
        Self { rate: rate.into(), burst: i128::from(burst) * i128::from(SECOND), debt: 0, at: 0 }
    }

    fn advance(&mut self, at: u64) {
        self.debt = (self.debt - self.rate * i128::from(at - self.at)).max(0);
        self.at = at;
    }

    fn admit(&mut self, at: u64, cost: u32) -> bool {
        self.advance(at);
        let debt = self.debt + i128::from(cost) * i128::from(SECOND);
        if debt <= self.burst {
            self.debt = debt;
        }
        debt <= self.burst
    }

    fn change(&mut self, at: u64, rate: u32, burst: u32) {
        self.advance(at);
        (self.rate, self.burst) = (rate.into(), i128::from(burst) * i128::from(SECOND));
    }
}

/// On which shard a request arrives.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Even,
    /// The first has 37 %, the eighth 5 %.
    Zipf,
    One,
    /// One has 93 %, the others one each.
    Mostly,
    /// All on one, another every 170 ms.
    Wandering,
}

/// When requests arrive.
#[derive(Clone, Copy, Debug)]
enum Arrivals {
    /// At random, so many per mille of the rate on average.
    Steady(u64),
    /// So many bursts' worth within a twentieth of a second, and a pause in which the bucket fills, all again.
    Bursts(u64),
}

/// What befalls the node in mid-run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    Nothing,
    /// The limit's rate and burst are halved, then doubled twice, then as before, and so on.
    Swaps,
    /// Shards give everything back and are gone, one after the other, down to one.
    Drains,
    /// Shards are gone with all that they held, which is written off.
    Losses,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    rate: u32,
    burst: u32,
    keys: u64,
    spread: Spread,
    arrivals: Arrivals,
    event: Event,
    /// Shards judge by the time that their turn began, so many nanoseconds long.
    turn: u64,
}

const CASE: Case = Case {
    seed: 1,
    rate: 100,
    burst: 100,
    keys: 1,
    spread: Spread::Even,
    arrivals: Arrivals::Steady(1500),
    event: Event::Nothing,
    turn: 1,
};

struct Node {
    ledger: Ledger,
    shards: Vec<Option<Leases>>,
    /// Lost, and not written off yet.
    is_recalling: bool,
}

impl Node {
    fn new(seed: u64, terms: Terms) -> Self {
        let ledger = Ledger::new(SHARDS, seed, 1 << 12, 2);
        assert!(ledger.set(LIMIT, terms, Mono::ZERO));
        let shards = (0..SHARDS).map(|shard| Some(Leases::new(shard, 1 << 10))).collect();
        Self { ledger, shards, is_recalling: false }
    }

    /// Reconciles whoever is due.
    fn turn(&mut self, now: Mono) {
        for leases in self.shards.iter_mut().flatten() {
            if leases.due().is_some_and(|due| due <= now) || self.is_recalling {
                leases.reconcile(&self.ledger, now);
            }
        }
        if self.is_recalling && self.ledger.is_recalled(|shard| self.shards[shard].is_none()) {
            self.ledger.write_off(now);
            self.is_recalling = false;
        }
    }

    /// The shard itself, or the next that is there.
    fn living(&mut self, shard: usize) -> (&Ledger, &mut Leases) {
        let there = (0..SHARDS).map(|step| (shard + step) % SHARDS).find(|shard| self.shards[*shard].is_some());
        let leases = self.shards[there.expect("one shard stays")].as_mut().expect("it is there");
        (&self.ledger, leases)
    }

    /// Ends a shard, the last one excepted.
    fn end(&mut self, shard: usize, is_lost: bool, now: Mono) {
        if self.shards.iter().flatten().count() == 1 {
            return;
        }
        if let Some(mut leases) = self.shards[shard].take() {
            if is_lost {
                self.ledger.recall();
                self.is_recalling = true;
            } else {
                leases.settle(&self.ledger, now);
            }
        }
    }
}

fn terms(rate: u32, burst: u32) -> Terms {
    Terms { algorithm: Algorithm::TokenBucket, count: rate, period: Duration::from_secs(1), burst }
}

fn at(nanos: u64) -> Mono {
    Mono::from_nanos(nanos)
}

fn shard_of(spread: Spread, now: u64, rng: &mut Rng) -> usize {
    match spread {
        Spread::Even => rng.below(SHARDS as u64) as usize,
        Spread::Zipf => zipf(SHARDS as u64, rng) as usize,
        Spread::One => 3,
        Spread::Mostly => (rng.below(100) as usize).min(SHARDS - 1),
        Spread::Wandering => (now / (SECOND * 17 / 100)) as usize % SHARDS,
    }
}

/// A number below `count`, the first the likeliest.
fn zipf(count: u64, rng: &mut Rng) -> u64 {
    let total: u64 = (1..=count).map(|rank| SECOND / rank).sum();
    let mut dice = rng.below(total);
    (0..count)
        .find(|index| {
            let share = SECOND / (index + 1);
            let is_it = dice < share;
            dice = dice.saturating_sub(share);
            is_it
        })
        .unwrap_or(0)
}

/// Every arrival: when, and of which key.
fn arrivals(case: &Case, rng: &mut Rng) -> Vec<(u64, u64)> {
    let total = (u64::from(case.burst) * 6 + 4_000).min(600_000);
    let (mut now, mut arrivals) = (SECOND, Vec::new());
    for index in 0..total {
        let gap = match case.arrivals {
            Arrivals::Steady(per_mille) => SECOND * 1000 / (u64::from(case.rate) * per_mille).max(1),
            Arrivals::Bursts(bursts) => {
                let many = u64::from(case.burst) * bursts;
                let pause = SECOND * u64::from(case.burst) / u64::from(case.rate);
                if index % many == 0 { pause } else { SECOND / 20 / many }
            }
        };
        // Between nothing and twice the mean, which is as irregular as needed.
        now += rng.below(2 * gap + 1);
        arrivals.push((now, zipf(case.keys, rng)));
    }
    arrivals
}

/// The terms in force from each time on.
fn schedule(case: &Case, until: u64) -> Vec<(u64, u32, u32)> {
    let mut schedule = vec![(0, case.rate, case.burst)];
    if case.event == Event::Swaps {
        let (half, twice) = (|n: u32| n.div_ceil(2), |n: u32| n * 2);
        let steps =
            [(half(case.rate), half(case.burst)), (case.rate, case.burst), (twice(case.rate), twice(case.burst))];
        let others = [(case.rate, case.burst), (half(case.rate), case.burst), (twice(case.rate), case.burst)];
        let all = steps.into_iter().chain(others);
        schedule
            .extend((1..).zip(all).map(|(step, (rate, burst))| (SECOND + (until - SECOND) * step / 7, rate, burst)));
    }
    schedule
}

/// Runs a case; holds every window, and returns how many were admitted and how many an ideal bucket would have.
fn run(case: &Case) -> (u64, u64) {
    let mut rng = Rng::new(case.seed);
    let arrivals = arrivals(case, &mut rng);
    let end = arrivals.last().expect("there are arrivals").0;
    let schedule = schedule(case, end);
    let mut node = Node::new(case.seed, terms(case.rate, case.burst));
    let mut ideals: BTreeMap<u64, Ideal> = BTreeMap::new();
    let mut admitted: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let (mut swaps, mut ends, mut could) = (1, 1, 0);
    for &(now, key) in &arrivals {
        while let Some(&(when, rate, burst)) = schedule.get(swaps).filter(|(when, ..)| *when <= now) {
            node.turn(at(when));
            node.ledger.set(LIMIT, terms(rate, burst), at(when));
            for ideal in ideals.values_mut() {
                ideal.change(when, rate, burst);
            }
            swaps += 1;
        }
        if matches!(case.event, Event::Drains | Event::Losses) && (now - SECOND) * 9 / (end - SECOND) >= ends {
            node.end(rng.below(SHARDS as u64) as usize, case.event == Event::Losses, at(now));
            ends += 1;
        }
        let shard = shard_of(case.spread, now, &mut rng);
        // Turns of the shards do not begin together.
        let turn = now - (now + shard as u64 * 7_919) % case.turn;
        node.turn(at(now));
        let tag = node.ledger.tag(LIMIT, key);
        let (ledger, leases) = node.living(shard);
        if leases.admit(ledger, &[Charge { tag, cost: 1 }], at(turn)).is_ok() {
            admitted.entry(key).or_default().push(turn);
        }
        let (_, rate, burst) = schedule[swaps - 1];
        let ideal = ideals.entry(key).or_insert_with(|| Ideal::new(rate, burst));
        could += u64::from(ideal.admit(now, 1));
    }
    for times in admitted.values_mut() {
        times.sort_unstable();
        hold_every_window(times, &schedule, case);
    }
    (admitted.values().map(|times| times.len() as u64).sum(), could)
}

/// Holds that no window has more than `burst` and what the rate gave meanwhile.
#[track_caller]
fn hold_every_window(admitted: &[u64], schedule: &[(u64, u32, u32)], case: &Case) {
    let burst = schedule.iter().map(|(_, _, burst)| *burst).max().expect("there are terms");
    let mut bucket = Ideal::new(schedule[0].1, burst);
    // A clock that was bent is rounded to its unit, a nanosecond's worth at the first rate.
    bucket.burst += bucket.rate * 2 * (schedule.len() as i128 - 1);
    let mut changes = schedule[1..].iter().peekable();
    for (index, &now) in admitted.iter().enumerate() {
        while let Some((when, rate, _)) = changes.next_if(|(when, ..)| *when <= now) {
            bucket.advance(*when);
            bucket.rate = i128::from(*rate);
        }
        assert!(bucket.admit(now, 1), "{case:?}: request {index} at {now} ns is one too many");
    }
}

/// Holds every window, and 98 % of what an ideal bucket admits.
#[track_caller]
fn check(case: Case) -> f64 {
    let (mut admitted, mut could) = (0, 0);
    for seed in 0..seeds() {
        let (of_seed, could_of_seed) = run(&Case { seed: case.seed + seed, ..case });
        admitted += of_seed;
        could += could_of_seed;
    }
    assert!(admitted * 100 >= could * 98, "{case:?}: {admitted} of {could}");
    admitted as f64 / could as f64
}

#[expect(clippy::disallowed_methods, reason = "how long to look for a bug is not the gateway's configuration")]
fn seeds() -> u64 {
    std::env::var("SHARDGATE_SEEDS").map_or(1, |text| text.parse().expect("a number of seeds"))
}

const SPREADS: [Spread; 5] = [Spread::Even, Spread::Zipf, Spread::One, Spread::Mostly, Spread::Wandering];
const RATES: [u32; 6] = [1, 10, 100, 1_000, 10_000, 100_000];

fn print(what: &str, ratios: &[f64]) {
    let least = ratios.iter().copied().fold(f64::MAX, f64::min);
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!(
        "{what}: {} cases, of an ideal bucket {:.2} % at least, {:.2} % on average",
        ratios.len(),
        least * 100.0,
        mean * 100.0
    );
}

#[test]
fn no_window_is_exceeded_and_nearly_all_is_used_under_steady_load() {
    let mut ratios = Vec::new();
    for (spread, rate) in SPREADS.into_iter().flat_map(|spread| RATES.map(|rate| (spread, rate))) {
        for load in [700, 1_000, 1_500, 5_000] {
            ratios.push(check(Case { rate, burst: rate, spread, arrivals: Arrivals::Steady(load), ..CASE }));
        }
        ratios.push(check(Case { rate, burst: rate.div_ceil(20), spread, ..CASE }));
    }
    print("steady", &ratios);
}

#[test]
fn no_window_is_exceeded_and_nearly_all_is_used_in_bursts() {
    let mut ratios = Vec::new();
    for (spread, rate) in SPREADS.into_iter().flat_map(|spread| RATES.map(|rate| (spread, rate))) {
        for bursts in [1, 2] {
            ratios.push(check(Case { rate, burst: rate, spread, arrivals: Arrivals::Bursts(bursts), ..CASE }));
        }
    }
    print("bursts", &ratios);
}

#[test]
fn many_keys_are_as_exact_as_one() {
    let mut ratios = Vec::new();
    for (spread, rate) in SPREADS.into_iter().flat_map(|spread| [10, 1_000].map(|rate| (spread, rate))) {
        ratios.push(check(Case { rate, burst: rate, keys: 100, spread, arrivals: Arrivals::Steady(30_000), ..CASE }));
    }
    print("many keys", &ratios);
}

#[test]
fn swaps_drains_and_losses_exceed_no_window_and_waste_nothing() {
    for event in [Event::Swaps, Event::Drains, Event::Losses] {
        let mut ratios = Vec::new();
        for (spread, rate) in SPREADS.into_iter().flat_map(|spread| RATES.map(|rate| (spread, rate))) {
            for load in [1_000, 2_000] {
                ratios.push(check(Case { rate, burst: rate, spread, event, arrivals: Arrivals::Steady(load), ..CASE }));
            }
            ratios.push(check(Case { rate, burst: rate, spread, event, arrivals: Arrivals::Bursts(1), ..CASE }));
        }
        print(&format!("{event:?}"), &ratios);
    }
}

#[test]
fn shards_whose_turns_begin_apart_exceed_no_window() {
    let mut ratios = Vec::new();
    for (spread, rate) in SPREADS.into_iter().flat_map(|spread| RATES.map(|rate| (spread, rate))) {
        ratios.push(check(Case { rate, burst: rate, spread, turn: 500_000, ..CASE }));
    }
    print("turns apart", &ratios);
}

/// A burst within one turn is all of it, to the last token, wherever it arrives.
#[test]
fn of_a_burst_that_comes_at_once_nothing_is_lost() {
    for (burst, spread) in [1, 2, 10, 100, 1_000].into_iter().flat_map(|burst| SPREADS.map(|spread| (burst, spread))) {
        let mut node = Node::new(1, terms(burst, burst));
        let (mut rng, now) = (Rng::new(1), at(123_456_789));
        let charge = Charge { tag: node.ledger.tag(LIMIT, 0), cost: 1 };
        let mut admitted = 0;
        for _ in 0..3 * burst {
            let (ledger, leases) = node.living(shard_of(spread, 123_456_789, &mut rng));
            admitted += u32::from(leases.admit(ledger, &[charge], now).is_ok());
        }
        assert!(admitted <= burst && admitted * 100 >= burst * 98, "{admitted} of {burst}, {spread:?}");
    }
}

/// Costs of one to seven tokens, of two limits at once: either both are charged, or none.
#[test]
fn of_several_keys_all_are_charged_or_none() {
    for spread in SPREADS {
        let mut node = Node::new(1, terms(1_000, 1_000));
        assert!(node.ledger.set(2, terms(300, 100), Mono::ZERO));
        let (mut rng, mut now) = (Rng::new(1), SECOND);
        let (mut both, mut own) = (Ideal::new(1_000, 1_000), Ideal::new(300, 100));
        let (mut checks, mut admitted, mut could) = ([Ideal::new(1_000, 1_000), Ideal::new(300, 100)], 0, 0);
        for _ in 0..20_000 {
            now += rng.below(SECOND / 250);
            node.turn(at(now));
            let cost = rng.between(1, 7) as u32;
            let is_private = rng.chance(500);
            let charges = [
                Charge { tag: node.ledger.tag(LIMIT, 0), cost },
                Charge { tag: node.ledger.tag(2, u64::from(is_private)), cost },
            ];
            let (ledger, leases) = node.living(shard_of(spread, now, &mut rng));
            // The second limit's other key is always had.
            let charges = if is_private { &charges[..] } else { &charges[..1] };
            if leases.admit(ledger, charges, at(now)).is_ok() {
                admitted += cost;
                assert!(checks[0].admit(now, cost), "{spread:?}: one too many of the first");
                assert!(!is_private || checks[1].admit(now, cost), "{spread:?}: one too many of the second");
            }
            both.advance(now);
            own.advance(now);
            let parts = i128::from(cost) * i128::from(SECOND);
            if both.debt + parts <= both.burst && (!is_private || own.admit(now, cost)) {
                both.debt += parts;
                could += cost;
            }
        }
        assert!(u64::from(admitted) * 100 >= u64::from(could) * 98, "{spread:?}: {admitted} of {could}");
    }
}

/// What a sliding window of the same size admits that sees everything; in it, too, no window exceeds the bound.
#[test]
fn a_sliding_window_exceeds_no_window_and_uses_nearly_all() {
    let mut ratios = Vec::new();
    for (spread, count) in SPREADS.into_iter().flat_map(|spread| [1, 10, 100, 1_000, 100_000].map(|n| (spread, n))) {
        for load in [900, 1_500, 4_000] {
            let case = Case { rate: count, burst: count, spread, arrivals: Arrivals::Steady(load), ..CASE };
            let mut rng = Rng::new(case.seed);
            let arrivals = arrivals(&case, &mut rng);
            let terms = Terms { algorithm: Algorithm::SlidingWindow, ..terms(count, count) };
            let (mut node, mut one) = (Node::new(1, terms), Node::new(1, terms));
            let charge = Charge { tag: node.ledger.tag(LIMIT, 0), cost: 1 };
            let (mut admitted, mut could) = (Vec::new(), 0);
            for &(now, _) in &arrivals {
                node.turn(at(now));
                let (ledger, leases) = node.living(shard_of(spread, now, &mut rng));
                if leases.admit(ledger, &[charge], at(now)).is_ok() {
                    admitted.push(now);
                }
                // Settled after each request, one shard's ledger is exact.
                let (ledger, leases) = one.living(0);
                could += usize::from(leases.admit(ledger, &[charge], at(now)).is_ok());
                leases.settle(ledger, at(now));
            }
            // A 65,536th of the window is what its parts are rounded to.
            let slack = count.div_ceil(1 << 16);
            hold_every_window(&admitted, &[(0, count, count + slack)], &case);
            assert!(admitted.len() * 100 >= could * 98, "{case:?}: {} of {could}", admitted.len());
            ratios.push(admitted.len() as f64 / could as f64);
        }
    }
    print("sliding window", &ratios);
}

/// A table that is far too small refuses early, and never late.
#[test]
fn a_crowded_ledger_exceeds_no_window() {
    let ledger = Ledger::new(1, 1, 64, 1);
    assert!(ledger.set(LIMIT, terms(1, 5), Mono::ZERO));
    let (mut leases, mut rng, mut now) = (Leases::new(0, 16), Rng::new(3), SECOND);
    let mut ideals: Vec<Ideal> = (0..500).map(|_| Ideal::new(1, 5)).collect();
    let mut admitted = 0;
    for _ in 0..50_000 {
        now += rng.below(SECOND / 50);
        let key = rng.below(500);
        if leases.admit(&ledger, &[Charge { tag: ledger.tag(LIMIT, key), cost: 1 }], at(now)).is_ok() {
            assert!(ideals[key as usize].admit(now, 1), "key {key} at {now} ns");
            admitted += 1;
        }
    }
    // 30 %: all groups are crowded all the time, so that whoever gets a slot brings the debt of others along.
    assert!(admitted > 15_000 && ledger.overflows() > 1_000, "{admitted}, {}", ledger.overflows());
}

/// Whoever finds a slot begins with all of his burst, however much others owe who found none.
#[test]
fn a_dry_overflow_is_no_debt_of_those_who_were_never_counted_in_it() {
    let ledger = Ledger::new(1, 1, 1 << 10, 2);
    let of_day = Terms { period: Duration::from_secs(86_400), ..terms(10, 10) };
    assert!(ledger.set(LIMIT, of_day, Mono::ZERO) && ledger.set(2, terms(1_000, 1_000), Mono::ZERO));
    let mut leases = Leases::new(0, 16);
    let mut admit = |key: u64, now: u64| {
        let charges = [(LIMIT, key), (2, 0)].map(|(limit, key)| Charge { tag: ledger.tag(limit, key), cost: 1 });
        (leases.admit(&ledger, &charges[..1], at(now)).is_ok(), leases.admit(&ledger, &charges, at(now)).is_ok())
    };
    // Enough for one part of the groups to be full, and for what is counted beside them to be spent.
    (0..900).for_each(|key| {
        (0..5).for_each(|_| {
            admit(key, SECOND);
        });
    });
    let refused = (0..900).filter(|key| !admit(*key, SECOND).0).count();
    assert!(refused > 0 && ledger.overflows() > 200, "{refused}, {}", ledger.overflows());
    let fresh: Vec<_> = (10_000..11_000)
        .filter(|key| {
            let overflows = ledger.overflows();
            let (alone, both) = admit(*key, 2 * SECOND);
            let has_slot = ledger.overflows() == overflows;
            assert!(!has_slot || alone && both, "key {key} has a slot and owes what others do");
            has_slot
        })
        .collect();
    assert!(!fresh.is_empty());
}

/// They have one other place, and each of them would have to make room there for the other.
#[test]
fn new_keys_take_the_room_of_one_that_is_idle_however_often_it_was_asked_for() {
    for asked in [3, 1_000] {
        let ledger = Ledger::new(1, 1, 1 << 10, 2);
        assert!(ledger.set(LIMIT, terms(100_000, 100_000), Mono::ZERO));
        let mut leases = Leases::new(0, 2);
        let admit = |leases: &mut Leases, key: u64, now| {
            let charge = Charge { tag: ledger.tag(LIMIT, key), cost: 1 };
            assert!(leases.admit(&ledger, &[charge], at(now)).is_ok());
        };
        (0..asked).for_each(|_| admit(&mut leases, 0, SECOND));
        let next = SECOND + RECONCILE_EVERY.as_nanos() as u64;
        leases.reconcile(&ledger, at(next));
        assert_eq!(leases.due(), None);
        for (turn, key) in (0..10).flat_map(|turn| [(turn, 1), (turn, 2)]) {
            admit(&mut leases, key, next + turn * 1_000_000);
        }
        assert!(leases.due().is_some(), "the idle key was asked for {asked} times, and no other has a lease");
    }
}

/// On a shard to which a new key comes all the time.
#[test]
fn a_lease_is_of_a_key_that_is_asked_for_eighty_times_a_second() {
    for (every_ms, has_lease) in [(10, true), (12, true), (20, false), (1_000, false), (60_000, false)] {
        let ledger = Ledger::new(1, 1, 1 << 10, 2);
        assert!(ledger.set(LIMIT, terms(100_000, 100_000), Mono::ZERO));
        let mut leases = Leases::new(0, LEASE_KEYS);
        for (turn, key) in (1..=100).flat_map(|turn| [(turn, turn), (turn, 0)]) {
            let charge = Charge { tag: ledger.tag(LIMIT, key), cost: 1 };
            assert!(leases.admit(&ledger, &[charge], at(SECOND + turn * every_ms * 1_000_000)).is_ok());
        }
        assert_eq!(leases.due().is_some(), has_lease, "asked for every {every_ms} ms");
    }
}

/// Every request is charged to a consumer and to an address, all addresses within the time in which one is remembered:
/// what is looked at for a key is bounded by `GROUP_SLOTS`, whoever else there is, and memory is what it was before.
#[test]
fn ten_thousand_consumers_and_a_million_addresses_take_the_memory_of_none() {
    let board = Board::new(SHARDS, 1, 8);
    let of = |count, period_s| Terms { period: Duration::from_secs(period_s), ..terms(count, count) };
    // A token takes an address a minute, so that none of them has gone when the last one comes.
    board.limit(&[(1, of(6_000, 60)), (2, of(60, 3_600))], Mono::ZERO);
    let ledger = board.ledger().expect("there are limits");
    let mut shards: Vec<_> = (0..SHARDS).map(|shard| Leases::new(shard, LEASE_KEYS)).collect();
    let bytes = |shards: &[Leases]| (ledger.bytes(), shards.iter().map(Leases::bytes).collect::<Vec<_>>());
    let before = bytes(&shards);
    println!("{} bytes a node and {} a shard", before.0, before.1[0]);
    assert!(before.0 <= 36 << 20 && before.1.iter().all(|bytes| *bytes <= 160 << 10), "{before:?}");
    let (addresses, last) = (1_000_000, 100_000);
    let (mut admitted, mut admitted_last) = (0_u64, 0_u64);
    for address in 0..addresses {
        let charges = [ledger.tag(1, address % 10_000), ledger.tag(2, address)].map(|tag| Charge { tag, cost: 1 });
        let shard = &mut shards[address as usize % SHARDS];
        let is_admitted = u64::from(shard.admit(ledger, &charges, at(SECOND + address * 10_000)).is_ok());
        admitted += is_admitted;
        admitted_last += if address >= addresses - last { is_admitted } else { 0 };
    }
    assert_eq!(bytes(&shards), before);
    let crowded = ledger.overflows();
    assert!(crowded > 0 && admitted + crowded >= addresses, "{admitted}, {crowded}");
    // An ideal ledger admits every address once.
    assert!(admitted_last * 100 >= last * 98, "{admitted_last} of the last {last}, {crowded}");
    // Those who come again before a token is earned are known: they do not have all of them.
    let again = (addresses - 5_000..addresses).filter(|address| {
        let charge = Charge { tag: ledger.tag(2, *address), cost: 60 };
        shards[*address as usize % SHARDS].admit(ledger, &[charge], at(11 * SECOND)).is_ok()
    });
    assert_eq!(again.count(), 0);
}

#[test]
fn a_tag_is_the_key_and_its_limit() {
    let ledger = Ledger::new(1, 1, 8, 2);
    let tags: Vec<Tag> = [(1, 7), (1, 8), (2, 7)].iter().map(|(limit, key)| ledger.tag(*limit, key)).collect();
    assert!(tags[0] != tags[1] && tags[0] != tags[2] && tags[0] == ledger.tag(1, 7));
}

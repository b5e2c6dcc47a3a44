//! The whole gateway in simulation: the shipped data path under a seeded kernel, with clients and origins as plain
//! async code.
//!
//! `SHARDGATE_SEEDS=N` runs N seeds; `SHARDGATE_SEED=X` runs one and prints what happened.

mod client;
mod cluster;
mod generate;
mod judge;
mod ledger;
mod limits;
mod origin;
mod plan;
mod script;
mod wire;

use cluster::Report;
use shardgate::runtime::driver::sim::Census;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What all seeds together showed.
#[derive(Default)]
struct Total {
    exchanges: u64,
    swaps: u64,
    handoffs: u64,
    /// Hand-offs that found a full mailbox.
    handoffs_refused: u64,
    /// With limits in the way.
    limits: limits::Events,
    census: Census,
    failure: Option<(u64, String)>,
}

#[test]
fn every_exchange_is_what_it_was_to_be_or_fails_visibly() {
    if let Some(seed) = number("SHARDGATE_SEED") {
        return replay(seed);
    }
    let seeds = number("SHARDGATE_SEEDS").unwrap_or(SEEDS);
    let total = run_all(seeds);
    let Total { exchanges, swaps, handoffs, handoffs_refused, limits, census, .. } = &total;
    println!("{seeds} seeds, {exchanges} exchanges, {swaps} swaps, {handoffs} hand-offs, {handoffs_refused} refused");
    println!("{limits}");
    println!("{census}");
    if let Some((seed, what)) = total.failure {
        panic!("{what}\nreplay it: make sim SEED={seed}");
    }
    let wanted = if total.exchanges >= MANY_EXCHANGES { 1000 } else { 1 };
    if seeds >= SEEDS {
        assert_eq!(total.census.below(wanted), [], "faults that happened less than {wanted} times");
        let rarest = total.swaps.min(total.handoffs).min(total.handoffs_refused);
        assert!(rarest >= wanted, "swaps and hand-offs happened {rarest} times");
        assert!(total.limits.rarest() >= wanted, "too little happened with limits in the way: {}", total.limits);
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..REPLAYED_SEEDS {
        let (first, second) = (cluster::run(seed, false), cluster::run(seed, false));
        assert_eq!(first.transcript_hash, second.transcript_hash, "seed {seed}");
        assert_eq!(first.census, second.census, "seed {seed}");
    }
}

fn replay(seed: u64) {
    let report = cluster::run(seed, true);
    for line in &report.transcript {
        println!("{line}");
    }
    assert!(report.wrong.is_empty(), "seed {seed}:\n{}", report.wrong.join("\n"));
}

/// Spreads the seeds over the machine's cores; stops at the first failure.
fn run_all(seeds: u64) -> Total {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let work = || {
        let mut total = Total::default();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                break;
            }
            match catch_unwind(AssertUnwindSafe(|| cluster::run(seed, false))) {
                Ok(Report { wrong, exchanges, swaps, counters, limits, census, .. }) => {
                    total.exchanges += exchanges as u64;
                    total.swaps += swaps;
                    total.handoffs += counters.handoffs_received;
                    total.handoffs_refused += counters.handoffs_refused;
                    total.limits.add(limits);
                    total.census.add(&census);
                    total.failure = (!wrong.is_empty()).then(|| (seed, wrong.join("\n")));
                }
                Err(_) => total.failure = Some((seed, "it panicked".into())),
            }
            if total.failure.is_some() {
                failed.store(true, Ordering::Relaxed);
                break;
            }
        }
        total
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut total = Total::default();
        for worker in workers {
            let part = worker.join().expect("panics are caught inside");
            total.exchanges += part.exchanges;
            total.swaps += part.swaps;
            total.handoffs += part.handoffs;
            total.handoffs_refused += part.handoffs_refused;
            total.limits.add(part.limits);
            total.census.add(&part.census);
            total.failure = total.failure.or(part.failure);
        }
        total
    })
}

#[expect(clippy::disallowed_methods, reason = "the one who runs the tests says how many")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

const SEEDS: u64 = 2000;
const REPLAYED_SEEDS: u64 = 30;
/// So many that every fault has to have happened often.
const MANY_EXCHANGES: u64 = 2_000_000;

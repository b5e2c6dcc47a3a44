//! What a limit costs: a decision on a local lease, taking one token from the ledger, and a key that is new.
//!
//! Each is the median of many rounds of many decisions, beside a compare-and-swap on a line of its own, which is the
//! least that the ledger could do.

use shardgate::runtime::pages::{fetch_ahead, prefer_large};
use shardgate::stdx::ledger::{Algorithm, Charge, Leases, Ledger, Terms};
use shardgate::stdx::time::Mono;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
const DECISIONS: u32 = 20_000;
const SHARDS: usize = 8;
/// The gateway asks for the line when it begins to read the head of a request, some hundred nanoseconds before; where a
/// load balancer's connection brings many clients, when the head is there, which is the time of some four decisions.
const AHEAD: [usize; 2] = [16, 4];

fn main() {
    let terms = |algorithm, count| Terms { algorithm, count, period: Duration::from_secs(1), burst: count };
    let ledger = Ledger::prepared(SHARDS, 1, 1 << 21, 3, prefer_large);
    let start = Mono::from_nanos(1_000_000_000);
    for (number, terms) in [
        (1, terms(Algorithm::TokenBucket, 8_000_000)),
        (2, terms(Algorithm::TokenBucket, 1)),
        (3, terms(Algorithm::SlidingWindow, 100_000)),
    ] {
        assert!(ledger.set(number, terms, start));
    }
    let word = AtomicU64::new(0);
    print(
        "a compare-and-swap",
        median(|index, _| {
            let _ = black_box(word.compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed));
        }),
    );
    let mut leases = Leases::new(0, 1 << 12);
    let hot = Charge { tag: ledger.tag(1, "hot"), cost: 1 };
    print(
        "a decision on a local lease, its refills included",
        median(|_, now| {
            leases.reconcile(&ledger, now);
            assert!(black_box(leases.admit(&ledger, &[hot], now)).is_ok());
        }),
    );
    print(
        "the hash of a key besides",
        median(|index, _| {
            black_box(ledger.tag(1, black_box(index as u128)));
        }),
    );
    let refused = Charge { tag: ledger.tag(2, "refused"), cost: 1 };
    print(
        "a refusal",
        median(|_, now| {
            let _ = black_box(leases.admit(&ledger, &[refused], now));
        }),
    );
    // Dearer than any lease: every one is taken from the ledger.
    let dear = Charge { tag: ledger.tag(1, "dear"), cost: 200 };
    print(
        "an exchange with the ledger",
        median(|_, now| {
            let _ = black_box(leases.admit(&ledger, &[dear], now));
        }),
    );
    for keys in [1_000, 10_000, 100_000, 1_000_000] {
        of_many(&ledger, &mut leases, keys);
    }
    println!("{} requests found no slot of their own", ledger.overflows());
    println!("{} bytes of ledger, {} of a shard's leases", ledger.bytes(), leases.bytes());
}

/// What is not near costs what the memory does, whoever asks for it: a compare-and-swap in as many lines as the keys
/// have, at the same distances, is the yardstick of the rest: several under way at a time, and one after the other.
fn of_many(ledger: &Ledger, leases: &mut Leases, keys: u64) {
    let tags: Vec<_> = (0..keys).map(|key: u64| ledger.tag(2, key)).collect();
    let lines: Vec<[AtomicU64; 8]> = (0..keys.next_power_of_two()).map(|_| Default::default()).collect();
    let mut place = 0;
    let mut next = move || {
        place = if place + 1 == keys as usize { 0 } else { place + 1 };
        place
    };
    print(
        &format!("a compare-and-swap in one of {keys} lines"),
        median(|index, _| {
            let line = tags[next()].hash() as usize & (lines.len() - 1);
            let _ = black_box(lines[line][0].compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed));
        }),
    );
    let mut last = 0;
    print(
        "the same, each when the one before is over",
        median(|index, _| {
            let line = (tags[next()].hash() as usize ^ last) & (lines.len() - 1);
            let was = lines[line][0].compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed);
            last = (was.unwrap_or_else(|was| was) >> 63) as usize;
        }),
    );
    print(
        &format!("the next of {keys} clients, in turn, with a token a second"),
        median(|_, now| {
            let _ = black_box(leases.admit(ledger, &[Charge { tag: tags[next()], cost: 1 }], now));
        }),
    );
    for ahead in AHEAD {
        print(
            &format!("the same, its line asked for {ahead} decisions before"),
            median(|_, now| {
                let at = next();
                ledger.lines(tags[(at + ahead) % tags.len()]).into_iter().for_each(fetch_ahead);
                let _ = black_box(leases.admit(ledger, &[Charge { tag: tags[at], cost: 1 }], now));
            }),
        );
    }
    let consumers: Vec<_> = (0..10_000_u64).map(|key| ledger.tag(1, key)).collect();
    print(
        &format!("the same, charged to one of {} consumers too", consumers.len()),
        median(|index, now| {
            let consumer = consumers[index as usize * 7_919 % consumers.len()];
            let charges = [consumer, tags[next()]].map(|tag| Charge { tag, cost: 1 });
            let _ = black_box(leases.admit(ledger, &charges, now));
        }),
    );
}

/// Nanoseconds of one call. Time goes on by a microsecond each.
fn median(mut call: impl FnMut(u64, Mono)) -> f64 {
    let mut index = 0;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..DECISIONS {
                call(index, Mono::from_nanos(2_000_000_000 + index * 1_000));
                index += 1;
            }
            began.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn print(what: &str, nanos: f64) {
    println!("{nanos:7.1} ns  {what}");
}

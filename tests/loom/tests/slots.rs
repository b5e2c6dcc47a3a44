//! What two shards can do to one another's slots, in every order.

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use loom_ledger::stdx::ledger::{Algorithm, Charge, GROUP_SLOTS, Leases, Ledger, Terms};
use loom_ledger::stdx::time::Mono;

const LIMIT: u16 = 1;

/// Runs a scenario in every order of its threads, with up to `PREEMPTIONS` switches that nobody had to make.
fn explore(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 20_000;
    builder.check(scenario);
}

const PREEMPTIONS: usize = 3;

fn seconds(count: u64) -> Mono {
    millis(count * 1_000)
}

fn millis(count: u64) -> Mono {
    Mono::from_nanos(count * 1_000_000)
}

/// A ledger of one group of slots, for two shards; a token a second.
fn ledger(burst: u32) -> Arc<Ledger> {
    let ledger = Ledger::new(2, 7, GROUP_SLOTS, 1);
    assert!(ledger.set(LIMIT, terms(1, burst), seconds(0)));
    Arc::new(ledger)
}

fn terms(count: u32, burst: u32) -> Terms {
    Terms { algorithm: Algorithm::TokenBucket, count, period: Duration::from_secs(1), burst }
}

/// How many of `times` requests a shard admits.
fn admit(ledger: &Ledger, leases: &mut Leases, key: u32, times: u32, now: Mono) -> u32 {
    let charge = Charge { tag: ledger.tag(LIMIT, key), cost: 1 };
    (0..times).map(|_| u32::from(leases.admit(ledger, &[charge], now).is_ok())).sum()
}

/// So many slots belong to keys that have nothing left at `now`.
fn crowd(ledger: &Ledger, slots: usize, burst: u32, now: Mono) {
    let mut leases = Leases::new(0, 4);
    for key in (1000..).take(slots) {
        assert_eq!(admit(ledger, &mut leases, key, burst, now), burst);
    }
    leases.settle(ledger, now);
}

/// Each of two shards asks for one token of a key at a time; of no key there is more than its burst and what time gave.
fn check(crowd_slots: usize, asked: [(u32, u64); 2]) {
    explore(move || {
        let ledger = ledger(1);
        crowd(&ledger, crowd_slots, 1, seconds(999));
        // Key 1 has a slot from long ago, if there was one left, which somebody may want.
        admit(&ledger, &mut Leases::new(0, 4), 1, 1, seconds(10));
        let theirs = ledger.clone();
        let ask = move |shard: usize, ledger: &Ledger| {
            let (key, at) = asked[shard];
            admit(ledger, &mut Leases::new(shard, 4), key, 1, millis(at))
        };
        let thread = thread::spawn(move || ask(1, &theirs));
        let admitted = [ask(0, &ledger), thread.join().expect("a shard does not panic")];
        let (first, last) = (asked[0].1.min(asked[1].1), asked[0].1.max(asked[1].1));
        for key in [1, 2] {
            let before: u32 = (0..2).filter(|shard| asked[*shard].0 == key).map(|shard| admitted[shard]).sum();
            let rest = admit(&ledger, &mut Leases::new(0, 4), key, 2, millis(last));
            assert!(before + rest <= 1 + ((last - first) / 1_000) as u32, "{before} and {rest} of key {key}");
        }
    });
}

#[test]
fn two_shards_that_bring_a_key_at_the_same_time_share_its_slot() {
    check(0, [(2, 999_900), (2, 999_900)]);
}

#[test]
fn two_shards_that_bring_a_key_to_the_last_slot_share_it() {
    check(GROUP_SLOTS - 1, [(2, 999_900), (2, 999_900)]);
}

#[test]
fn a_slot_is_taken_away_from_no_key_that_is_charged_meanwhile() {
    check(GROUP_SLOTS - 1, [(1, 999_900), (2, 999_900)]);
}

#[test]
fn a_key_that_is_counted_in_the_overflow_owes_it_when_it_finds_a_slot() {
    // One shard's clock is at a time when all slots are taken, the other's at one when they are not.
    check(GROUP_SLOTS, [(2, 999_900), (2, 1_000_000)]);
}

#[test]
fn a_limit_that_slows_down_forgives_nobody_what_he_owes_in_the_overflow() {
    explore(|| {
        let ledger = ledger(1);
        crowd(&ledger, GROUP_SLOTS, 1, seconds(999));
        let theirs = ledger.clone();
        // What was charged at 999.9 s would have been earned back by 1000.9 s, and is so by 1001.9 s.
        let thread = thread::spawn(move || {
            let slower = Terms { period: Duration::from_secs(2), ..terms(1, 1) };
            assert!(theirs.set(LIMIT, slower, millis(999_900)));
            admit(&theirs, &mut Leases::new(1, 4), 2, 1, millis(1_001_000))
        });
        let admitted = admit(&ledger, &mut Leases::new(0, 4), 2, 1, millis(999_900));
        let admitted = admitted + thread.join().expect("a shard does not panic");
        assert!(admitted <= 1, "{admitted}");
    });
}

#[test]
fn leases_are_never_more_than_there_is() {
    explore(|| {
        let ledger = ledger(12);
        let spend = |shard: usize, ledger: &Ledger| {
            let mut leases = Leases::new(shard, 4);
            let admitted = admit(ledger, &mut leases, 1, 8, seconds(9));
            leases.settle(ledger, seconds(9));
            admitted
        };
        let theirs = ledger.clone();
        let thread = thread::spawn(move || spend(1, &theirs));
        let admitted = spend(0, &ledger) + thread.join().expect("a shard does not panic");
        let rest = admit(&ledger, &mut Leases::new(0, 4), 1, 13, seconds(9));
        // What one of them held when the other was refused is there again.
        assert!(admitted >= 11 && admitted + rest == 12, "{admitted} and {rest}");
    });
}

#[test]
fn terms_are_read_whole() {
    explore(|| {
        let ledger = ledger(1);
        let mut leases = Leases::new(0, 4);
        assert_eq!(admit(&ledger, &mut leases, 1, 1, seconds(9)), 1);
        let theirs = ledger.clone();
        // The second change writes over the line that was in force at first.
        let thread = thread::spawn(move || {
            theirs.set(LIMIT, terms(2, 1), seconds(9));
            theirs.set(LIMIT, terms(1, 1), seconds(9));
        });
        // A line of which one half is the old one would forgive what was spent.
        assert_eq!(admit(&ledger, &mut leases, 1, 1, seconds(9)), 0);
        thread.join().expect("control does not panic");
        assert_eq!(admit(&ledger, &mut leases, 1, 1, seconds(9)), 0);
    });
}

#[test]
fn what_a_lost_shard_held_is_written_off_once() {
    explore(|| {
        let ledger = ledger(80);
        let mut lost = Leases::new(1, 4);
        let held = admit(&ledger, &mut lost, 1, 5, seconds(9));
        ledger.recall();
        drop(lost);
        let theirs = ledger.clone();
        let thread = thread::spawn(move || {
            let mut leases = Leases::new(0, 4);
            let mut admitted = admit(&theirs, &mut leases, 1, 5, seconds(9));
            leases.reconcile(&theirs, seconds(9));
            admitted += admit(&theirs, &mut leases, 1, 2, seconds(9));
            leases.settle(&theirs, seconds(9));
            admitted
        });
        if ledger.is_recalled(|shard| shard == 1) {
            ledger.write_off(seconds(9));
        }
        let admitted = held + thread.join().expect("a shard does not panic");
        if ledger.is_recalled(|shard| shard == 1) {
            ledger.write_off(seconds(9));
        }
        let rest = admit(&ledger, &mut Leases::new(0, 4), 1, 100, seconds(9));
        // The lost shard may have held one token more than it spent.
        assert!((78..=80).contains(&(admitted + rest)), "{admitted} and {rest}");
        assert_eq!(admit(&ledger, &mut Leases::new(0, 4), 1, 100, seconds(1_000)), 80);
    });
}

//! Limits that nodes share, on virtual time: three nodes and a Redis that is up, slow, stuck, gone, back, and empty.
//!
//! What all nodes admitted together is replayed through one ideal bucket: if it never runs dry, no window of any width
//! had more than `rate x width + burst`. `SHARDGATE_SEEDS=N` runs N seeds instead of one.

mod cluster;
mod model;
mod rounds;
mod server;

use std::time::Duration;

use cluster::{Cluster, SECOND, terms};
use shardgate::config::store::OnFailure;
use shardgate::control::sharing::Breaker;

const EVEN: [u64; 3] = [1, 1, 1];
const SKEWED: [u64; 3] = [90, 9, 1];
const ONE: [u64; 3] = [1, 0, 0];
const RATES: [u32; 5] = [3, 10, 100, 1_000, 10_000];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// For each seed and rate a cluster in which everybody has met, and no request has come.
fn each(on_failure: OnFailure, test: impl Fn(&mut Cluster, u64)) {
    for seed in 1..=seeds() {
        for rate in RATES {
            let mut cluster = Cluster::new(3, terms(rate, rate.max(4)), on_failure, seed * 100);
            cluster.run(seconds(12), 0, &EVEN);
            assert_eq!(cluster.stats(2).holding.nodes, 3);
            // Of every key twice its rate.
            test(&mut cluster, u64::from(rate) * 2 * cluster::KEYS as u64);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to look for a bug is not the gateway's configuration")]
fn seeds() -> u64 {
    std::env::var("SHARDGATE_SEEDS").map_or(1, |text| text.parse().expect("a number of seeds"))
}

/// Holds that no window has more than the limit, and `more` tokens once.
#[track_caller]
fn hold(cluster: &Cluster, more: u32) {
    let rate = i128::from(cluster.terms.count);
    let burst = i128::from(cluster.terms.burst + more) * i128::from(SECOND);
    for times in &cluster.admitted {
        let (mut debt, mut last) = (0, 0);
        for (index, at) in times.iter().enumerate() {
            debt = (debt - rate * i128::from(at - last)).max(0) + i128::from(SECOND);
            last = *at;
            assert!(debt <= burst, "{:?}: request {index} at {at} ns is one too many", cluster.terms);
        }
    }
}

/// How many requests of each key were admitted in what comes, in parts of what the rate gives.
fn used(cluster: &mut Cluster, duration: Duration, load: u64, weights: &[u64]) -> f64 {
    let count = |cluster: &Cluster| cluster.admitted.iter().map(Vec::len).sum::<usize>();
    let before = count(cluster);
    cluster.run(duration, load, weights);
    let rate = f64::from(cluster.terms.count) * cluster::KEYS as f64 * duration.as_secs_f64();
    (count(cluster) - before) as f64 / rate
}

/// The least that is to be used: a node that may hold one token of a key loses what is earned until the next request.
fn enough(cluster: &Cluster) -> f64 {
    if cluster.held_by_one(3) == 1 { 0.75 } else { 0.95 }
}

/// The same where each node has its share for itself.
fn enough_apart(cluster: &Cluster) -> f64 {
    if cluster.held_by_one(3) == 1 { 0.5 } else { 0.85 }
}

#[test]
fn while_redis_is_up_no_window_is_exceeded_and_the_rate_is_used() {
    for weights in [EVEN, SKEWED, ONE] {
        each(OnFailure::KeepShare, |cluster, load| {
            cluster.run(seconds(4), load, &weights);
            let used = used(cluster, seconds(10), load, &weights);
            assert!(used >= enough(cluster), "{:?}, {weights:?}: {used}", cluster.terms);
            hold(cluster, 0);
        });
    }
}

#[test]
fn a_redis_that_goes_and_comes_back_admits_no_more_and_nodes_live_on_their_shares() {
    each(OnFailure::KeepShare, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.network.is_gone = true;
        cluster.drop_connections();
        cluster.run(seconds(1), load, &EVEN);
        let apart = used(cluster, seconds(6), load, &EVEN);
        assert!((enough_apart(cluster)..=1.02).contains(&apart), "{:?}: {apart}", cluster.terms);
        let of_one = used(cluster, seconds(6), load, &ONE);
        assert!(of_one <= 0.5, "{:?}: {of_one} of one node's share", cluster.terms);
        assert_ne!(cluster.stats(0).breaker, Breaker::Closed);
        cluster.network.is_gone = false;
        cluster.run(seconds(5), load, &EVEN);
        assert_eq!(cluster.stats(0).breaker, Breaker::Closed);
        let back = used(cluster, seconds(6), load, &EVEN);
        assert!(back >= enough(cluster), "{:?}: {back}", cluster.terms);
        hold(cluster, 0);
    });
}

#[test]
fn those_who_fail_closed_admit_what_they_hold_and_then_nothing() {
    each(OnFailure::Refuse, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.network.is_gone = true;
        cluster.drop_connections();
        cluster.run(seconds(12), load, &EVEN);
        assert_eq!(used(cluster, seconds(5), load, &EVEN), 0.0);
        cluster.network.is_gone = false;
        cluster.run(seconds(5), load, &EVEN);
        assert!(used(cluster, seconds(5), load, &EVEN) >= enough(cluster));
        hold(cluster, 0);
    });
}

#[test]
fn a_redis_that_comes_back_empty_or_with_old_memories_forgives_nothing() {
    for is_empty in [true, false] {
        each(OnFailure::KeepShare, |cluster, load| {
            // What it remembers is of a time when little was spent.
            cluster.run(seconds(3), load / 8, &EVEN);
            let old = cluster.server.store.clone();
            cluster.run(seconds(3), load, &EVEN);
            let remembered = if is_empty { model::Store::default() } else { old };
            // At once; with a node that it does not know of; and after a while of nothing.
            cluster.restart(remembered.clone());
            cluster.run(seconds(5), load, &SKEWED);
            cluster.network.cut_off = vec![2];
            cluster.run(seconds(2), load, &EVEN);
            cluster.restart(remembered.clone());
            cluster.run(seconds(6), load, &EVEN);
            cluster.network.cut_off.clear();
            cluster.run(seconds(6), load, &EVEN);
            cluster.network.is_gone = true;
            cluster.drop_connections();
            cluster.run(seconds(3), load, &EVEN);
            cluster.restart(remembered);
            cluster.network.is_gone = false;
            cluster.run(seconds(15), load, &EVEN);
            assert!(used(cluster, seconds(5), load, &EVEN) >= enough(cluster), "{:?}", cluster.terms);
            hold(cluster, 0);
        });
    }
}

#[test]
fn a_redis_that_is_slow_or_stuck_admits_no_more() {
    each(OnFailure::KeepShare, |cluster, load| {
        for delay_ms in [5, 50, 110, 140, 300] {
            cluster.network.delay = delay_ms * cluster::MILLI;
            cluster.run(seconds(5), load, &EVEN);
        }
        cluster.network.delay = cluster::MILLI;
        cluster.run(seconds(5), load, &EVEN);
        for stuck_ms in [100, 240, 260, 600, 900, 3_000] {
            // What it is sent meanwhile it carries out afterwards.
            cluster.network.is_stuck = true;
            cluster.run(Duration::from_millis(stuck_ms), load, &EVEN);
            cluster.network.is_stuck = false;
            cluster.run(seconds(2), load, &SKEWED);
        }
        hold(cluster, 0);
    });
}

#[test]
fn a_node_that_is_cut_off_lives_on_its_share_and_the_others_on_the_rest() {
    each(OnFailure::KeepShare, |cluster, load| {
        for cut in 0..3 {
            cluster.run(seconds(3), load, &EVEN);
            cluster.network.cut_off = vec![cut];
            cluster.run(seconds(2), load, &EVEN);
            let apart = used(cluster, seconds(6), load, &EVEN);
            assert!((enough_apart(cluster)..=1.02).contains(&apart), "{:?}: {apart}", cluster.terms);
            cluster.network.cut_off.clear();
            cluster.run(seconds(5), load, &EVEN);
        }
        hold(cluster, 0);
    });
}

#[test]
fn nodes_that_were_all_cut_off_for_long_come_back_one_by_one_and_admit_no_more() {
    each(OnFailure::KeepShare, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.network.cut_off = vec![0, 1, 2];
        cluster.run(seconds(70), load, &EVEN);
        // The first one is back while the others earn on.
        cluster.network.cut_off = vec![1, 2];
        cluster.run(seconds(7), load, &EVEN);
        cluster.network.cut_off.clear();
        cluster.run(seconds(15), load, &EVEN);
        let used = used(cluster, seconds(6), load, &EVEN);
        assert!(used >= enough(cluster), "{:?}: {used}", cluster.terms);
        hold(cluster, 0);
    });
}

#[test]
fn a_node_that_is_cut_off_for_a_minute_earns_its_share_and_no_more_beside_the_others() {
    each(OnFailure::KeepShare, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.network.cut_off = vec![2];
        cluster.run(seconds(58), load, &EVEN);
        hold(cluster, 0);
        // From now on the others take it for dead.
        cluster.run(seconds(12), load, &EVEN);
        let of_it = used(cluster, seconds(6), load, &[0, 0, 1]);
        assert!(of_it <= 0.5, "{:?}: {of_it} of its share", cluster.terms);
        cluster.network.cut_off.clear();
        cluster.run(seconds(5), load, &EVEN);
        assert_eq!(cluster.stats(2).breaker, Breaker::Closed);
        let back = used(cluster, seconds(6), load, &EVEN);
        assert!((enough(cluster)..=1.1).contains(&back), "{:?}: {back}", cluster.terms);
    });
}

#[test]
fn nodes_that_die_with_grants_take_nothing_from_the_rate_for_long() {
    each(OnFailure::KeepShare, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.kill(1);
        cluster.run(seconds(3), load, &[1, 0, 1]);
        cluster.kill(2);
        cluster.run(seconds(63), load, &ONE);
        let alone = used(cluster, seconds(6), load, &ONE);
        assert!(alone >= enough(cluster), "{:?}: {alone}", cluster.terms);
        hold(cluster, 0);
    });
}

#[test]
fn a_node_that_begins_adds_no_more_than_what_it_holds() {
    each(OnFailure::KeepShare, |cluster, load| {
        cluster.run(seconds(3), load, &EVEN);
        cluster.kill(2);
        cluster.run(seconds(2), load, &[1, 1, 0]);
        cluster.join(OnFailure::KeepShare);
        let everybody = [1, 1, 0, 1];
        cluster.run(seconds(70), load, &everybody);
        let used = used(cluster, seconds(6), load, &everybody);
        assert!(used >= enough(cluster), "{:?}: {used}", cluster.terms);
        hold(cluster, cluster.held_by_one(3));
    });
}

#[test]
fn garbage_is_a_redis_that_is_away() {
    for garbage in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"*5\r\n:1\r\n:99999999\r\n:0\r\n$1\r\nx\r\n:9\r\n", b"\x15\x03"]
    {
        each(OnFailure::KeepShare, |cluster, load| {
            cluster.run(seconds(2), load, &EVEN);
            cluster.network.garbage = Some(garbage.to_vec());
            cluster.run(seconds(6), load, &EVEN);
            assert_ne!(cluster.stats(1).breaker, Breaker::Closed);
            cluster.network.garbage = None;
            cluster.run(seconds(6), load, &EVEN);
            assert_eq!(cluster.stats(1).breaker, Breaker::Closed);
            hold(cluster, 0);
        });
    }
}

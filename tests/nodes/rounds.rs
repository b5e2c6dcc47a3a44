//! One node and its server, by hand: rounds of many calls, and limits that leave the configuration.

use std::collections::VecDeque;

use shardgate::config::store::OnFailure;
use shardgate::control::sharing::{Breaker, Shared, Sharing, Step};
use shardgate::stdx::ledger::{Charge, Leases, Ledger};
use shardgate::stdx::time::Mono;

use crate::cluster::{MILLI, SECOND, store, terms};
use crate::server::Server;

const LIMIT: u16 = 1;

struct Talk {
    server: Server,
    sharing: Sharing,
    ledger: Ledger,
    leases: Leases,
    inbox: VecDeque<u8>,
    now: u64,
}

impl Talk {
    /// Of a limit of 100 a second.
    fn new(slots: usize, on_failure: OnFailure) -> Self {
        let ledger = Ledger::new(1, 5, slots, 2);
        let mut sharing = Sharing::new(9);
        let limit = Shared { number: LIMIT, name: 7, terms: terms(100, 100) };
        sharing.configure(Some(&store(on_failure)), vec![limit], &ledger, Mono::from_nanos(SECOND));
        Self {
            server: Server::new(1),
            sharing,
            ledger,
            leases: Leases::new(0, 64),
            inbox: VecDeque::new(),
            now: SECOND,
        }
    }

    /// What is said is answered at once.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += MILLI;
            let now = self.at();
            for _ in 0..10 {
                match self.sharing.next(&self.ledger, now) {
                    Step::Rest | Step::Part(_) => break,
                    Step::Listen(until) if until > now => break,
                    Step::Listen(_) => {}
                    Step::Connect(_) => self.sharing.connected(now),
                    Step::Send(bytes) => {
                        self.inbox.extend(bytes);
                        let answer = self.server.receive(&mut self.inbox, self.now / 1_000);
                        self.sharing.received(&answer, &self.ledger, now);
                    }
                }
            }
        }
    }

    fn at(&self) -> Mono {
        Mono::from_nanos(self.now)
    }

    fn admit(&mut self, limit: u16, key: u64) -> bool {
        let (charge, now) = (Charge { tag: self.ledger.tag(limit, key), cost: 1 }, self.at());
        self.leases.admit(&self.ledger, &[charge], now).is_ok()
    }
}

#[test]
fn a_server_that_forgets_the_script_in_a_round_of_many_calls_is_told_it_and_not_lost() {
    let mut talk = Talk::new(1 << 10, OnFailure::Refuse);
    // Until it is believed that nobody else earns anything.
    talk.run(13_000);
    for round in 0..3 {
        let granted = talk.sharing.stats().expect("it shares").granted;
        // Four calls' worth.
        assert!((0..200).all(|key| talk.admit(LIMIT, key)), "round {round}");
        talk.server.knows_script = false;
        talk.run(1_000);
        let stats = talk.sharing.stats().expect("it shares");
        assert!(talk.server.knows_script && stats.granted >= granted + 200, "{stats:?}");
        assert_eq!((stats.failures, stats.breaker), (0, Breaker::Closed), "round {round}");
    }
}

#[test]
fn a_server_that_keeps_no_script_is_away() {
    let mut talk = Talk::new(1 << 10, OnFailure::KeepShare);
    talk.run(13_000);
    let share = talk.sharing.stats().expect("it shares").holding.share;
    assert!(share > 0 && (0..200).all(|key| talk.admit(LIMIT, key)));
    talk.sharing.take_news();
    (talk.server.knows_script, talk.server.keeps_no_script) = (false, true);
    talk.run(60_000);
    let stats = talk.sharing.stats().expect("it shares");
    // It is not asked more often than one that is gone.
    assert!((10..=40).contains(&stats.failures) && stats.breaker != Breaker::Closed, "{stats:?}");
    let news = talk.sharing.take_news();
    let [(_, line)] = &news[..] else { panic!("it is said once: {news:?}") };
    let why = "it was told the script and does not know it (NOSCRIPT); this node keeps its last share of them";
    assert!(line.contains(why), "{line}");
    let (key, until) = (1_000, talk.now + 20 * SECOND);
    let mut admitted = 0;
    while talk.now < until {
        talk.run(10);
        admitted += u32::from(talk.admit(LIMIT, key));
    }
    // What it held, and for most of the time its share, which is all of the rate: all that is asked for.
    assert!(admitted > 800, "{admitted} of 2,000");
    talk.server.keeps_no_script = false;
    talk.run(5_000);
    assert_eq!(talk.sharing.stats().expect("it shares").breaker, Breaker::Closed);
}

#[test]
fn a_limit_that_leaves_the_configuration_leaves_its_slots() {
    let mut talk = Talk::new(8, OnFailure::Refuse);
    talk.run(1_000);
    assert!((0..8).all(|key| talk.admit(LIMIT, key)) && !talk.admit(LIMIT, 8), "there are eight slots");
    let now = talk.at();
    assert!(talk.ledger.set(2, terms(1, 1), now));
    talk.sharing.configure(None, Vec::new(), &talk.ledger, now);
    talk.now += SECOND;
    let crowded = talk.ledger.overflows();
    assert!((0..8).all(|key| talk.admit(2, key)));
    assert_eq!(talk.ledger.overflows(), crowded, "each key has a slot");
}

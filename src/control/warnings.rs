//! What the operator is told when it begins to happen, and again at most once a minute while it goes on: things that a
//! counter counts and that somebody should do something about.

use super::status::Status;
use crate::telemetry::counters::{Counters, Refusal};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Warnings {
    of: [Warned; WARNINGS.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Warned {
    /// What had been counted when it was last told.
    count: u64,
    at: Option<Instant>,
}

struct Warning {
    text: &'static str,
    count: fn(&Status, &Counters) -> u64,
    /// What else there is to be said, behind the text.
    more: fn(&Status) -> String,
}

impl Warnings {
    /// What there is to be told now.
    pub fn due(&mut self, status: &Status, now: Instant) -> Vec<String> {
        let counters = status.counters();
        let mut due = Vec::new();
        for (warning, warned) in WARNINGS.iter().zip(&mut self.of) {
            let count = (warning.count)(status, &counters);
            if count < warned.count {
                // It is over.
                *warned = Warned::default();
            }
            let is_quiet = warned.at.is_some_and(|at| now.duration_since(at) < AGAIN_AFTER);
            if count > warned.count && !is_quiet {
                due.push(format!("{} {}{}", count - warned.count, warning.text, (warning.more)(status)));
                *warned = Warned { count, at: Some(now) };
            }
        }
        due
    }
}

const WARNINGS: [Warning; 8] = [
    Warning {
        text: "connections were closed unserved, as descriptors had run out: raise the limit (`ulimit -n`, systemd's \
               LimitNOFILE) or lower limits.connections_max",
        count: |_, counters| counters.connections_refused[Refusal::Descriptors as usize],
        more: nothing,
    },
    Warning {
        text: "connections were closed unserved, as there were as many as limits.connections_max allows: raise it, or \
               add a node",
        count: |_, counters| counters.connections_refused[Refusal::Total as usize],
        more: nothing,
    },
    Warning {
        text: "connections were closed unserved, as their clients had as many as limits.connections_per_client_max \
               allows: raise it if they are load balancers, which stand for many",
        count: |_, counters| counters.connections_refused[Refusal::Client as usize],
        more: nothing,
    },
    Warning {
        text: "lines of the access log could not be written: the disk is full, or whoever read them has gone",
        count: |status, _| status.log_lines_lost,
        more: nothing,
    },
    Warning {
        text: "lines of the access log were dropped, as whoever reads them is too slow",
        count: |_, counters| counters.log_lines_dropped,
        more: nothing,
    },
    Warning {
        text: "connections to the admin listener were ended: they had lasted too long, or there were too many",
        count: |status, _| status.admin_connections_ended,
        more: nothing,
    },
    Warning {
        text: "times a shard could not accept on a listener; it tries each second: ",
        count: |_, counters| counters.listens_failed,
        more: |status| {
            let refused = status.listeners_refused();
            let lines: Vec<_> = refused.map(|(shard, (name, why))| format!("shard {shard} on {name}: {why}")).collect();
            if lines.is_empty() { "all can by now".to_owned() } else { lines.join(", ") }
        },
    },
    Warning {
        text: "such times so far, and nobody is served there, as no shard accepts: ",
        // Told at once whenever it begins, and again as long as shards try in vain.
        count: |status, counters| if status.listeners_dead().next().is_some() { counters.listens_failed } else { 0 },
        more: |status| status.listeners_dead().collect::<Vec<_>>().join(", "),
    },
];

fn nothing(_: &Status) -> String {
    String::new()
}

const AGAIN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;
    use crate::control::clock::{Clocks, clocks};
    use crate::runtime::driver::choice::Choice;
    use crate::runtime::options::EventLoop;
    use crate::stdx::board::Board;
    use std::sync::Arc;

    /// Of a node with so many shards, and when it began.
    fn status(shards: usize) -> (Status, Clocks) {
        let bare = "{version: 1, listeners: [{name: a, address: \"127.0.0.1:1\"}]}";
        let snapshot = load_text("bare", bare, &mut Ids::default(), &|_| Ok(Vec::new())).expect("it is good");
        let event_loop = Choice { event_loop: EventLoop::Epoll, reason: String::new() };
        let (board, start) = (Arc::new(Board::new(shards, 1, 8)), clocks());
        (Status::new(event_loop, board, &snapshot, start.wall, start.now), start)
    }

    #[test]
    fn what_goes_on_is_told_at_once_and_then_once_a_minute() {
        let (mut status, start) = status(1);
        let mut warnings = Warnings::default();
        for (second, lost, told) in [(0, 0, None), (1, 5, Some(5)), (2, 7, None), (60, 9, None), (61, 9, Some(4))] {
            status.log_lines_lost = lost;
            let due = warnings.due(&status, start.now + Duration::from_secs(second));
            let want = told.map(|count| format!("{count} {}", WARNINGS[3].text));
            assert_eq!(due, Vec::from_iter(want), "at {second} s");
        }
    }

    #[test]
    fn each_reason_to_refuse_a_connection_is_told_with_its_own_count() {
        let (mut status, start) = status(1);
        status.shards[0].counters.connections_refused = [3, 4, 5];
        let due = Warnings::default().due(&status, start.now);
        let want = [(5, "descriptors had run out"), (3, "connections_max allows"), (4, "connections_per_client_max")];
        assert_eq!(due.len(), want.len(), "{due:?}");
        for (line, (count, words)) in due.iter().zip(want) {
            assert!(line.starts_with(&format!("{count} connections were closed")) && line.contains(words), "{line}");
        }
    }

    #[test]
    fn a_listener_that_no_shard_accepts_on_is_told_whenever_it_begins() {
        let (mut status, start) = status(2);
        let mut warnings = Warnings::default();
        for (second, refusing, is_told) in [(0, 1, false), (1, 2, true), (2, 2, false), (3, 1, false), (4, 2, true)] {
            for (index, shard) in status.shards.iter_mut().enumerate() {
                shard.listeners_refused.clear();
                if index < refusing {
                    shard.listeners_refused.push(("a".to_owned(), "not today".to_owned()));
                    shard.counters.listens_failed += 1;
                }
            }
            let due = warnings.due(&status, start.now + Duration::from_secs(second));
            let told = due.iter().filter(|line| line.ends_with("nobody is served there, as no shard accepts: a"));
            assert_eq!(told.count(), usize::from(is_told), "at {second} s: {due:?}");
        }
    }
}

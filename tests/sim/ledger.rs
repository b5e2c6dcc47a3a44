//! What was to happen, what the origin saw of it, and what the client got.

use crate::script::Script;
use crate::wire::{Body, Broken, Head};
use shardgate::stdx::time::Mono;
use std::cell::RefCell;
use std::time::Duration;

pub struct Ledger {
    pub scripts: Vec<Script>,
    /// For each script, every time the origin saw it.
    pub seen: RefCell<Vec<Vec<Seen>>>,
    pub outcomes: RefCell<Vec<Option<Outcome>>>,
    /// When the client began with it.
    pub began: RefCell<Vec<Mono>>,
    /// When it came to its end.
    ended: RefCell<Vec<Mono>>,
    /// Behind whose answer an origin had sent one that nobody asked for, and when.
    excess: RefCell<Vec<(usize, Mono)>>,
    /// When the last shard began to go by each plan, in order; absent when there is one plan only.
    pub adopted: RefCell<Vec<(Mono, u64)>>,
    /// What must never happen and did.
    violations: RefCell<Vec<String>>,
}

/// A request at the origin.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which of the origins it is.
    pub origin: usize,
    /// When its head was read.
    pub at: Mono,
    pub head: Head,
    pub body: Body,
    /// Absent while it is being read.
    pub end: Option<Result<(), Broken>>,
}

/// What came of a request for its client.
#[derive(Clone, Debug)]
pub enum Outcome {
    Answered(Reply),
    Broken(Broken),
    Refused,
    /// The connection ended before this request's turn.
    Unsent,
    /// The client did not wait for an answer.
    Left,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub interims: Vec<u16>,
    pub head: Head,
    pub status: u16,
    pub body: Body,
}

impl Ledger {
    pub fn new(scripts: Vec<Script>) -> Self {
        let count = scripts.len();
        Self {
            scripts,
            seen: RefCell::new(vec![Vec::new(); count]),
            outcomes: RefCell::new(vec![None; count]),
            began: RefCell::new(vec![Mono::ZERO; count]),
            ended: RefCell::new(vec![Mono::ZERO; count]),
            excess: RefCell::default(),
            adopted: RefCell::default(),
            violations: RefCell::default(),
        }
    }

    /// The script of a request target, if there is one.
    pub fn script_of(&self, target: &str) -> Option<&Script> {
        let path = target.split('?').next()?;
        self.scripts.get(path.strip_prefix("/x/")?.parse::<usize>().ok()?)
    }

    /// Notes that the origin has read the head; returns the place for the rest.
    pub fn saw(&self, id: usize, origin: usize, at: Mono, head: Head) -> usize {
        let mut seen = self.seen.borrow_mut();
        seen[id].push(Seen { origin, at, head, body: Body::default(), end: None });
        seen[id].len() - 1
    }

    pub fn saw_body(&self, id: usize, place: usize, body: Body, end: Result<(), Broken>) {
        let mut seen = self.seen.borrow_mut();
        seen[id][place].body = body;
        seen[id][place].end = Some(end);
    }

    pub fn came_of(&self, id: usize, outcome: Outcome, now: Mono) {
        self.ended.borrow_mut()[id] = now;
        let before = self.outcomes.borrow_mut()[id].replace(outcome);
        if before.is_some() {
            self.violate(format!("exchange {id} came to two ends"));
        }
    }

    pub fn excess_sent(&self, id: usize, at: Mono) {
        self.excess.borrow_mut().push((id, at));
    }

    /// An answer that nobody asked for may have been on its way when this exchange took its connection. No gateway can
    /// tell it from an early one then; once it has arrived, the connection must not be used again.
    pub fn excess_was_under_way(&self, id: usize) -> bool {
        let (began, ended) = (self.began.borrow()[id], self.ended.borrow());
        self.excess.borrow().iter().any(|(before, sent)| began <= ended[*before].max(*sent) + UNDER_WAY_MAX)
    }

    /// The plan that every shard went by when the client began with this exchange.
    pub fn plan_before(&self, id: usize) -> Option<u64> {
        let (began, adopted) = (self.began.borrow()[id], self.adopted.borrow());
        adopted.iter().rev().find(|(at, _)| *at < began).map(|(_, generation)| *generation)
    }

    /// Of every request that came to an origin: when its client began with it, and when it was seen first.
    pub fn admitted(&self) -> Vec<(Mono, Mono)> {
        let (began, seen) = (self.began.borrow(), self.seen.borrow());
        began.iter().zip(&*seen).filter_map(|(began, seen)| Some((*began, seen.first()?.at))).collect()
    }

    pub fn violate(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    pub fn take_violations(&self) -> Vec<String> {
        self.violations.take()
    }
}

/// More than the simulated network's longest delay and a slow peer's next byte.
const UNDER_WAY_MAX: Duration = Duration::from_secs(4);

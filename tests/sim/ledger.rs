//! What was to happen, what the origin saw of it, and what the client got.

use crate::script::Script;
use crate::wire::{Body, Broken, Head};
use std::cell::RefCell;

pub struct Ledger {
    pub scripts: Vec<Script>,
    /// For each script, every time the origin saw it.
    pub seen: RefCell<Vec<Vec<Seen>>>,
    pub outcomes: RefCell<Vec<Option<Outcome>>>,
    /// What must never happen and did.
    violations: RefCell<Vec<String>>,
}

/// A request at the origin.
#[derive(Clone, Debug)]
pub struct Seen {
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
    /// No connection, or one that ended before this request's turn.
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
            violations: RefCell::default(),
        }
    }

    /// The script of a request target, if there is one.
    pub fn script_of(&self, target: &str) -> Option<&Script> {
        let path = target.split('?').next()?;
        self.scripts.get(path.strip_prefix("/x/")?.parse::<usize>().ok()?)
    }

    /// Notes that the origin has read the head; returns the place for the rest.
    pub fn saw(&self, id: usize, head: Head) -> usize {
        let mut seen = self.seen.borrow_mut();
        seen[id].push(Seen { head, body: Body::default(), end: None });
        seen[id].len() - 1
    }

    pub fn saw_body(&self, id: usize, place: usize, body: Body, end: Result<(), Broken>) {
        let mut seen = self.seen.borrow_mut();
        seen[id][place].body = body;
        seen[id][place].end = Some(end);
    }

    pub fn came_of(&self, id: usize, outcome: Outcome) {
        let before = self.outcomes.borrow_mut()[id].replace(outcome);
        if before.is_some() {
            self.violate(format!("exchange {id} came to two ends"));
        }
    }

    pub fn violate(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    pub fn take_violations(&self) -> Vec<String> {
        self.violations.take()
    }
}

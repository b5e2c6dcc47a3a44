//! Receives that wait for memory, first come, first served.

use crate::runtime::op::{OpId, OpTable};
use std::collections::VecDeque;

/// Those that wait for the same thing. Each has a ticket, by which one that was tried in vain finds its place again.
#[derive(Default)]
pub struct Parked {
    queue: VecDeque<(u64, OpId)>,
}

impl Parked {
    pub fn push(&mut self, ticket: u64, id: OpId, ops: &OpTable) {
        if self.queue.len() > 2 * ops.len() + GIVEN_UP_MAX {
            // Operations that were cancelled leave their entries behind, and the first may wait for long.
            self.queue.retain(|(_, id)| ops.armed(*id).is_some());
        }
        let place = self.queue.partition_point(|(other, _)| *other <= ticket);
        self.queue.insert(place, (ticket, id));
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The one that has waited longest.
    pub fn pop(&mut self) -> Option<OpId> {
        self.queue.pop_front().map(|(_, id)| id)
    }
}

/// Entries that nobody waits for any more, beyond those that operations under way may have.
const GIVEN_UP_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::buffer::Class;
    use crate::runtime::op::{Armed, Owner, SocketId, Target};

    fn arm(ops: &mut OpTable) -> OpId {
        ops.arm(Owner::Token(0), Armed::Receive(SocketId(0), Target::Fresh(Class::Head)))
    }

    #[test]
    fn one_that_was_tried_in_vain_is_the_first_again() {
        let (mut ops, mut parked) = (OpTable::default(), Parked::default());
        let ids: Vec<_> = (0..4).map(|_| arm(&mut ops)).collect();
        (0..4).for_each(|place| parked.push(place as u64, ids[place], &ops));
        let tried = [parked.pop(), parked.pop()];
        (0..2).for_each(|place| parked.push(place as u64, tried[place].expect("it is there"), &ops));
        assert_eq!(std::iter::from_fn(|| parked.pop()).collect::<Vec<_>>(), ids);
    }

    #[test]
    fn those_that_were_given_up_do_not_pile_up() {
        let (mut ops, mut parked) = (OpTable::default(), Parked::default());
        let first = arm(&mut ops);
        parked.push(0, first, &ops);
        for ticket in 1..10_000 {
            let id = arm(&mut ops);
            parked.push(ticket, id, &ops);
            ops.cancel(id);
            assert!(parked.queue.len() <= 2 * (ops.len() + 1) + GIVEN_UP_MAX + 1);
        }
        assert_eq!(parked.pop(), Some(first));
    }
}

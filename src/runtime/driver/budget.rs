//! What a shard may carry out before others have their turn.

/// Operations that may be carried out where they are submitted. What is submitted beyond is put off.
///
/// A turn has so many, for then the kernel is asked again; and a coroutine that is polled has so many of them, as
/// otherwise one transfer between two fast peers would take them all, and everybody else of that turn would wait.
#[derive(Debug)]
pub struct Budget {
    /// For whoever has its turn now.
    left: usize,
    /// For those after it.
    rest: usize,
}

impl Budget {
    pub fn new() -> Self {
        Self { left: TURN_MAX, rest: 0 }
    }

    /// A turn begins. Until the first coroutine is polled all of it is there.
    pub fn begin_turn(&mut self) {
        *self = Self::new();
    }

    /// The next coroutine may be polled.
    pub fn begin_poll(&mut self) {
        let all = self.left + self.rest;
        self.left = all.min(POLL_MAX);
        self.rest = all - self.left;
    }

    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    pub fn spend(&mut self) {
        self.left -= 1;
    }
}

const TURN_MAX: usize = 256;
/// A few requests of one connection, or about a megabyte of a body.
const POLL_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &mut Budget) -> usize {
        let mut spent = 0;
        while !budget.is_spent() {
            budget.spend();
            spent += 1;
        }
        spent
    }

    #[test]
    fn one_coroutine_has_a_part_and_all_have_a_turns() {
        let mut budget = Budget::new();
        assert_eq!(spend_all(&mut budget), TURN_MAX);
        budget.begin_turn();
        budget.begin_poll();
        budget.spend();
        budget.begin_poll();
        assert_eq!(spend_all(&mut budget), POLL_MAX, "what the one before left is for all");
        let mut spent = 1 + POLL_MAX;
        for _ in 0..TURN_MAX {
            budget.begin_poll();
            spent += spend_all(&mut budget);
        }
        assert_eq!(spent, TURN_MAX);
    }
}

//! How a limit is divided between the store and the nodes.
//!
//! ```text
//!   burst = what the store's bucket holds + what all nodes hold of a key before anybody asked for it
//! ```
//!
//! A node admits from what it holds, and the store's bucket, which earns the rate, fills that up again. Tokens are
//! spent at the store when they are granted, so in every window no more is admitted than all nodes held at its
//! beginning, the store's burst and what the rate gave: `burst + rate x width`. No grant is ever returned, and a node
//! that dies takes with it only what it held.

use crate::stdx::ledger::{Share, Terms};

/// Every node's share together.
pub const SHARES: u32 = 1 << 16;

/// What a node has of all shared limits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Holding {
    /// Of `SHARES`; none before the store was asked for the first time.
    pub share: u32,
    /// Nodes that there are.
    pub nodes: u32,
    /// Whether keys earn the node's share of the rate, as the store is away.
    pub is_apart: bool,
}

impl Holding {
    /// Of a limit that is counted no more: its keys earn all of the rate.
    pub const OF_NOBODY: Self = Self { share: SHARES, nodes: 1, is_apart: true };

    /// What the ledger goes by.
    pub fn of(self, terms: Terms) -> Share {
        if self.share == 0 {
            return Share::default();
        }
        let held = u64::from(self.held_by_all(terms)) * u64::from(self.share) / u64::from(SHARES);
        Share { size: (held as u32).max(1), pace: if self.is_apart { self.share } else { 0 } }
    }

    /// What the bucket at the store may hold.
    pub fn store_size(self, terms: Terms) -> u32 {
        (terms.burst - self.held_by_all(terms)).max(1)
    }

    /// Half of it, or more if that is not a token for each node.
    fn held_by_all(self, terms: Terms) -> u32 {
        (terms.burst / 2).max(self.nodes).min(terms.burst - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::ledger::Algorithm;
    use std::time::Duration;

    /// What each of so many nodes holds, and the store.
    #[track_caller]
    fn check(burst: u32, nodes: u32, want: (u32, u32)) {
        let terms = Terms { algorithm: Algorithm::TokenBucket, count: 1, period: Duration::from_secs(1), burst };
        let holding = Holding { share: SHARES / nodes, nodes, is_apart: false };
        let (held, stored) = (holding.of(terms).size, holding.store_size(terms));
        assert_eq!((held, stored), want, "{burst} of {nodes} nodes");
        assert!(held * nodes + stored <= burst.max(nodes + 1), "{burst} of {nodes} nodes");
    }

    #[test]
    fn a_burst_is_divided_and_never_more_than_itself_or_a_token_for_each() {
        check(100, 1, (50, 50));
        check(100, 3, (16, 50));
        check(100_000, 2, (25_000, 50_000));
        check(10, 8, (1, 2));
        check(3, 2, (1, 1));
        check(2, 1, (1, 1));
        check(1, 1, (1, 1));
        check(1, 5, (1, 1));
    }

    #[test]
    fn without_a_share_nothing_is_held() {
        let terms = Terms { algorithm: Algorithm::TokenBucket, count: 9, period: Duration::from_secs(1), burst: 9 };
        assert_eq!(Holding::default().of(terms), Share::default());
        let apart = Holding { share: SHARES / 3, nodes: 3, is_apart: true };
        assert_eq!(apart.of(terms).pace, SHARES / 3);
    }
}

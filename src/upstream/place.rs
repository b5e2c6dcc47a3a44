//! A place among the connections that a service may have, counted for the whole node.

use super::service::Service;
use crate::stdx::board::Board;
use std::sync::Arc;

/// Held by a connection for its life; dropping it gives it back. Nothing is counted for a service without a bound.
pub struct Place(Option<(Arc<Board>, u32)>);

impl Place {
    /// `None` if the service has as many connections as it may.
    pub fn take(board: &Arc<Board>, service: &Service) -> Option<Self> {
        let Some(max) = service.pool.connections_max else { return Some(Self(None)) };
        let entered = board.connections_per_service.enter(service.id.into(), max);
        entered.then(|| Self(Some((board.clone(), service.id))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((board, service)) = self.0.take() {
            board.connections_per_service.leave(service.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::service::{PoolLimits, Retry, Timeouts};

    fn service(connections_max: Option<usize>) -> Service {
        Service {
            id: 7,
            name: "a".to_owned(),
            endpoints: Vec::new(),
            timeouts: Timeouts::default(),
            pool: PoolLimits { connections_max, ..PoolLimits::default() },
            retry: Retry::default(),
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_has_gone() {
        let board = Arc::new(Board::new(2, 1, 8));
        let bounded = service(Some(2));
        let mut held: Vec<_> = (0..2).map(|_| Place::take(&board, &bounded).expect("a free place")).collect();
        assert!(Place::take(&board, &bounded).is_none());
        held.pop();
        assert!(Place::take(&board, &bounded).is_some());
        held.clear();
        assert_eq!(board.connections_per_service.count(7), 0);
    }

    #[test]
    fn a_bound_that_comes_later_counts_only_who_came_under_it() {
        let board = Arc::new(Board::new(1, 1, 8));
        let before = Place::take(&board, &service(None)).expect("no bound");
        let after = Place::take(&board, &service(Some(1))).expect("a free place");
        drop(before);
        assert_eq!(board.connections_per_service.count(7), 1);
        drop(after);
        assert_eq!(board.connections_per_service.count(7), 0);
    }
}

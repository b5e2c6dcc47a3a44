//! Which endpoint is asked next: round robin.

use super::service::Service;

/// One shard's turn at each service.
#[derive(Debug, Default)]
pub struct Balancer {
    /// By the service's id.
    turns: Vec<u32>,
}

impl Balancer {
    /// The index of the endpoint whose turn it is.
    pub fn pick(&mut self, service: &Service) -> usize {
        let id = service.id as usize;
        if self.turns.len() <= id {
            self.turns.resize(id + 1, 0);
        }
        let turn = &mut self.turns[id];
        // An endpoint may have gone since; the order then begins anew.
        let picked = *turn as usize % service.endpoints.len();
        *turn = if picked + 1 == service.endpoints.len() { 0 } else { picked as u32 + 1 };
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::service::{Endpoint, PoolLimits, Retry, Timeouts};

    fn service(id: u32, endpoints: usize) -> Service {
        let endpoint = Endpoint { address: "127.0.0.1:1".parse().unwrap(), name: "one".to_owned() };
        Service {
            id,
            name: "service".to_owned(),
            endpoints: vec![endpoint; endpoints],
            timeouts: Timeouts::default(),
            pool: PoolLimits::default(),
            retry: Retry::default(),
        }
    }

    #[test]
    fn every_service_goes_round_on_its_own() {
        let (mut balancer, a, b) = (Balancer::default(), service(4, 3), service(1, 2));
        let picks: Vec<_> = (0..4).map(|_| (balancer.pick(&a), balancer.pick(&b))).collect();
        assert_eq!(picks, [(0, 0), (1, 1), (2, 0), (0, 1)]);
    }

    #[test]
    fn an_endpoint_that_went_away_is_not_picked() {
        let mut balancer = Balancer::default();
        balancer.pick(&service(0, 3));
        balancer.pick(&service(0, 3));
        assert_eq!((balancer.pick(&service(0, 1)), balancer.pick(&service(0, 1))), (0, 0));
    }
}

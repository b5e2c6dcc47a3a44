//! Which endpoint is asked next: round robin.

use super::service::Service;
use crate::stdx::hash::FixedMap;
use std::sync::Arc;

/// One shard's turn at each service.
#[derive(Debug, Default)]
pub struct Balancer {
    /// By the service's id.
    turns: FixedMap<u32, u32>,
}

impl Balancer {
    /// The index of the endpoint whose turn it is.
    pub fn pick(&mut self, service: &Service) -> usize {
        if service.endpoints.len() == 1 {
            return 0;
        }
        let turn = self.turns.entry(service.id).or_default();
        // An endpoint may have gone since; the order then begins anew.
        let picked = *turn as usize % service.endpoints.len();
        *turn = Self::behind(service, picked) as u32;
        picked
    }

    /// The endpoint that is asked in place of this one. Its own turn is yet to come: were it spent, one that is dead of
    /// two would have every turn.
    pub fn behind(service: &Service, endpoint: usize) -> usize {
        if endpoint + 1 == service.endpoints.len() { 0 } else { endpoint + 1 }
    }

    /// These are the services now. Ids never come back, so those of earlier ones are forgotten, once they are the most
    /// of what is here: then the work is in proportion to what came and went.
    pub fn retain(&mut self, services: &[Arc<Service>]) {
        if self.turns.len() > 2 * services.len() {
            let turns = services.iter().filter_map(|service| Some((service.id, *self.turns.get(&service.id)?)));
            self.turns = turns.collect();
        }
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
    fn who_is_asked_in_place_of_another_keeps_his_turn() {
        let (mut balancer, service) = (Balancer::default(), service(0, 3));
        let picks: Vec<_> =
            (0..4).map(|_| balancer.pick(&service)).map(|it| (it, Balancer::behind(&service, it))).collect();
        assert_eq!(picks, [(0, 1), (1, 2), (2, 0), (0, 1)]);
    }

    #[test]
    fn services_that_come_and_go_leave_nothing() {
        let (mut balancer, stays) = (Balancer::default(), Arc::new(service(0, 2)));
        for id in 1..1_000 {
            let comes = Arc::new(service(id, 2));
            balancer.retain(&[stays.clone(), comes.clone()]);
            assert_eq!((balancer.pick(&stays), balancer.pick(&comes)), ((id as usize + 1) % 2, 0));
            assert!(balancer.turns.len() <= 5);
        }
    }

    #[test]
    fn an_endpoint_that_went_away_is_not_picked() {
        let mut balancer = Balancer::default();
        balancer.pick(&service(0, 3));
        balancer.pick(&service(0, 3));
        assert_eq!((balancer.pick(&service(0, 1)), balancer.pick(&service(0, 1))), (0, 0));
    }
}

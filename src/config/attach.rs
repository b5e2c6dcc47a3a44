//! Which policies each request meets: those attached to everything, to its service and to its route, together.

use std::sync::Arc;

use super::ir::{Ir, Listener};
use crate::policy::{Chain, Order, Policy, Scope, Slot};
use crate::stdx::hash::FixedMap;

/// Every policy with what it was attached to, as `plan` names it.
pub(super) fn all(ir: &Ir) -> Vec<(String, Arc<Policy>)> {
    let mut all = Vec::new();
    let mut add = |owner: &str, policies: &[Arc<Policy>]| {
        all.extend(policies.iter().map(|policy| (format!("{} of {owner}", policy.kind().name()), policy.clone())));
    };
    add("every request", &ir.policies);
    ir.listeners.iter().for_each(|listener| add(&format!("listener {}", listener.name.text), &listener.policies));
    ir.services.iter().for_each(|service| add(&format!("service {}", service.name.text), &service.policies));
    ir.routes.iter().for_each(|route| add(&format!("route {}", route.name.text), &route.policies));
    all
}

/// What requests meet that come in at the listener.
pub(super) fn gate(listener: &Listener, order: &Order) -> Option<Arc<Chain>> {
    Chain::of(slots(Scope::Listener, &listener.policies), order).map(Arc::new)
}

/// What requests meet for which there is no route.
pub(super) fn unrouted(ir: &Ir) -> Option<Arc<Chain>> {
    Chain::of(slots(Scope::Global, &ir.policies), &ir.order).map(Arc::new)
}

/// What the requests of each route meet. Routes without policies of their own share the chain of their service.
pub(super) fn chains(ir: &Ir, services: &FixedMap<String, u32>) -> Vec<Option<Arc<Chain>>> {
    let of_service = |service: u32| {
        let service = ir.services.get(service as usize);
        let own = slots(Scope::Service, service.map_or(&[], |service| &service.policies));
        slots(Scope::Global, &ir.policies).chain(own)
    };
    let mut shared: FixedMap<u32, Option<Arc<Chain>>> = FixedMap::default();
    let chains = ir.routes.iter().map(|route| {
        // A service that does not exist is a problem that has been reported.
        let service = services.get(&route.service.text).copied().unwrap_or(u32::MAX);
        if route.policies.is_empty() {
            let chain = || Chain::of(of_service(service), &ir.order).map(Arc::new);
            return shared.entry(service).or_insert_with(chain).clone();
        }
        Chain::of(of_service(service).chain(slots(Scope::Route, &route.policies)), &ir.order).map(Arc::new)
    });
    chains.collect()
}

fn slots(scope: Scope, policies: &[Arc<Policy>]) -> impl Iterator<Item = Slot> {
    policies.iter().map(move |policy| Slot { policy: policy.clone(), scope })
}

//! Which policies each request meets: those attached to everything, to its service and to its route, together.

use std::sync::Arc;

use super::ir::{Action, Ir, Listener, Name};
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

/// What the requests of each route meet, by the service that they come to. Routes without policies of their own share
/// the chain of their service.
pub(super) fn chains(ir: &Ir, services: &FixedMap<String, u32>) -> Vec<Box<[Option<Arc<Chain>>]>> {
    let mut shared: FixedMap<u32, Option<Arc<Chain>>> = FixedMap::default();
    let mut chain = |service: u32, of_route: &[Arc<Policy>]| {
        let of_service = ir.services.get(service as usize).map_or(&[][..], |service| &service.policies);
        let slots = slots(Scope::Global, &ir.policies).chain(slots(Scope::Service, of_service));
        if of_route.is_empty() {
            let chain = || Chain::of(slots, &ir.order).map(Arc::new);
            return shared.entry(service).or_insert_with(chain).clone();
        }
        Chain::of(slots.chain(self::slots(Scope::Route, of_route)), &ir.order).map(Arc::new)
    };
    // A service that does not exist is a problem that has been reported.
    let place = |name: &Name| services.get(&name.text).copied().unwrap_or(NO_SERVICE);
    let chains = ir.routes.iter().map(|route| match &route.action {
        Action::Service(name) => [chain(place(name), &route.policies)].into(),
        Action::Split { arms, .. } => arms.iter().map(|arm| chain(place(&arm.service), &route.policies)).collect(),
        Action::Redirect(_) | Action::Respond(_) | Action::Nothing => [chain(NO_SERVICE, &route.policies)].into(),
    });
    chains.collect()
}

fn slots(scope: Scope, policies: &[Arc<Policy>]) -> impl Iterator<Item = Slot> {
    policies.iter().map(move |policy| Slot { policy: policy.clone(), scope })
}

/// Stands for that of routes which lead to none.
const NO_SERVICE: u32 = u32::MAX;

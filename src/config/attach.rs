//! Which policies each request meets: those attached to everything, to its service and to its route, together.

use std::sync::Arc;

use super::ir::{Action, Ir, Listener, Name};
use crate::http::view::ArgumentName;
use crate::policy::{ByKind, Chain, Consumers, Kind, Order, Override, Overrides, Policy, Scope, Slot};
use crate::route::Sticky;
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
    ir.groups.iter().for_each(|group| add(&format!("group {}", group.name.text), &group.policies));
    ir.consumers.iter().for_each(|consumer| add(&format!("consumer {}", consumer.name.text), &consumer.policies));
    all
}

/// In which arguments of a query any of them looks for credentials.
pub(super) fn secret_arguments(all: &[(String, Arc<Policy>)]) -> Vec<ArgumentName> {
    let mut names: Vec<ArgumentName> = Vec::new();
    for name in all.iter().flat_map(|(_, policy)| policy.secret_arguments()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// What requests meet that come in at the listener.
pub(super) fn gate(listener: &Listener, order: &Order) -> Option<Arc<Chain>> {
    Chain::new(slots(Scope::Listener, &listener.policies), order, &[]).map(Arc::new)
}

/// What requests meet for which there is no route.
pub(super) fn unrouted(ir: &Ir, known: &Known) -> Option<Arc<Chain>> {
    chain(slots(Scope::Global, &ir.policies), ir, known)
}

/// What consumers have in the place of everybody's policies, if it may be known who asks.
pub(super) struct Known {
    overrides: ByKind,
    /// A listener finds out.
    pub always: bool,
}

/// Chooses by the ids that the table of consumers has.
pub(super) fn known(ir: &Ir, consumers: &Consumers) -> Known {
    let of_consumers = ir.consumers.iter().filter_map(|consumer| {
        let id = consumers.find(&consumer.name.text)?.id();
        Some((id, &consumer.name.text, &consumer.policies))
    });
    let of_groups = ir.groups.iter().filter_map(|group| {
        let id = consumers.group(&group.name.text)?;
        Some((id, &group.name.text, &group.policies))
    });
    let (of_consumers, of_groups) = (by_kind(of_consumers), by_kind(of_groups));
    let overrides = Kind::ALL.iter().filter_map(|kind| {
        let of = |all: &[(Kind, Override)]| {
            all.iter().filter(|(other, _)| other == kind).map(|(_, it)| it.clone()).collect::<Vec<_>>()
        };
        let (consumers, groups) = (of(&of_consumers), of(&of_groups));
        let is_none = consumers.is_empty() && groups.is_empty();
        (!is_none).then(|| (*kind, Arc::new(Overrides::new(consumers, groups))))
    });
    let mut listeners = ir.listeners.iter().flat_map(|listener| &listener.policies);
    Known { overrides: overrides.collect(), always: listeners.any(|policy| policy.kind().authenticates()) }
}

fn by_kind<'a>(all: impl Iterator<Item = (u32, &'a String, &'a Vec<Arc<Policy>>)>) -> Vec<(Kind, Override)> {
    let of_one = |(id, name, policies): (u32, &'a String, &'a Vec<Arc<Policy>>)| {
        let it = move |policy: &Arc<Policy>| Override { id, name: name.clone(), policy: policy.clone() };
        policies.iter().map(move |policy| (policy.kind(), it(policy)))
    };
    all.flat_map(of_one).collect()
}

/// Where nobody finds out who asks, nobody has policies of its own.
fn chain(slots: impl Iterator<Item = Slot>, ir: &Ir, known: &Known) -> Option<Arc<Chain>> {
    let slots: Vec<Slot> = slots.collect();
    let is_known = known.always || slots.iter().any(|slot| slot.kind.authenticates());
    let overrides = if is_known { &known.overrides[..] } else { &[] };
    Chain::new(slots, &ir.order, overrides).map(Arc::new)
}

/// What the requests of each route meet, by the service that they come to. Routes without policies of their own share
/// the chain of their service.
pub(super) fn chains(ir: &Ir, services: &FixedMap<String, u32>, known: &Known) -> Vec<Box<[Option<Arc<Chain>>]>> {
    let mut shared: FixedMap<u32, Option<Arc<Chain>>> = FixedMap::default();
    let mut met = |service: u32, of_route: &[Arc<Policy>]| {
        let of_service = ir.services.get(service as usize).map_or(&[][..], |service| &service.policies);
        let slots = slots(Scope::Global, &ir.policies).chain(slots(Scope::Service, of_service));
        if of_route.is_empty() {
            return shared.entry(service).or_insert_with(|| chain(slots, ir, known)).clone();
        }
        chain(slots.chain(self::slots(Scope::Route, of_route)), ir, known)
    };
    // A service that does not exist is a problem that has been reported.
    let place = |name: &Name| services.get(&name.text).copied().unwrap_or(NO_SERVICE);
    let chains = ir.routes.iter().map(|route| match &route.action {
        Action::Service(name) => [met(place(name), &route.policies)].into(),
        Action::Split { arms, sticky } => {
            let waits = *sticky == Sticky::Consumer || arms.iter().any(|arm| arm.forced_by_group.is_some());
            let places = arms.iter().map(|arm| place(&arm.service));
            // Whoever is refused before an arm is chosen meets none of any service.
            places.chain(waits.then_some(NO_SERVICE)).map(|place| met(place, &route.policies)).collect()
        }
        Action::Redirect(_) | Action::Respond(_) | Action::Nothing => [met(NO_SERVICE, &route.policies)].into(),
    });
    chains.collect()
}

fn slots(scope: Scope, policies: &[Arc<Policy>]) -> impl Iterator<Item = Slot> {
    policies.iter().map(move |policy| Slot::new(policy.clone(), scope))
}

/// Stands for that of routes which lead to none.
const NO_SERVICE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_text;
    use crate::config::snapshot::Snapshot;
    use crate::policy::{Chain, Kind};

    const FILE: &str = "version: 1
listeners: [{ name: a, address: \"127.0.0.1:1\" }]
services: [{ name: s, endpoints: [\"127.0.0.1:2\"] }]
api_keys: { pepper_file: config/example.pepper }
consumer_groups:
  - { name: gold, policies: [{ rate_limit: { requests_per_second: 100 } }] }
consumers:
  - { name: ann, groups: [gold], policies: [{ rate_limit: { requests_per_second: 1000 } }] }
  - { name: bob, policies: [{ ip_filter: { deny: [10.0.0.0/8] } }] }
routes:
  - name: keyed
    paths: [/keyed]
    service: s
    policies: [{ api_key: {} }, { rate_limit: { requests_per_second: 1 } }]
  - { name: open, paths: [/open], service: s }
";

    fn load(text: &str) -> Result<Snapshot, String> {
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let loaded = load_text("f.yaml", text, &mut Ids::default(), &resolve);
        loaded.map_err(|problems| problems.list.iter().map(|problem| format!("{problem}\n")).collect())
    }

    fn kinds(chain: &Chain) -> Vec<(Kind, usize, usize)> {
        let count = |slot: &crate::policy::Slot| {
            let overrides = slot.overrides.as_ref();
            overrides.map_or((0, 0), |overrides| (overrides.consumers().count(), overrides.groups().count()))
        };
        chain.slots().iter().map(|slot| (slot.kind, count(slot).0, count(slot).1)).collect()
    }

    #[test]
    fn consumers_have_policies_of_their_own_where_it_is_known_who_asks() {
        let snapshot = load(FILE).unwrap();
        let chains = &snapshot.plan.chains;
        let keyed = [(Kind::ApiKey, 0, 0), (Kind::IpFilter, 1, 0), (Kind::RateLimit, 1, 1)];
        assert_eq!(kinds(chains[0][0].as_ref().unwrap()), keyed);
        assert!(chains[1][0].is_none() && snapshot.plan.settings.chain.is_none());
        let counts: Vec<u32> = snapshot.plan.limits.iter().map(|(_, terms)| terms.count).collect();
        assert_eq!(counts, [1, 100, 1000], "each has its place in the ledger");
        let names: Vec<&str> = snapshot.attached.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            names.contains(&"rate_limit of consumer ann") && names.contains(&"rate_limit of group gold"),
            "{names:?}"
        );
        let listening = FILE.replace("127.0.0.1:1\" }", "127.0.0.1:1\", policies: [{ api_key: {} }] }");
        let snapshot = load(&listening.replace("[{ api_key: {} }, { rate", "[{ rate")).unwrap();
        let all = [(Kind::IpFilter, 1, 0), (Kind::RateLimit, 1, 1)];
        assert_eq!(kinds(snapshot.plan.chains[1][0].as_ref().unwrap()), all);
        assert_eq!(kinds(snapshot.plan.settings.chain.as_ref().unwrap()), all);
        assert_eq!(kinds(snapshot.plan.settings.gates[0].chain.as_ref().unwrap()), [(Kind::ApiKey, 0, 0)]);
    }

    #[test]
    fn a_split_by_who_asks_needs_somebody_who_finds_out_and_nothing_that_differs_before() {
        let split = |more: &str, policies: &str| {
            let arms = "{ service: s, percent: 50 }, { service: t, percent: 50 }";
            let route = format!("split: {{ arms: [{arms}], sticky_by: consumer }}\n    policies: [{policies}]");
            let text =
                FILE.replace("services: [", &format!("services: [{{ name: t, endpoints: [\"127.0.0.1:3\"]{more} }}, "));
            let from = text.find("service: s\n").expect("the route's");
            let to = text.find("  - { name: open").expect("the next route");
            load(&format!("{}{route}\n{}", &text[..from], &text[to..])).map(|snapshot| {
                let chain = snapshot.plan.chains[0][0].as_ref().expect("it has policies").divided();
                chain.map(|chain| chain.map_or(0, |chain| chain.slots().len()))
            })
        };
        assert_eq!(split("", "{ api_key: {} }, { cors: { origins: [\"https://a\"] } }"), Ok([2, 2]));
        assert_eq!(split(", policies: [{ ip_filter: { deny: [10.0.0.0/8] } }]", "{ api_key: {} }"), Ok([1, 2]));
        assert_eq!(
            split("", "").unwrap_err(),
            "f.yaml:11:11: route `keyed` splits by who asks, and nothing finds that out: attach `api_key` or another \
             policy that does\n"
        );
        assert_eq!(
            split(", policies: [{ cors: { origins: [\"https://a\"] } }]", "{ api_key: {} }").unwrap_err(),
            "f.yaml:11:11: the services of route `keyed` differ in what runs until it is known who asks: attach those \
             policies to the route: its split is not decided before\n"
        );
    }

    #[test]
    fn a_policy_that_runs_before_it_is_known_who_asks_is_nobodys_own() {
        #[track_caller]
        fn check(old: &str, new: &str, want: &str) {
            assert_eq!(load(&FILE.replace(old, new)).map(|_| ()).unwrap_err(), want);
        }
        let filter = "ip_filter: { deny: [10.0.0.0/8] }";
        check(
            filter,
            "request_id: { echo_downstream: true }",
            "f.yaml:9:29: `request_id` runs before `jwt`, when nobody knows who asks: attach it to a route, a service \
             or the whole file, or change the order by `policy_order`\n",
        );
        check(
            filter,
            "api_key: {}",
            "f.yaml:9:29: `api_key` finds out who asks, and here that is known: attach it to a route, a service or the \
             whole file\n",
        );
        check(
            "version: 1\n",
            "version: 1\npolicy_order: [anonymous, jwt]\n",
            "f.yaml:2:15: `anonymous` before `jwt`, which nobody would need any more: name `jwt` before it\n",
        );
        check(
            "{ api_key: {} }",
            "{ api_key: {} }, { anonymous: { consumer: anne } }",
            "f.yaml: anonymous of route keyed names the consumer `anne`, which there is not: did you mean `ann`?\n",
        );
    }
}

//! [`Ir`] to [`Snapshot`]: names become indices and ids, endpoints become addresses, rules become a table.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::addresses;
use super::attach;
use super::consumers;
use super::ids::{Ids, Limits, Names};
use super::ir::{self, Ir, Name};
use super::limits;
use super::permissions;
use super::problem::{Origin, Problem};
use super::snapshot::{Listener, Snapshot};
use super::suggest::nearest;
use crate::policy::consumers::{Consumer, Consumers};
use crate::policy::{Chain, NAMES_MAX, Policy, Role, Unusable};
use crate::proxy::{Gate, OwnLimits, Plan, Settings, SharedLimits};
use crate::route::{Action, Arm, Group, Route, Split, Table};
use crate::stdx::hash::{FixedMap, stable};
use crate::stdx::ledger::LIMITS_MAX;
use crate::upstream::service::{Endpoint, Service};

/// Looks up `host:port`. Blocks, so it is called by the control thread or at the start only.
pub type Resolve<'a> = &'a dyn Fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Adds what is wrong to `problems`; with any, the result must not be used.
pub fn compile(mut ir: Ir, ids: &mut Ids, resolve: Resolve<'_>, problems: &mut Vec<Problem>) -> Snapshot {
    let mut compile = Compile { resolve, problems };
    let services_by_name = compile.unique("service", ir.services.iter().map(|service| &service.name));
    compile.unique("route", ir.routes.iter().map(|route| &route.name));
    compile.unique("listener", ir.listeners.iter().map(|listener| &listener.name));
    compile.unique("consumer", ir.consumers.iter().map(|consumer| &consumer.name));
    compile.unique("group", ir.groups.iter().map(|group| &group.name));
    compile.problems.extend(addresses::taken_twice(&ir));

    let consumers = Arc::new(consumers::compile(&mut ir, ids, compile.problems));
    let attached = attach::all(&ir);
    let known = attach::known(&ir, &consumers);
    let whole = ir.listeners.first().map(|first| Origin { line: 0, ..first.name.origin.clone() });
    let (limits, shared) = compile.limits(&attached, &mut ids.limits, whole.clone());
    let roles = compile.vocabulary(&attached, std::mem::take(&mut ir.roles), whole.clone());
    compile.nobodies(&attached, &consumers, whole);
    let gates: Vec<_> = ir.listeners.iter().map(|listener| attach::gate(listener, &ir.order)).collect();
    let chains = attach::chains(&ir, &services_by_name, &known);
    let chain = attach::unrouted(&ir, &known);
    let met = Met { listeners: &ir.listeners, gates: &gates, routes: &ir.routes, chains: &chains };
    compile.unidentified(met);
    compile.twice_identified(met);
    compile.rivals(met);
    let gated = ir.listeners.iter().zip(&gates);
    let unknowable = gated.filter_map(|(listener, gate)| limits::unknowable(listener, gate.as_deref()?));
    compile.problems.extend(unknowable);
    let listeners = compile.listeners(ir.listeners, &mut ids.listeners);
    let gate = |(listener, chain): (&Listener, _)| Gate { entrance: listener.entrance(), chain };
    let gates = listeners.iter().zip(gates).map(gate).collect();
    let services = compile.services(ir.services, &mut ids.services);
    let names: Vec<Name> = ir.routes.iter().map(|route| route.name.clone()).collect();
    let routes = compile.routes(ir.routes, &services_by_name, &consumers, &mut ids.routes);
    compile.undecided(&names, &routes, &chains, known.always);
    let settings = Settings {
        limits: ir.limits,
        trust: ir.trust,
        http: ir.http,
        access_log: ir.access_log,
        bypass_local: ir.bypass_local,
        gates,
        chain,
        consumers,
        secret_arguments: attach::secret_arguments(&attached),
    };
    let plan = Plan { services, table: Table::compile(&routes), routes, chains, limits, shared, settings };
    Snapshot {
        listeners,
        plan: Arc::new(plan),
        attached,
        order: ir.order,
        roles,
        log_level: ir.log_level,
        store: ir.store,
        admin: ir.admin,
        runtime: ir.runtime,
        shutdown_delay: ir.shutdown_delay,
        drain_timeout: ir.drain_timeout,
    }
}

/// Which policies requests meet: those of a listener, then those of a route, with one chain an arm.
#[derive(Clone, Copy)]
struct Met<'a> {
    listeners: &'a [ir::Listener],
    gates: &'a [Option<Arc<Chain>>],
    routes: &'a [ir::Route],
    chains: &'a [Box<[Option<Arc<Chain>>]>],
}

struct Compile<'a> {
    resolve: Resolve<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Compile<'_> {
    /// The place of each name; of one that is given twice, the first.
    fn unique<'n>(&mut self, kind: &str, names: impl Iterator<Item = &'n Name>) -> FixedMap<String, u32> {
        let mut places = FixedMap::default();
        let mut firsts: FixedMap<&str, &Name> = FixedMap::default();
        for (place, name) in (0..).zip(names) {
            if let Some(first) = firsts.get(name.text.as_str()) {
                let what = format!("{kind} `{}` is there already, at {}", name.text, first.origin);
                self.problems.push(Problem::new(&name.origin, what, "give it another name"));
                continue;
            }
            firsts.insert(&name.text, name);
            places.insert(name.text.clone(), place);
        }
        places
    }

    /// Gives every rate limit its number; those that nodes share are apart, each with what all of them know it by.
    fn limits(
        &mut self,
        attached: &[(String, Arc<Policy>)],
        ids: &mut Limits,
        whole: Option<Origin>,
    ) -> (OwnLimits, SharedLimits) {
        let limits = limits::named(attached);
        let Some(numbers) = ids.assign(limits.iter().map(|(name, limit)| (name.clone(), limit.terms))) else {
            let what = format!("more than {LIMITS_MAX} rate limits since the gateway began");
            problems_of(whole, what, "restart it", self.problems);
            return (Vec::new(), Vec::new());
        };
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        for ((name, limit), number) in limits.iter().zip(numbers) {
            limit.give_number(number);
            if limit.is_shared {
                shared.push((number, stable(0, name.as_bytes()), limit.terms));
            } else {
                own.push((number, limit.terms));
            }
        }
        (own, shared)
    }

    /// An `anonymous` names somebody.
    fn nobodies(&mut self, attached: &[(String, Arc<Policy>)], consumers: &Consumers, whole: Option<Origin>) {
        for (owner, policy) in attached {
            let Policy::Anonymous(policy) = &**policy else { continue };
            let name = policy.consumer();
            if let (None, Some(whole)) = (consumers.find(name), &whole) {
                let what = format!("{owner} names the consumer `{}`, which there is not", name.escape_debug());
                let help = match nearest(name, consumers.iter().map(Consumer::name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it to `consumers`".to_owned(),
                };
                self.problems.push(Problem::new(whole, what, help));
            }
        }
    }

    /// Gives every `authorize` what its roles and scopes mean.
    fn vocabulary(
        &mut self,
        attached: &[(String, Arc<Policy>)],
        roles: Vec<(Name, Role)>,
        whole: Option<Origin>,
    ) -> BTreeMap<String, Role> {
        let origins: Vec<Name> = roles.iter().map(|(name, _)| name.clone()).collect();
        let roles = roles.into_iter().map(|(name, role)| (name.text, role)).collect();
        let problem = match permissions::give(attached, &roles) {
            Ok(()) => None,
            Err(Unusable::TooManyNames) => {
                let what = format!("more than {NAMES_MAX} roles and scopes that `authorize` asks for");
                whole.map(|whole| Problem::new(&whole, what, "leave some out"))
            }
            Err(Unusable::Cycle(role)) => {
                let origin = origins.iter().find(|name| name.text == role).map(|name| &name.origin);
                let what = format!("role `{role}` has no end: it includes itself, or one that does");
                origin.map(|origin| Problem::new(origin, what, "take one of `includes` away"))
            }
        };
        self.problems.extend(problem);
        roles
    }

    /// An `authorize` that nobody could ever pass is a mistake.
    fn unidentified(&mut self, Met { listeners, gates, routes, chains }: Met<'_>) {
        // A policy that could not be read may be the one that is missing.
        if !self.problems.is_empty() {
            return;
        }
        let names = listeners.iter().map(|listener| ("listener", &listener.name));
        let names = names.chain(routes.iter().map(|route| ("route", &route.name)));
        for ((what, name), is_closed) in names.zip(permissions::closed(gates, chains)) {
            if is_closed {
                let what =
                    format!("{what} `{}` has `authorize`, and nothing before that finds out who asks", name.text);
                let help = "add `jwt` or another policy that does, or put it before `authorize` in `policy_order`";
                self.problems.push(Problem::new(&name.origin, what, help));
            }
        }
    }

    /// Who asks is found out in one place.
    fn twice_identified(&mut self, Met { listeners, gates, routes, chains }: Met<'_>) {
        if let Some([(listener, at_listener), (route, at_route)]) = permissions::twice(gates, chains) {
            let (listener, route) = (&listeners[listener].name.text, &routes[route].name);
            let (first, second) = (at_listener.name(), at_route.name());
            let what = format!(
                "route `{}` finds out who asks by `{second}`, and listener `{listener}` by `{first}`",
                route.text
            );
            let help = "attach both to the listener, or both to routes, services or the whole file";
            self.problems.push(Problem::new(&route.origin, what, help));
        }
    }

    /// Nobody gets in where a key is taken for a token.
    fn rivals(&mut self, Met { listeners, gates, routes, chains }: Met<'_>) {
        let of_gates = gates.iter().zip(listeners);
        let of_gates = of_gates.map(|(gate, listener)| ("listener", &listener.name, std::slice::from_ref(gate)));
        let of_routes = chains.iter().zip(routes).map(|(arms, route)| ("route", &route.name, &**arms));
        for (what, name, chains) in of_gates.chain(of_routes) {
            let rivals = chains.iter().flatten().find_map(|chain| permissions::rivals(chain));
            let Some([first, second]) = rivals else { continue };
            let (first, second) = (first.name(), second.name());
            let what = format!("{what} `{}` looks for `{first}` and `{second}` in the same place", name.text);
            self.problems.push(Problem::new(&name.origin, what, "give one of them other `places`"));
        }
    }

    fn listeners(&self, listeners: Vec<ir::Listener>, ids: &mut Names) -> Vec<Listener> {
        let ids = ids.assign(listeners.iter().map(|listener| listener.name.text.as_str()));
        let compiled = ids.into_iter().zip(listeners).map(|(id, listener)| Listener {
            id,
            name: listener.name.text,
            address: listener.address,
            proxies: listener.proxies.into(),
        });
        compiled.collect()
    }

    fn services(&mut self, services: Vec<ir::Service>, ids: &mut Names) -> Vec<Arc<Service>> {
        let ids = ids.assign(services.iter().map(|service| service.name.text.as_str()));
        let compiled = ids.into_iter().zip(services).map(|(id, service)| {
            Arc::new(Service {
                id,
                endpoints: service.endpoints.iter().flat_map(|endpoint| self.endpoints(endpoint)).collect(),
                name: service.name.text,
                timeouts: service.timeouts,
                pool: service.pool,
                retry: service.retry,
            })
        });
        compiled.collect()
    }

    /// A name's addresses of one family, IPv4 when it has any: a name that has both, such as `localhost`, often has a
    /// server on only one, and nearly always on that one.
    fn endpoints(&mut self, endpoint: &Name) -> Vec<Endpoint> {
        let name = &endpoint.text;
        let mut addresses = match (self.resolve)(name) {
            Ok(addresses) => addresses,
            Err(error) => {
                let what = format!("endpoint `{name}` is not found ({error})");
                self.problems.push(Problem::new(&endpoint.origin, what, "correct the name, or write an IP address"));
                return Vec::new();
            }
        };
        if addresses.is_empty() {
            let what = format!("endpoint `{name}` has no address");
            self.problems.push(Problem::new(&endpoint.origin, what, "correct the name, or write an IP address"));
        }
        if addresses.iter().any(SocketAddr::is_ipv4) {
            addresses.retain(SocketAddr::is_ipv4);
        }
        addresses.sort();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        addresses.into_iter().map(|address| Endpoint { address, name: name.clone() }).collect()
    }

    fn routes(
        &mut self,
        routes: Vec<ir::Route>,
        services: &FixedMap<String, u32>,
        consumers: &Consumers,
        ids: &mut Names,
    ) -> Vec<Arc<Route>> {
        let ids = ids.assign(routes.iter().map(|route| route.name.text.as_str()));
        let compiled = ids.into_iter().zip(routes).map(|(id, route)| {
            Arc::new(Route {
                id,
                action: self.action(&route.name.text, route.action, services, consumers),
                name: route.name.text,
                rewrite: route.rewrite.map(Box::new),
                rules: route.rules,
                priority: route.priority,
                preserve_host: route.preserve_host,
                websocket: route.websocket,
                body_bytes_max: route.body_bytes_max,
            })
        });
        compiled.collect()
    }

    fn action(
        &mut self,
        route: &str,
        action: ir::Action,
        services: &FixedMap<String, u32>,
        consumers: &Consumers,
    ) -> Action {
        match action {
            ir::Action::Service(name) => Action::Service(self.service(&name, services)),
            ir::Action::Split { arms, sticky } => {
                let arms = arms.into_iter().map(|arm| Arm {
                    service: self.service(&arm.service, services),
                    share: arm.share,
                    forced_by: arm.forced_by,
                    forced_by_group: arm.forced_by_group.and_then(|name| self.group(&name, consumers)),
                });
                Action::Split(Box::new(Split { arms: arms.collect(), sticky, seed: stable(0, route.as_bytes()) }))
            }
            ir::Action::Redirect(redirect) => Action::Redirect(Box::new(redirect)),
            ir::Action::Respond(respond) => Action::Respond(Box::new(respond)),
            ir::Action::Nothing => Action::Service(UNKNOWN),
        }
    }

    fn group(&mut self, name: &Name, consumers: &Consumers) -> Option<Group> {
        let id = consumers.group(&name.text);
        if id.is_none() {
            let help = "add it to `consumer_groups`";
            self.problems.push(Problem::new(&name.origin, format!("there is no group `{}`", name.text), help));
        }
        Some(Group { id: id?, name: name.text.clone() })
    }

    /// A split that waits until it is known who asks has somebody who finds that out, and nothing depends on its arm
    /// before.
    fn undecided(&mut self, names: &[Name], routes: &[Arc<Route>], chains: &[Box<[Option<Arc<Chain>>]>], gated: bool) {
        for ((name, route), chains) in names.iter().zip(routes).zip(chains) {
            if !matches!(&route.action, Action::Split(split) if split.waits()) {
                continue;
            }
            let mut before = chains.iter().map(|chain| chain.as_ref().map_or(&[][..], |chain| chain.until_known()));
            let first = before.next().unwrap_or_default();
            if before.any(|other| other != first) {
                let what =
                    format!("the services of route `{}` differ in what runs until it is known who asks", name.text);
                let help = "attach those policies to the route: its split is not decided before";
                self.problems.push(Problem::new(&name.origin, what, help));
            } else if first.is_empty() && !gated {
                let what = format!("route `{}` splits by who asks, and nothing finds that out", name.text);
                self.problems.push(Problem::new(&name.origin, what, "attach `api_key` or another policy that does"));
            }
        }
    }

    fn service(&mut self, name: &Name, services: &FixedMap<String, u32>) -> u32 {
        if let Some(&service) = services.get(&name.text) {
            return service;
        }
        let mut known: Vec<&str> = services.keys().map(String::as_str).collect();
        known.sort_unstable();
        let help = match nearest(&name.text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to `services`".to_owned(),
        };
        self.problems.push(Problem::new(&name.origin, format!("there is no service `{}`", name.text), help));
        UNKNOWN
    }
}

/// What is wrong with the file, and not with one line of it.
fn problems_of(whole: Option<Origin>, what: impl Into<String>, help: &str, problems: &mut Vec<Problem>) {
    problems.extend(whole.map(|whole| Problem::new(&whole, what, help)));
}

/// Addresses used of one name.
const ADDRESSES_MAX: usize = 64;
/// Stands in a snapshot that is thrown away.
const UNKNOWN: u32 = u32::MAX;

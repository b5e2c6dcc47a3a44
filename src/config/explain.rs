//! Which route a request would meet, and why each nearer one does not take it. Asks what the data path asks.

use std::fmt::Write;

use super::diff::split_text;
use super::snapshot::Snapshot;
use crate::policy::{Chain, Overrides, Scope, Slot};
use crate::proxy::Plan;
use crate::route::{Action, Asked, Route, Rule, Scratch};
use crate::upstream::Service;

/// What is said of a request whose head has been read.
pub fn explain(snapshot: &Snapshot, asked: &Asked<'_>) -> String {
    let (plan, scratch) = (&snapshot.plan, &mut Scratch::default());
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a string takes all");
    say(format!("host {}", String::from_utf8_lossy(&asked.head.host)));
    say(format!("path {}", String::from_utf8_lossy(&asked.head.path)));
    for listener in &snapshot.listeners {
        if let Some(chain) = plan.settings.gate(listener.entrance()).and_then(|gate| gate.chain.as_deref()) {
            policies(chain, &format!("listener {}", listener.name), &mut say);
        }
    }
    let found = plan.table.find(asked, scratch);
    let winner = found.map(|found| plan.routes[found.route].rules[found.rule].rank);
    match found {
        Some(found) => {
            let route = &plan.routes[found.route];
            say(format!("route {}", route.name));
            say(format!("by {}", route.rules[found.rule]));
            settings(snapshot, route, &mut say);
            route_policies(plan, found.route, &mut say);
        }
        None => {
            say("no route: the answer is 404".to_owned());
            plan.settings.chain.iter().for_each(|chain| policies(chain, "", &mut say));
        }
    }
    let mut nearer: Vec<_> =
        plan.routes.iter().flat_map(|route| route.rules.iter().map(move |rule| (rule, route))).collect();
    nearer.retain(|(rule, _)| winner.is_none_or(|rank| rule.rank > rank));
    nearer.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.rank));
    let more = nearer.len().saturating_sub(NEARER_MAX);
    for (rule, route) in nearer.into_iter().take(NEARER_MAX) {
        say(format!("not {}: {}", route.name, difference(rule, asked, scratch)));
    }
    if more > 0 {
        say(format!("and {more} more that differ"));
    }
    text
}

/// Why a rule does not take the request.
fn difference(rule: &Rule, asked: &Asked<'_>, scratch: &mut Scratch) -> String {
    let host = rule.host.matches(&asked.head.host);
    match (host, rule.path.matches(&asked.head.path)) {
        (false, false) => format!("host {} and path {} differ", rule.host, rule.path),
        (false, true) => format!("host {} differs", rule.host),
        (true, false) => format!("path {} differs", rule.path),
        (true, true) => {
            let failing = rule.predicates.iter().filter(|predicate| !predicate.matches(asked, scratch));
            let failing: Vec<_> = failing.map(ToString::to_string).collect();
            format!("{} {}", failing.join(", "), if failing.len() == 1 { "differs" } else { "differ" })
        }
    }
}

fn settings(snapshot: &Snapshot, route: &Route, say: &mut impl FnMut(String)) {
    let plan = &snapshot.plan;
    match &route.action {
        Action::Service(_) => {}
        Action::Split(split) => say(format!("split {}", split_text(split, &plan.services))),
        Action::Redirect(redirect) => return say(format!("redirect {redirect}")),
        Action::Respond(respond) => return say(format!("respond {respond}")),
    }
    route.action.services().for_each(|service| self::service(&plan.services[service as usize], say));
    if let Some(rewrite) = &route.rewrite {
        say(format!("rewrite {rewrite}"));
    }
    let body = route.body_bytes_max.or(plan.settings.limits.body_bytes_max);
    say(format!("body at most: {}", body.map_or("no limit".to_owned(), |bytes| format!("{bytes} bytes"))));
    say(format!(
        "host sent on: {}",
        match &route.rewrite.as_ref().and_then(|rewrite| rewrite.host.as_ref()) {
            Some(host) => String::from_utf8_lossy(host).into_owned(),
            None if route.preserve_host => "the client's".to_owned(),
            None => "the endpoint's".to_owned(),
        }
    ));
    say(format!("websocket: {}", if route.websocket { "allowed" } else { "not allowed" }));
}

fn service(service: &Service, say: &mut impl FnMut(String)) {
    say(format!("service {}", service.name));
    for endpoint in &service.endpoints {
        say(format!("  endpoint {} ({})", endpoint.name, endpoint.address));
    }
    let timeouts = &service.timeouts;
    let total = timeouts.total.map_or("none".to_owned(), |total| format!("{total:?}"));
    say(format!(
        "  timeouts: connect {:?}, first byte {:?}, idle {:?}, total {total}",
        timeouts.connect, timeouts.first_byte, timeouts.idle
    ));
    let retry = if service.retry.enabled { "once, if a kept connection died" } else { "never" };
    say(format!("  tried again: {retry}"));
}

/// Those of a split for each service, as the request meets only the policies of the one that it comes to.
fn route_policies(plan: &Plan, index: usize, say: &mut impl FnMut(String)) {
    let (route, chains) = (&plan.routes[index], &plan.chains[index]);
    let is_split = matches!(route.action, Action::Split(_));
    let services: Vec<_> = route.action.services().map(Some).collect();
    let services = if services.is_empty() { vec![None] } else { services };
    for (chain, service) in chains.iter().zip(services) {
        let Some(chain) = chain else { continue };
        let service = service.filter(|_| is_split).map(|service| &plan.services[service as usize].name);
        policies(chain, &service.map_or(String::new(), |name| format!(" on the way to {name}")), say);
    }
}

/// In the order in which the request meets them.
fn policies(chain: &Chain, place: &str, say: &mut impl FnMut(String)) {
    for Slot { kind, policy, scope, overrides } in chain.slots() {
        let name = kind.name();
        let of = match (policy, scope) {
            (None, _) => String::new(),
            (Some(_), Scope::Listener) => format!(" of {place}"),
            (Some(_), scope) => format!(" of {scope}{place}"),
        };
        let others = overrides.as_ref().map_or(String::new(), |overrides| others(overrides));
        let instead = if policy.is_some() && !others.is_empty() { "; instead" } else { "" };
        say(format!("policy {name}{of}{instead}{others}"));
    }
}

/// Who has a policy of its own.
fn others(overrides: &Overrides) -> String {
    let named = |what: &str, names: &mut dyn Iterator<Item = &str>| {
        let all: Vec<&str> = names.collect();
        let more = all.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = &all[..all.len().min(NAMED_MAX)];
        (!all.is_empty()).then(|| format!("{what}{} {}{more}", if all.len() > 1 { "s" } else { "" }, shown.join(", ")))
    };
    let consumers = named("consumer", &mut overrides.consumers());
    let groups = named("group", &mut overrides.groups());
    format!(" of {}", consumers.into_iter().chain(groups).collect::<Vec<_>>().join(", of "))
}

/// Consumers, or groups, that are named one by one.
const NAMED_MAX: usize = 10;
/// Routes that are said not to match.
const NEARER_MAX: usize = 20;

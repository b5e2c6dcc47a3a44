//! Which route a request would meet, and why each nearer one does not take it. Asks what the data path asks.

use std::fmt::Write;

use super::snapshot::Snapshot;
use crate::http::head::RequestHead;
use crate::policy::{Chain, Scope, Slot};
use crate::route::Route;

/// What is said of a request whose head has been read.
pub fn explain(snapshot: &Snapshot, head: &RequestHead) -> String {
    let plan = &snapshot.plan;
    let (host, path) = (&head.host[..], &head.path[..]);
    let mut text = String::new();
    let mut say = |line: String| writeln!(text, "{line}").expect("a string takes all");
    say(format!("host {}", String::from_utf8_lossy(host)));
    say(format!("path {}", String::from_utf8_lossy(path)));
    for listener in &snapshot.listeners {
        if let Some(gate) = plan.settings.gate(listener.id) {
            policies(gate, &format!("listener {}", listener.name), &mut say);
        }
    }
    let index = plan.table.find(host, path);
    let found = index.map(|index| &plan.routes[index]);
    let winner = found.and_then(|route| {
        route.rules.iter().filter(|rule| rule.host.matches(host) && rule.path.matches(path)).map(|rule| rule.rank).max()
    });
    match found {
        Some(route) => settings(snapshot, route, &mut say),
        None => say("no route: the answer is 404".to_owned()),
    }
    let chain = index.map_or(&plan.settings.chain, |index| &plan.chains[index]);
    if let Some(chain) = chain {
        policies(chain, "", &mut say);
    }
    let mut nearer: Vec<_> =
        plan.routes.iter().flat_map(|route| route.rules.iter().map(move |rule| (rule, route))).collect();
    nearer.retain(|(rule, _)| winner.is_none_or(|rank| rule.rank > rank));
    nearer.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.rank));
    let more = nearer.len().saturating_sub(NEARER_MAX);
    for (rule, route) in nearer.into_iter().take(NEARER_MAX) {
        let why = match (rule.host.matches(host), rule.path.matches(path)) {
            (false, false) => format!("host {} and path {} differ", rule.host, rule.path),
            (false, true) => format!("host {} differs", rule.host),
            _ => format!("path {} differs", rule.path),
        };
        say(format!("not {}: {why}", route.name));
    }
    if more > 0 {
        say(format!("and {more} more that differ"));
    }
    text
}

fn settings(snapshot: &Snapshot, route: &Route, say: &mut impl FnMut(String)) {
    let plan = &snapshot.plan;
    let service = &plan.services[route.service as usize];
    say(format!("route {}", route.name));
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
    let body = route.body_bytes_max.or(plan.settings.limits.body_bytes_max);
    say(format!("body at most: {}", body.map_or("no limit".to_owned(), |bytes| format!("{bytes} bytes"))));
    say(format!("host sent on: {}", if route.preserve_host { "the client's" } else { "the endpoint's" }));
    say(format!("websocket: {}", if route.websocket { "allowed" } else { "not allowed" }));
}

/// In the order in which the request meets them.
fn policies(chain: &Chain, place: &str, say: &mut impl FnMut(String)) {
    for Slot { policy, scope } in chain.slots() {
        let name = policy.kind().name();
        say(match scope {
            Scope::Listener => format!("policy {name} of {place}"),
            scope => format!("policy {name} of {scope}"),
        });
    }
}

/// Routes that are said not to match.
const NEARER_MAX: usize = 20;

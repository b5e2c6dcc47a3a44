//! Rate limits: what each is known by, and of those of listeners, that what one counts by is known before a route is
//! looked for.

use std::sync::Arc;

use super::ir::Listener;
use super::problem::Problem;
use crate::policy::rate_limit::{KeyPart, Limit};
use crate::policy::{Chain, Kind, Policy, Slot};
use crate::stdx::hash::FixedMap;

/// Every limit of what is attached, with a name that it has in every configuration and on every node that has it: what
/// stands beside it is no part of it, so that whoever adds a limit resets none. Only of several that nothing but their
/// rates tells apart, which one it is goes by the order in which they are written.
pub(super) fn named(attached: &[(String, Arc<Policy>)]) -> Vec<(String, &Limit)> {
    let (mut named, mut met) = (Vec::new(), FixedMap::<String, u32>::default());
    for (owner, policy) in attached {
        let Policy::RateLimit(policy) = &**policy else { continue };
        for limit in policy.limits() {
            // With another algorithm it would count anew anyway.
            let name = format!("{owner}: {:?}, {}", limit.terms.algorithm, limit.name());
            let before = met.entry(name.clone()).or_default();
            let full_name = if *before == 0 { name } else { format!("{name}, {before} before it") };
            *before += 1;
            named.push((full_name, limit));
        }
    }
    named
}

/// A limit of the listener whose key no request could have. `gate` is what requests meet that come in there.
pub(super) fn unknowable(listener: &Listener, gate: &Chain) -> Option<Problem> {
    let is_limit = |slot: &Slot| slot.kind == Kind::RateLimit;
    let place = gate.slots().iter().position(is_limit)?;
    let (before, after) = gate.slots().split_at(place);
    let Some(Policy::RateLimit(policy)) = after[0].policy.as_deref() else { return None };
    let (part, why, help) = policy.limits().iter().flat_map(Limit::key).find_map(|part| {
        let (part, tells): (_, fn(&Policy) -> bool) = match part {
            KeyPart::Route => return Some(("route", NO_ROUTE.to_owned(), ELSEWHERE.to_owned())),
            KeyPart::Service => return Some(("service", NO_ROUTE.to_owned(), ELSEWHERE.to_owned())),
            KeyPart::Consumer => ("consumer", Policy::tells_consumer),
            KeyPart::Credential => ("credential", Policy::tells_credential),
            KeyPart::ClientAddress | KeyPart::Header(_) | KeyPart::Global => return None,
        };
        let tells = |slot: &&Slot| slot.policy.as_deref().is_some_and(tells);
        if before.iter().any(|slot| tells(&slot)) {
            return None;
        }
        let later = after.iter().find(tells).map(|slot| slot.kind.name());
        Some((part, format!("nothing before that finds out a {part}"), identify(part, later)))
    })?;
    let what = format!("listener `{}` has a `rate_limit` by `{part}`, and {why}", listener.name.text);
    Some(Problem::new(&listener.name.origin, what, &help))
}

/// `later` is a policy that finds it out, and too late.
fn identify(part: &str, later: Option<&str>) -> String {
    match later {
        Some(later) => format!("`{later}` comes after it: have it come before by `policy_order`, or {ATTACH}"),
        None if part == "consumer" => format!("add `api_key`, or `jwt` with a `consumer_claim`, or {ATTACH}"),
        None => format!("add `api_key`, `basic_auth` or `jwt`, or {ATTACH}"),
    }
}

const NO_ROUTE: &str = "no route has been looked for there yet";
const ELSEWHERE: &str = "attach it to routes, services or the whole file";
const ATTACH: &str = "attach the limit to routes, services or the whole file";

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_text;
    use std::collections::BTreeMap;

    /// The listener's policies, and what is wrong with them.
    #[track_caller]
    fn check(policies: &str, want: Option<&str>) {
        check_in("[jwt, rate_limit]", policies, want);
    }

    /// The same where policies run in this order.
    #[track_caller]
    fn check_in(order: &str, policies: &str, want: Option<&str>) {
        let text = format!(
            "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\", policies: [{policies}] }}]\n\
             services: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\nroutes: [{{ name: r, service: s }}]\n\
             consumers: [{{ name: ann }}]\npolicy_order: {order}"
        );
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let loaded = load_text("f.yaml", &text, &mut Ids::default(), &resolve);
        let got = loaded.map_or_else(|problems| problems.list, |_| Vec::new());
        let want = want.map(|want| format!("f.yaml:2:21: listener `a` has a `rate_limit` by {want}"));
        assert_eq!(got.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::from_iter(want), "{text}");
    }

    const ANONYMOUS: &str = "{ anonymous: { consumer: ann } }";
    const CLAIM: &str = ", consumer_claim: sub";

    fn jwt(rest: &str) -> String {
        let issuer = "{ issuer: i, audiences: any, algorithms: [RS256], jwks_url: \"http://127.0.0.1:3/\" }";
        format!("{{ jwt: {{ issuers: [{issuer}]{rest} }} }}")
    }

    fn by(key: &str) -> String {
        format!("{{ rate_limit: {{ requests_per_second: 9, key: [{key}] }} }}")
    }

    #[test]
    fn what_is_not_known_before_routing_is_no_key_of_a_listeners() {
        let elsewhere = "no route has been looked for there yet: attach it to routes, services or the whole file";
        check(&by("route"), Some(&format!("`route`, and {elsewhere}")));
        check(&by("client_address, service"), Some(&format!("`service`, and {elsewhere}")));
        let no_consumer = "`consumer`, and nothing before that finds out a consumer: add `api_key`, or `jwt` with a \
                           `consumer_claim`, or attach the limit to routes, services or the whole file";
        let no_credential = "`credential`, and nothing before that finds out a credential: add `api_key`, `basic_auth` \
                             or `jwt`, or attach the limit to routes, services or the whole file";
        check(&by("consumer"), Some(no_consumer));
        check(&by("credential"), Some(no_credential));
        check(&format!("{ANONYMOUS}, {}", by("credential")), Some(no_credential));
        check(&format!("{}, {}", jwt(""), by("consumer")), Some(no_consumer));
        let limits = "limits: [{ requests_per_minute: 9, key: [consumer] }]";
        check(&format!("{{ rate_limit: {{ requests_per_second: 9, {limits} }} }}"), Some(no_consumer));
    }

    #[test]
    fn who_is_found_out_later_is_not_known_yet() {
        let later = "comes after it: have it come before by `policy_order`, or attach the limit to routes, services or \
                     the whole file";
        let (token, limit_first) = (jwt(CLAIM), "[rate_limit, jwt]");
        for part in ["consumer", "credential"] {
            let want = format!("`{part}`, and nothing before that finds out a {part}: `jwt` {later}");
            check_in(limit_first, &format!("{token}, {}", by(part)), Some(&want));
        }
    }

    #[test]
    fn what_is_known_there_is() {
        for key in ["client_address", "global", "header: X-Team"] {
            check(&by(key).replace("[header: X-Team]", "[{ header: X-Team }]"), None);
        }
        check(&format!("{ANONYMOUS}, {}", by("consumer")), None);
        check(&format!("{}, {}", jwt(CLAIM), by("consumer, credential")), None);
        check(&format!("{}, {ANONYMOUS}, {}", jwt(""), by("consumer, credential")), None);
        check(
            &format!("{ANONYMOUS}, {}", by("consumer, route")),
            Some(
                "`route`, and no route has been looked for there yet: attach it to routes, services or the whole file",
            ),
        );
    }

    #[test]
    fn a_limit_is_the_same_one_whatever_stands_beside_it() {
        let mut ids = Ids::default();
        // By the rate of each limit: its number here, or what all nodes know it by.
        let mut known = |limits: &str| {
            let text = format!(
                "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n\
                 services: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\n\
                 rate_limiting: {{ redis: {{ address: \"127.0.0.1:3\" }} }}\n\
                 routes: [{{ name: r, service: s, policies: [{{ rate_limit: {{ {limits} }} }}] }}]"
            );
            let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
            let plan = load_text("f.yaml", &text, &mut ids, &resolve).expect("it is good").plan;
            let own = plan.limits.iter().map(|(number, terms)| (terms.count, u64::from(*number)));
            own.chain(plan.shared.iter().map(|(_, name, terms)| (terms.count, *name))).collect::<BTreeMap<u32, u64>>()
        };
        for policy in ["local", "redis"] {
            let day = known(&format!("policy: {policy}, requests_per_day: 7"))[&7];
            for beside in ["requests_per_second: 3", "requests_per_month: 30"] {
                let both = known(&format!("policy: {policy}, {beside}, requests_per_day: 7"));
                assert_eq!((both.len(), both[&7]), (2, day), "{policy}, {beside}");
            }
            let others = "requests_per_day: 9, key: [global]";
            let listed = format!("{{ {others} }}, {{ policy: {policy}, requests_per_day: 7 }}");
            assert_eq!(known(&format!("limits: [{listed}]"))[&7], day, "{policy}");
            // Those of one kind are told apart by their order.
            let twice = format!("{listed}, {{ policy: {policy}, requests_per_day: 8, burst: 2 }}");
            let two = known(&format!("limits: [{twice}]"));
            assert!(two.len() == 3 && two[&7] == day && two[&8] != day, "{two:?}");
            assert_eq!(known(&format!("requests_per_hour: 5, limits: [{twice}]"))[&8], two[&8], "{policy}");
        }
        let bucket = known("requests_per_minute: 6")[&6];
        let windowed = "{ requests_per_minute: 5, algorithm: sliding_window }, { requests_per_minute: 6 }";
        assert_eq!(known(&format!("limits: [{windowed}]"))[&6], bucket, "another algorithm is another limit");
    }
}

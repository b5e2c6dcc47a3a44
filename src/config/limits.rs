//! Rate limits of listeners: what one counts by has to be known before a route is looked for.

use super::ir::Listener;
use super::problem::Problem;
use crate::policy::rate_limit::{KeyPart, Limit};
use crate::policy::{Chain, Kind, Policy, Slot};

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
}

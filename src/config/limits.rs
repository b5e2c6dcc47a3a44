//! Rate limits of listeners: what one counts by has to be known before a route is looked for.

use super::ir::Listener;
use super::problem::Problem;
use crate::policy::rate_limit::{KeyPart, Limit};
use crate::policy::{Chain, Policy, Slot};

/// A limit of the listener whose key no request could have. `gate` is what requests meet that come in there.
pub(super) fn unknowable(listener: &Listener, gate: &Chain) -> Option<Problem> {
    let mut is_identified = false;
    for Slot { kind, policy, .. } in gate.slots() {
        is_identified |= kind.authenticates();
        let Some(Policy::RateLimit(policy)) = policy.as_deref() else { continue };
        let mut parts = policy.limits().iter().flat_map(Limit::key);
        let (part, why, help) = parts.find_map(|part| match part {
            KeyPart::Route => Some(("route", NO_ROUTE, ELSEWHERE)),
            KeyPart::Service => Some(("service", NO_ROUTE, ELSEWHERE)),
            KeyPart::Consumer if !is_identified => Some(("consumer", NOBODY, IDENTIFY)),
            KeyPart::Credential if !is_identified => Some(("credential", NOBODY, IDENTIFY)),
            _ => None,
        })?;
        let what = format!("listener `{}` has a `rate_limit` by `{part}`, and {why}", listener.name.text);
        return Some(Problem::new(&listener.name.origin, what, help));
    }
    None
}

const NO_ROUTE: &str = "no route has been looked for there yet";
const ELSEWHERE: &str = "attach it to routes, services or the whole file";
const NOBODY: &str = "nothing before that finds out who asks";
const IDENTIFY: &str = "add `jwt` or another policy that does, or attach it to routes, services or the whole file";

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_text;

    /// The listener's policies, and what is wrong with them.
    #[track_caller]
    fn check(policies: &str, want: Option<&str>) {
        let text = format!(
            "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\", policies: [{policies}] }}]\n\
             services: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\nroutes: [{{ name: r, service: s }}]\n\
             consumers: [{{ name: ann }}]"
        );
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let loaded = load_text("f.yaml", &text, &mut Ids::default(), &resolve);
        let got = loaded.map_or_else(|problems| problems.list, |_| Vec::new());
        let want = want.map(|want| format!("f.yaml:2:21: listener `a` has a `rate_limit` by {want}"));
        assert_eq!(got.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::from_iter(want), "{text}");
    }

    fn by(key: &str) -> String {
        format!("{{ rate_limit: {{ requests_per_second: 9, key: [{key}] }} }}")
    }

    #[test]
    fn what_is_not_known_before_routing_is_no_key_of_a_listeners() {
        let elsewhere = "no route has been looked for there yet: attach it to routes, services or the whole file";
        check(&by("route"), Some(&format!("`route`, and {elsewhere}")));
        check(&by("client_address, service"), Some(&format!("`service`, and {elsewhere}")));
        let nobody = "nothing before that finds out who asks: add `jwt` or another policy that does, or attach it to \
                      routes, services or the whole file";
        check(&by("consumer"), Some(&format!("`consumer`, and {nobody}")));
        check(&by("credential"), Some(&format!("`credential`, and {nobody}")));
        let limits = "limits: [{ requests_per_minute: 9, key: [consumer] }]";
        check(
            &format!("{{ rate_limit: {{ requests_per_second: 9, {limits} }} }}"),
            Some(&format!("`consumer`, and {nobody}")),
        );
    }

    #[test]
    fn what_is_known_there_is() {
        for key in ["client_address", "global", "header: X-Team"] {
            check(&by(key).replace("[header: X-Team]", "[{ header: X-Team }]"), None);
        }
        let anonymous = "{ anonymous: { consumer: ann } }";
        check(&format!("{anonymous}, {}", by("consumer")), None);
        check(&format!("{}, {anonymous}", by("credential")), None);
        check(
            &format!("{anonymous}, {}", by("consumer, route")),
            Some(
                "`route`, and no route has been looked for there yet: attach it to routes, services or the whole file",
            ),
        );
    }
}

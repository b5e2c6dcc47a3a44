//! What roles and scopes mean in one configuration, and where nobody could have any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::policy::authorize::Authorize;
use crate::policy::{Chain, Kind, Policy, Role, Unusable, Vocabulary};

/// Gives every `authorize` the bits of the names that it asks for: the same to all, so that an identity is read once.
pub(super) fn give(attached: &[(String, Arc<Policy>)], roles: &BTreeMap<String, Role>) -> Result<(), Unusable> {
    let policies = || attached.iter().filter_map(|(_, policy)| authorize(policy));
    let asked_roles: BTreeSet<&str> = policies().flat_map(Authorize::roles).collect();
    let asked_scopes: BTreeSet<&str> = policies().flat_map(Authorize::scopes).collect();
    let vocabulary = Arc::new(Vocabulary::new(&asked_roles, &asked_scopes, roles)?);
    policies().for_each(|policy| policy.give_vocabulary(&vocabulary));
    Ok(())
}

/// For each listener and then for each route: whether an `authorize` of it lets on nobody, as nothing before it finds
/// out who asks.
pub(super) fn closed(gates: &[Option<Arc<Chain>>], chains: &[Box<[Option<Arc<Chain>>]>]) -> impl Iterator<Item = bool> {
    // A request may come in anywhere: that it is identified there is certain if it is at every listener.
    let is_open = gates.iter().all(|gate| gate.as_deref().is_some_and(identifies));
    let of_gates = gates.iter().map(|gate| gate.as_deref().is_some_and(is_closed));
    let of_routes = chains.iter().map(move |arms| !is_open && arms.iter().flatten().any(|chain| is_closed(chain)));
    of_gates.chain(of_routes)
}

/// A listener and a route by their places, each of which finds out who asks, and by what: whom of the two a service
/// would be told of is nobody's to guess. Requests of every route come in at every listener.
pub(super) fn twice(gates: &[Option<Arc<Chain>>], chains: &[Box<[Option<Arc<Chain>>]>]) -> Option<[(usize, Kind); 2]> {
    let door = |chain: &Arc<Chain>| chain.doors().next();
    let mut gates = gates.iter().enumerate();
    let gate = gates.find_map(|(place, gate)| Some((place, gate.as_ref().and_then(door)?)))?;
    let mut chains = chains.iter().enumerate();
    let route = chains.find_map(|(place, arms)| Some((place, arms.iter().flatten().find_map(door)?)))?;
    Some([gate, route])
}

/// Two policies of a chain that look for what only one of them knows in the same place: each would refuse every request
/// that the other lets in.
pub(super) fn rivals(chain: &Chain) -> Option<[Kind; 2]> {
    let policies = || chain.slots().iter().filter_map(|slot| slot.policy.as_deref());
    policies().enumerate().find_map(|(place, policy)| {
        let meets = |other: &&Policy| {
            other.places().iter().any(|other| policy.places().iter().any(|place| place.is_same(other)))
        };
        let rival = policies().skip(place + 1).find(meets)?;
        Some([policy.kind(), rival.kind()])
    })
}

fn authorize(policy: &Policy) -> Option<&Authorize> {
    match policy {
        Policy::Authorize(policy) => Some(policy),
        _ => None,
    }
}

fn identifies(chain: &Chain) -> bool {
    chain.slots().iter().any(|slot| slot.kind.authenticates())
}

fn is_closed(chain: &Chain) -> bool {
    let kinds = || chain.slots().iter().map(|slot| slot.kind);
    kinds().any(|kind| kind == Kind::Authorize)
        && !kinds().take_while(|kind| *kind != Kind::Authorize).any(Kind::authenticates)
}

#[cfg(test)]
mod tests {
    use crate::config::ids::Ids;
    use crate::config::load::load_text;

    /// `rest` follows a valid beginning of three lines with the service `s`.
    #[track_caller]
    fn check(rest: &str, want: &[&str]) {
        let text = format!(
            "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\n\
             services: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\n{rest}"
        );
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let loaded = load_text("f.yaml", &text, &mut Ids::default(), &resolve);
        let got = loaded.map_or_else(|problems| problems.list, |_| Vec::new());
        assert_eq!(got.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{text}");
    }

    const JWT: &str =
        "{ jwt: { issuers: [{ issuer: i, audiences: any, algorithms: [ES256], jwks_url: \"http://i/k\" }] } }";
    const ROUTE: &str = "routes: [{ name: r, service: s, policies: [{ authorize: {} }] }]";

    #[test]
    fn nobody_is_asked_for_a_role_who_was_not_asked_who_it_is() {
        let closed = |line: u32, what: &str| {
            format!(
                "f.yaml:{line}: {what} has `authorize`, and nothing before that finds out who asks: \
                 add `jwt` or another policy that does, or put it before `authorize` in `policy_order`"
            )
        };
        let of_route = |line: u32| closed(line, "`r`").replace(": `r`", ":18: route `r`");
        check(ROUTE, &[&of_route(4)]);
        check(&format!("policies: [{JWT}]\n{ROUTE}"), &[]);
        check(&format!("policies: [{JWT}]\npolicy_order: [authorize, jwt]\n{ROUTE}"), &[&of_route(6)]);
        check(&ROUTE.replace("[{ authorize", &format!("[{JWT}, {{ authorize")), &[]);
        // One that is for all requests is closed to those without a route, which is what it says.
        let of_all = "policies: [{ authorize: {} }]\nroutes: [{ name: r, service: s";
        check(&format!("{of_all}, policies: [{JWT}] }}]"), &[]);
        check(&format!("{of_all} }}]"), &[&of_route(5)]);
    }

    #[test]
    fn whoever_is_identified_at_every_listener_is_so_everywhere() {
        let listener = |name: &str, port: u16, policies: &str| {
            format!("{{ name: {name}, address: \"127.0.0.1:{port}\", policies: [{policies}] }}")
        };
        let check = |listeners: &[String], want: &[&str]| {
            let text = format!(
                "version: 1\nlisteners: [{}]\nservices: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\n{ROUTE}",
                listeners.join(", ")
            );
            let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
            let loaded = load_text("f.yaml", &text, &mut Ids::default(), &resolve);
            let got = loaded.map_or_else(|problems| problems.list, |_| Vec::new());
            let got: Vec<_> =
                got.iter().map(|problem| problem.to_string().split(" has ").next().unwrap().to_owned()).collect();
            assert_eq!(got, want, "{text}");
        };
        check(&[listener("a", 1, JWT), listener("b", 2, JWT)], &[]);
        check(&[listener("a", 1, JWT), listener("b", 2, "")], &["f.yaml:4:18: route `r`"]);
        check(&[listener("a", 1, &format!("{{ authorize: {{}} }}, {JWT}"))], &[]);
        let closed = ["f.yaml:2:21: listener `a`", "f.yaml:4:18: route `r`"];
        check(&[listener("a", 1, "{ authorize: {} }")], &closed);
    }

    #[test]
    fn who_asks_is_found_out_at_the_listener_or_behind_it() {
        let check = |of_listener: &str, of_file: &str, of_route: &str, want: Option<&str>| {
            let listener = |name: &str, policies: &str| {
                format!("{{ name: {name}, address: \"127.0.0.1:{}\"{policies} }}", name.len())
            };
            let text = format!(
                "version: 1\nlisteners: [{}, {}]\nservices: [{{ name: s, endpoints: [\"127.0.0.1:2\"] }}]\n\
                 consumers: [{{ name: guest }}]\npolicies: [{of_file}]\n\
                 routes: [{{ name: open, service: s }}, \
                 {{ name: r, paths: [/r], service: s, policies: [{of_route}] }}]",
                listener("a", ""),
                listener("bb", &format!(", policies: [{of_listener}]")),
            );
            let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
            let loaded = load_text("f.yaml", &text, &mut Ids::default(), &resolve);
            let got = loaded.map_or_else(|problems| problems.list, |_| Vec::new());
            let help = "attach both to the listener, or both to routes, services or the whole file";
            let want: Vec<_> = want.map(|want| format!("f.yaml:{want}: {help}")).into_iter().collect();
            assert_eq!(got.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{text}");
        };
        let (password, guest) = ("{ basic_auth: {} }", "{ anonymous: { consumer: guest } }");
        check(password, "", "", None);
        check("", password, JWT, None);
        check("{ ip_filter: { deny: [10.0.0.0/8] } }", "", JWT, None);
        let both = "6:46: route `r` finds out who asks by `jwt`, and listener `bb` by";
        check(password, "", JWT, Some(&format!("{both} `basic_auth`")));
        check(guest, "", JWT, Some(&format!("{both} `anonymous`")));
        let of_file = "6:18: route `open` finds out who asks by `basic_auth`, and listener `bb` by `basic_auth`";
        check(password, password, "", Some(of_file));
    }

    #[test]
    fn a_key_and_a_token_are_not_looked_for_in_one_place() {
        let file = |places: &str| {
            let key = format!("{{ api_key: {{ places: [{{ header: X-API-Key }}, {places}] }} }}");
            format!("consumers: []\nroutes: [{{ name: r, service: s, policies: [{JWT}, {key}] }}]")
        };
        check(&file("{ query: key }"), &[]);
        let help = "give one of them other `places`";
        let problem = format!("f.yaml:5:18: route `r` looks for `jwt` and `api_key` in the same place: {help}");
        check(&file("{ header: authorization }"), &[&problem]);
    }

    #[test]
    fn roles_are_names_and_have_an_end() {
        check("roles: { a: { includes: [b, nobody], scopes: [\"x:y\"] }, b: {} }", &[]);
        let cycle = "roles:\n  a: { includes: [b] }\n  b: { includes: [c] }\n  c: { includes: [a] }";
        check(
            cycle,
            &["f.yaml:5:6: role `a` has no end: it includes itself, or one that does: take one of `includes` away"],
        );
        let help = "a name is 1 to 128 bytes long, that of a scope without spaces, quotes and backslashes";
        check("roles: { a: { scopes: [\"x y\"] } }", &[&format!("f.yaml:4:13: role `a` has the name `x y`: {help}")]);
        let many: Vec<_> = (0..513).map(|number| format!("r{number}")).collect();
        let asked = ROUTE.replace("{}", &format!("{{ roles: {{ any_of: [{}] }} }}", many.join(", ")));
        check(
            &format!("policies: [{JWT}]\n{asked}"),
            &["f.yaml: more than 512 roles and scopes that `authorize` asks for: leave some out"],
        );
    }
}

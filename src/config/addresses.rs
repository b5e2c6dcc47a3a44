//! Where is listened: no address twice; `check` tells of one that may hold another.

use std::net::{IpAddr, SocketAddr};

use super::ir::{Ir, Listener};
use super::problem::Problem;
use super::snapshot::Snapshot;
use crate::stdx::hash::FixedMap;

/// Each listener that has the address of one before it, and the admin listener if it has that of one.
pub(super) fn taken_twice(ir: &Ir) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut at_port: FixedMap<u16, Vec<&Listener>> = FixedMap::default();
    for listener in ir.listeners.iter().filter(|listener| listener.address.port() != PORT_ANY) {
        let before = at_port.entry(listener.address.port()).or_default();
        match before.iter().find(|other| same(other.address, listener.address)) {
            Some(other) => problems.push(Problem::new(&listener.address_origin, taken(other), HELP)),
            None => before.push(listener),
        }
    }
    let Some(admin) = ir.admin.filter(|admin| admin.port() != PORT_ANY) else { return problems };
    if let Some(other) = ir.listeners.iter().find(|listener| same(listener.address, admin)) {
        problems.push(match &ir.admin_origin {
            Some(origin) => Problem::new(origin, taken(other), HELP),
            None => {
                let what = format!("the admin listener is on {admin} by default");
                Problem::new(&other.address_origin, what, "use another port, or give `admin` another `address`")
            }
        });
    }
    problems
}

/// Why nobody can listen on `address` too.
fn taken(other: &Listener) -> String {
    format!("listener `{}` has this address already, at {}", other.name.text, other.address_origin)
}

/// What may not be possible, by how the machine is set up: a socket for all addresses beside one for some of them.
pub fn doubtful(snapshot: &Snapshot) -> Vec<String> {
    let listeners =
        snapshot.listeners.iter().map(|listener| (format!("listener `{}`", listener.name), listener.address));
    let admin = snapshot.admin.map(|address| ("the admin listener".to_owned(), address));
    let all: Vec<_> = listeners.chain(admin).filter(|(_, address)| address.port() != PORT_ANY).collect();
    let mut told = Vec::new();
    for (index, (name, address)) in all.iter().enumerate() {
        for (before, held) in all[..index].iter().filter(|(_, before)| overlap(*before, *address)) {
            let why = "one holds the other, and most systems refuse both";
            told.push(format!("{name} is on {address} and {before} on {held}: {why}"));
        }
    }
    told
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && a == b && zone(one) == zone(other)
}

/// A socket for all IPv6 addresses takes connections over IPv4 too, unless the system says otherwise (ipv6(7),
/// `IPV6_V6ONLY`).
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let holds = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (holds(a, b) || holds(b, a) || same(one, other))
}

/// The interface that a link-local address is of.
fn zone(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

const HELP: &str = "use another port";
/// The kernel chooses a free one.
const PORT_ANY: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;

    #[track_caller]
    fn check(one: &str, other: &str, want: bool) {
        let (one, other) = (one.parse().expect("an address"), other.parse().expect("an address"));
        assert_eq!((overlap(one, other), overlap(other, one)), (want, want), "{one} and {other}");
    }

    #[test]
    fn all_addresses_of_a_family_hold_each_one_and_those_of_ipv6_all() {
        check("127.0.0.1:1", "127.0.0.1:1", true);
        check("127.0.0.1:1", "127.0.0.1:2", false);
        check("127.0.0.1:1", "127.0.0.2:1", false);
        check("0.0.0.0:1", "127.0.0.1:1", true);
        check("0.0.0.0:1", "127.0.0.1:2", false);
        check("0.0.0.0:1", "[::1]:1", false);
        check("[::]:1", "[::1]:1", true);
        check("[::]:1", "127.0.0.1:1", true);
        check("[::]:1", "0.0.0.0:1", true);
        check("[::1]:1", "127.0.0.1:1", false);
        check("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true);
        check("[fe80::1%1]:1", "[fe80::1%2]:1", false);
    }

    /// What is wrong with a file of these listeners and this admin listener, and where.
    #[track_caller]
    fn check_file(listeners: &[&str], admin: &str, want: &[&str]) {
        let names = ["a", "b"];
        let listeners = listeners.iter().zip(names);
        let lines = listeners.map(|(address, name)| format!("- {{ name: {name}, address: \"{address}\" }}\n"));
        let text = format!("version: 1\nlisteners:\n{}{admin}", lines.collect::<String>());
        let problems = match load_text("f", &text, &mut Ids::default(), &|_| Ok(Vec::new())) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.list,
        };
        assert_eq!(problems.iter().map(Problem::to_string).collect::<Vec<_>>(), want, "{text}");
    }

    #[test]
    fn an_address_that_is_there_twice_is_named_with_both_places() {
        check_file(&["127.0.0.1:0", "127.0.0.1:0"], "admin: { address: \"127.0.0.1:0\" }", &[]);
        check_file(&["127.0.0.1:80", "0.0.0.0:80"], "", &[]);
        check_file(
            &["127.0.0.1:80", "127.0.0.1:80"],
            "",
            &["f:4:23: listener `a` has this address already, at f:3:23: use another port"],
        );
        check_file(
            &["127.0.0.1:80"],
            "admin: { address: \"127.0.0.1:80\" }",
            &["f:4:19: listener `a` has this address already, at f:3:23: use another port"],
        );
        check_file(
            &["0.0.0.0:8001"],
            "",
            &["f:3:23: the admin listener is on 0.0.0.0:8001 by default: use another port, or give `admin` another \
                 `address`"],
        );
        check_file(&["127.0.0.1:8001"], "admin: { enabled: false }", &[]);
    }

    #[test]
    fn what_most_systems_refuse_is_doubtful() {
        let text = "{version: 1, listeners: [{name: a, address: \"0.0.0.0:80\"}, \
                    {name: b, address: \"127.0.0.1:80\"}], admin: { address: \"[::]:80\" }}";
        let snapshot = load_text("f", text, &mut Ids::default(), &|_| Ok(Vec::new())).expect("it may be possible");
        let told = doubtful(&snapshot);
        assert_eq!(told.len(), 3, "{told:?}");
        let want = "listener `b` is on 127.0.0.1:80 and listener `a` on 0.0.0.0:80: one holds the other, and most \
                    systems refuse both";
        assert_eq!(told[0], want);
    }
}

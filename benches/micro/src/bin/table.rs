//! Finding the route of a request, by how many routes there are.

use micro::Suite;
use shardgate::http::head::RequestHead;
use shardgate::route::{Action, Asked, HostRule, PathRule, Route, Rule, Scratch, Table};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let [one, hundred, many] = [1, 100, 10_000].map(|count| Table::compile(&routes(count, false)));
    let hosts = Table::compile(&routes(10_000, true));
    Suite::new()
        .case("1 route", search(&one, "a.example.com", "/service/0/users", true))
        .case("100 routes", search(&hundred, "a.example.com", "/service/57/users", true))
        .case("10,000 routes", search(&many, "a.example.com", "/service/5701/users", true))
        .case("10,000 routes, a host each", search(&hosts, "host-5701.example.com", "/service/5701/users", true))
        .case("10,000 routes, none fits", search(&many, "a.example.com", "/nothing/here", false))
        .main()
}

/// Asks the table for that host and path.
fn search<'a>(table: &'a Table, host: &str, path: &str, is_there: bool) -> impl FnMut() + use<'a> {
    let (mut head, mut scratch) = (RequestHead::new(), Scratch::default());
    (head.host, head.path) = (host.into(), path.into());
    move || {
        let asked = Asked { head: black_box(&head), bytes: b"", peer_is_trusted: false };
        assert_eq!(black_box(table.find(&asked, &mut scratch)).is_some(), is_there);
    }
}

fn routes(count: u32, hosts: bool) -> Vec<Arc<Route>> {
    let route = |id: u32| {
        let host = match hosts {
            true => HostRule::Exact(format!("host-{id}.example.com").into_bytes().into()),
            false => HostRule::Any,
        };
        let path = PathRule::Prefix(format!("/service/{id}").into_bytes().into());
        Arc::new(Route {
            id,
            name: format!("route-{id}"),
            action: Action::Service(0),
            rewrite: None,
            rules: vec![Rule { host, path, predicates: [].into(), rank: id }],
            priority: 0,
            preserve_host: true,
            websocket: false,
            body_bytes_max: None,
        })
    };
    (0..count).map(route).collect()
}

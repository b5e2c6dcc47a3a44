//! Finding the route of a request, by how many routes there are.

use micro::Suite;
use shardgate::route::{HostRule, PathRule, Route, Rule, Table};
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let [one, hundred, many] = [1, 100, 10_000].map(|count| Table::compile(&routes(count, false)));
    let hosts = Table::compile(&routes(10_000, true));
    Suite::new()
        .case("1 route", || found(&one, b"a.example.com", b"/service/0/users"))
        .case("100 routes", || found(&hundred, b"a.example.com", b"/service/57/users"))
        .case("10,000 routes", || found(&many, b"a.example.com", b"/service/5701/users"))
        .case("10,000 routes, a host each", || found(&hosts, b"host-5701.example.com", b"/service/5701/users"))
        .case("10,000 routes, none fits", || {
            assert!(black_box(many.find(black_box(b"a.example.com"), black_box(b"/nothing/here"))).is_none());
        })
        .main()
}

fn found(table: &Table, host: &[u8], path: &[u8]) {
    assert!(black_box(table.find(black_box(host), black_box(path))).is_some());
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
            service: 0,
            rules: vec![Rule { host, path, rank: u64::from(id) }],
            preserve_host: true,
            websocket: false,
            body_bytes_max: None,
        })
    };
    (0..count).map(route).collect()
}

//! The fast matcher against the definition, on random tables of 100 and of 10,000 routes that the front-end has ranked:
//! hosts, paths, predicates, letters of both cases, escapes.
//!
//! A matcher that decides otherwise on a path that is spelt otherwise has let requests past their policies elsewhere.

use std::fmt::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use shardgate::config::ids::Ids;
use shardgate::config::load::load_text;
use shardgate::config::snapshot::Snapshot;
use shardgate::http::h1::Scan;
use shardgate::http::head::RequestHead;
use shardgate::route::{Asked, Found, Scratch};
use shardgate::stdx::rng::Rng;

#[test]
fn a_hundred_routes_are_found_as_the_definition_says() {
    check(1..=20, 100, 400);
}

#[test]
fn ten_thousand_routes_are_found_as_the_definition_says() {
    check(1..=1, 10_000, 1_000);
}

/// What the requests of a run came to.
#[derive(Debug, Default)]
struct Reached {
    found: usize,
    missed: usize,
    by_predicates: usize,
    /// Where the closest place had to give way to the next.
    given_way: usize,
}

#[track_caller]
fn check(seeds: RangeInclusive<u64>, routes: usize, requests: usize) {
    let (mut reached, least) = (Reached::default(), seeds.clone().count() * requests / 50);
    for seed in seeds {
        run(seed, routes, requests, &mut reached);
    }
    let Reached { found, missed, by_predicates, given_way } = reached;
    assert!([found, missed, by_predicates, given_way].iter().all(|count| *count > least), "too few: {reached:?}");
}

#[track_caller]
fn run(seed: u64, routes: usize, requests: usize, reached: &mut Reached) {
    let mut rng = Rng::new(seed);
    let mut words = Words { rng: &mut rng, breadth: if routes > 1_000 { 40 } else { 4 } };
    let snapshot = load(&words.file(routes));
    assert!(snapshot.plan.routes.len() > routes / 2, "too few of them are good: {}", snapshot.plan.routes.len());
    let (mut scratch, mut naive_scratch, mut head) = (Scratch::default(), Scratch::default(), RequestHead::new());
    let limits = snapshot.plan.settings.head_limits();
    for _ in 0..requests {
        let request = words.request();
        assert_eq!(head.parse(request.as_bytes(), &limits, &mut Scan::default()), Ok(Some(request.len())), "{request}");
        let asked = Asked { head: &head, bytes: request.as_bytes(), peer_is_trusted: false };
        let found = snapshot.plan.table.find(&asked, &mut scratch);
        let (want, by_place) = naive(&snapshot, &asked, &mut naive_scratch);
        assert_eq!(found, want, "seed {seed}: {request:?}");
        reached.found += usize::from(found.is_some());
        reached.missed += usize::from(found.is_none());
        reached.by_predicates += usize::from(found.is_some_and(|found| has_predicates(&snapshot, found)));
        reached.given_way += usize::from(want != by_place);
    }
}

/// Every rule is asked. Also what it would be if host and path decided alone.
fn naive(snapshot: &Snapshot, asked: &Asked<'_>, scratch: &mut Scratch) -> (Option<Found>, Option<Found>) {
    let (mut best, mut best_place) = (None, None);
    for (route, rules) in snapshot.plan.routes.iter().map(|route| &route.rules).enumerate() {
        for (index, rule) in rules.iter().enumerate() {
            if rule.host.matches(&asked.head.host) && rule.path.matches(&asked.head.path) {
                let ranked = Some((rule.rank, (route, index)));
                best_place = best_place.max(ranked);
                if rule.matches(asked, scratch) {
                    best = best.max(ranked);
                }
            }
        }
    }
    let found = |(_, (route, rule))| Found { route, rule };
    (best.map(found), best_place.map(found))
}

fn has_predicates(snapshot: &Snapshot, found: Found) -> bool {
    !snapshot.plan.routes[found.route].rules[found.rule].predicates.is_empty()
}

/// The file, without the routes that it was told never match.
fn load(text: &str) -> Snapshot {
    let resolve = |name: &str| Ok(vec![name.parse::<SocketAddr>().expect("an address")]);
    let mut lines: Vec<&str> = text.lines().collect();
    loop {
        let text = lines.join("\n");
        match load_text("f.yaml", &text, &mut Ids::default(), &resolve) {
            Ok(snapshot) => return snapshot,
            Err(problems) => {
                for problem in &problems.list {
                    assert!(problem.what.contains("never matches"), "{problem}");
                    lines[problem.origin.line as usize - 1] = "";
                }
            }
        }
    }
}

/// Few words, so that hosts share labels, paths share segments, and requests meet several routes.
struct Words<'a> {
    rng: &'a mut Rng,
    breadth: u64,
}

impl Words<'_> {
    fn pick<'w>(&mut self, from: &[&'w str]) -> &'w str {
        from[self.rng.below(from.len() as u64) as usize]
    }

    fn file(&mut self, routes: usize) -> String {
        let mut text = "version: 1\nlisteners: [{ name: l, address: \"127.0.0.1:1\" }]\n\
                        services: [{ name: s, endpoints: [\"127.0.0.1:2\"] }]\nroutes:\n"
            .to_owned();
        for index in 0..routes {
            write!(text, "- {{ name: r{index}, service: s").unwrap();
            if self.rng.below(routes as u64) > 3 {
                let host = self.host();
                let star = if self.rng.chance(300) { "*." } else { "" };
                write!(text, ", hosts: [\"{star}{host}\"]").unwrap();
            }
            let (first, second) = (self.path_rule(), self.path_rule());
            write!(text, ", paths: [{first}{}]", if first == second { "".into() } else { format!(", {second}") })
                .unwrap();
            for (key, names) in [("headers", ["X-A", "x-b"]), ("query", ["a", "b c"]), ("cookies", ["a", "B"])] {
                if self.rng.chance(200) {
                    let name = self.pick(&names);
                    let test = self.pick(&["", ", exact: \"1\"", ", exact: \"x y\"", ", regex: \"[0-9]+\""]);
                    write!(text, ", {key}: [{{ name: \"{name}\"{test} }}]").unwrap();
                }
            }
            if self.rng.chance(200) {
                let methods = self.pick(&["GET", "POST, PUT", "GET, PURGE"]);
                write!(text, ", methods: [{methods}]").unwrap();
            }
            if self.rng.chance(50) {
                write!(text, ", priority: {}", self.rng.below(3)).unwrap();
            }
            text.push_str(" }\n");
        }
        text
    }

    fn path_rule(&mut self) -> String {
        let path = self.path();
        match self.rng.below(10) {
            0..5 => format!("\"{path}\""),
            5..8 => format!("{{ exact: \"{path}\" }}"),
            _ => {
                let begin = self.pick(&["", "/a", "/s1/", "/b/S1/"]);
                let rest = self.pick(&["/[a-z]+", "(/.*)?", ".*/[0-9]", "/s[0-9]+/.*", "/.+%2F.*"]);
                format!("{{ regex: \"{}{rest}\" }}", begin.trim_end_matches('/'))
            }
        }
    }

    fn segment(&mut self) -> String {
        match self.rng.below(4) {
            0 => self.pick(&["a", "b", "ab", "A", "%61", "a%2Fb", "a%2fb", "%C3%A9", "a;b", "..a", "~"]).to_owned(),
            _ => format!("{}{}", self.pick(&["s", "S", "%73"]), self.rng.below(self.breadth)),
        }
    }

    fn path(&mut self) -> String {
        let least = u64::from(!self.rng.chance(50));
        let depth = self.rng.between(least, 3);
        let mut path: String = (0..depth).map(|_| format!("/{}", self.segment())).collect();
        path.push_str(if path.is_empty() || self.rng.chance(200) { "/" } else { "" });
        path
    }

    fn host(&mut self) -> String {
        let labels = self.rng.between(1, 3);
        let labels: Vec<_> =
            (0..labels).map(|_| format!("{}{}", self.pick(&["h", "H"]), self.rng.below(self.breadth))).collect();
        labels.join(".")
    }

    fn request(&mut self) -> String {
        let method = self.pick(&["GET", "GET", "POST", "PUT", "PURGE", "get"]);
        let path = match self.rng.below(8) {
            0 => format!("/.{}", self.path()),
            1 => format!("/x/..{}", self.path()),
            2 => format!("{}{}", self.path(), self.path()),
            _ => self.path(),
        };
        let query = self.pick(&["", "", "?a=1", "?A=1", "?b+c=x+y", "?b%20c=x%20y&a=23", "?a=x&a=1", "?a"]);
        let (host, dot) = (self.host(), self.pick(&["", "", ".", ":8080"]));
        let mut text = format!("{method} {path}{query} HTTP/1.1\r\nHost: {host}{dot}\r\n");
        for line in ["X-A: 1", "x-a: x y", "X-B: 42", "X-B: 1", "X_A: 1", "Cookie: a=1; B=7", "Cookie: b=1; a=x y"] {
            if self.rng.chance(250) {
                write!(text, "{line}\r\n").unwrap();
            }
        }
        text + "\r\n"
    }
}

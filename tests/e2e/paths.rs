//! One path: the bytes that routes match, the log shows and the origin gets are the same, in the one form of
//! `http::path`.

use crate::harness::{Config, Gateway, OK, Origin};

/// The origin's target, and the log's path, for a client's target.
#[track_caller]
fn check(gateway: &Gateway, origin: &Origin, target: &str, expected: &str) {
    let before = origin.requests().len();
    assert_eq!(gateway.get(target).status(), 200, "{target}");
    assert_eq!(origin.requests()[before].target(), expected, "{target}");
    let line = &gateway.log_lines(before + 1)[before];
    let logged = match line["query"].as_str() {
        Some(query) => format!("{}?{query}", line["path"].as_str().unwrap()),
        None => line["path"].as_str().unwrap().to_owned(),
    };
    assert_eq!(logged, expected, "{target}");
}

#[test]
fn the_origin_and_the_log_see_the_path_that_was_matched() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    for (target, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("//a///b", "/a/b"),
        ("/%61%7E%2D", "/a~-"),
        ("/a%2fb", "/a%2Fb"),
        ("/a/..%2fb", "/a/..%2Fb"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a;x=1/..;/b", "/a;x=1/..;/b"),
        ("/%2561", "/%2561"),
        ("/...", "/..."),
        ("/a?", "/a?"),
        ("/a?x=%2e%2e/../%61//", "/a?x=%2e%2e/../%61//"),
        ("/a/../b?/../c", "/b?/../c"),
        ("http://a.test/x/../y", "/y"),
        ("http://a.test", "/"),
        ("HTTP://A.test:80/z", "/z"),
    ] {
        check(&gateway, &origin, target, expected);
    }
}

#[test]
fn slashes_stay_when_asked() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with("http: { merge_slashes: false }"));
    for (target, expected) in [("//a///b", "//a///b"), ("/a//../b", "/a/b")] {
        check(&gateway, &origin, target, expected);
    }
}

/// However it is written, a path meets the route that guards it.
#[test]
fn no_spelling_of_a_path_gets_around_its_route() {
    let open = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nopen");
    let guarded = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nguarded");
    let config = Config::empty()
        .service("open", &[open.address], "")
        .service("guarded", &[guarded.address], "")
        .route("open", "open", "paths: [\"/\"]")
        .route("guarded", "guarded", "paths: [\"/admin\"]");
    let gateway = Gateway::start(&config);
    for target in [
        "/admin",
        "/admin/",
        "/admin?x",
        "/admin/x",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/%61dmin",
        "/%61%64%6d%69%6e/x",
        "/.//admin",
        "/admin/../admin",
        "http://a.test/admin",
        "/x/y/../../%61dmin//z",
    ] {
        assert_eq!(gateway.get(target).text(), "guarded", "{target}");
    }
    // These are other paths, for the origin as well: it gets them with the same meaning.
    for target in ["/admin%2fx", "/adminx", "/ADMIN", "/x%2f..%2fadmin", "/admin;x"] {
        assert_eq!(gateway.get(target).text(), "open", "{target}");
        assert!(!open.targets().last().unwrap().starts_with("/admin/"), "{target}");
    }
}

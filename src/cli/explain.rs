//! `shardgate explain FILE METHOD URL`

use std::path::Path;
use std::process::ExitCode;

use super::out;
use crate::config::explain::explain as explain_head;
use crate::config::ids::Ids;
use crate::config::load::load;
use crate::http::h1::Scan;
use crate::http::head::RequestHead;
use crate::route::Asked;

/// Which route the request would meet, on standard output. The request is read by the data path's own parser.
pub fn explain(
    file: &Path,
    profile: Option<&str>,
    (method, url, headers): (&str, &str, &[String]),
    peer_is_trusted: bool,
) -> ExitCode {
    let snapshot = match load(file, profile, &mut Ids::default()) {
        Ok(snapshot) => snapshot,
        Err(problems) => return out::complain(&problems.to_string()),
    };
    let bytes = request(method, url, headers);
    let mut head = RequestHead::default();
    let limits = snapshot.plan.settings.head_limits();
    match head.parse(bytes.as_bytes(), &limits, &mut Scan::default()) {
        Ok(Some(_)) => {
            let asked = Asked { head: &head, bytes: bytes.as_bytes(), peer_is_trusted };
            out::answer(&explain_head(&snapshot, &asked))
        }
        Ok(None) => out::answer("refused: that is no whole request\n"),
        Err(error) => out::answer(&format!("refused: {error}\n")),
    }
}

/// The request as a client would send it to the gateway: the URL's host is the `Host`, unless a header says otherwise.
fn request(method: &str, url: &str, headers: &[String]) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, target) = match rest.find(['/', '?']) {
        Some(at) if rest.as_bytes()[at] == b'/' => rest.split_at(at),
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{target} HTTP/1.1\r\n");
    let names_host = |header: &String| header.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("host"));
    if !headers.iter().any(names_host) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_the_request_that_a_client_would_send() {
        #[track_caller]
        fn check(url: &str, headers: &[&str], want: &str) {
            let headers: Vec<_> = headers.iter().map(ToString::to_string).collect();
            assert_eq!(request("GET", url, &headers), want);
        }
        check("http://a.example/x?y", &[], "GET /x?y HTTP/1.1\r\nHost: a.example\r\n\r\n");
        check("a.example", &["X: 1"], "GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\n");
        check("http://a?q", &["host: b"], "GET /?q HTTP/1.1\r\nhost: b\r\n\r\n");
        check("/x", &[], "GET /x HTTP/1.1\r\nHost: \r\n\r\n");
    }
}

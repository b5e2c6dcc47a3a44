//! The access log: one line of JSON for every exchange, its own failures included.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::clock::{Clock, STAMP_BYTES};
use super::json::{self, ESCAPED_BYTES_MAX};
use crate::stdx::text::{push_ip, push_socket_addr, push_u64};
use crate::stdx::time::Wall;

/// One finished exchange, borrowed from where it lives. What is `None` is left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request began.
    pub time: Wall,
    /// From then until the exchange was over.
    pub duration: Duration,
    /// Who asked, by the configured trust.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    pub listener: &'a str,
    pub route: Option<&'a str>,
    pub service: Option<&'a str>,
    pub upstream: Option<SocketAddr>,
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// Normalised: the bytes that were matched and sent.
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    /// `HTTP/1.1`
    pub version: &'static str,
    /// 0 when no answer was sent.
    pub status: u16,
    pub request_id: &'a [u8],
    /// What it was called under a name of the operator's choice, if that is something else.
    pub request_id_sent: Option<&'a [u8]>,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    /// Until the upstream's first byte.
    pub upstream_duration: Option<Duration>,
    pub retried: bool,
    /// The problem type of our own answer, or what ended the exchange.
    pub error: Option<&'static str>,
    /// The policy that refused the request, and why.
    pub policy: Option<&'static str>,
    pub reason: Option<&'static str>,
    /// Why a policy that only logs would have refused it.
    pub would_refuse: Option<&'static str>,
    /// Who asked, and by what that is known, as a policy has verified.
    pub consumer: Option<&'a str>,
    pub credential: Option<&'a str>,
    pub user_agent: Option<&'a [u8]>,
    /// Up to its query: what a page was asked for with is no more for a log than what the request was, and there nobody
    /// knows which arguments are secrets.
    pub referer: Option<&'a [u8]>,
}

impl Record<'_> {
    /// Appends the line, of at most [`LINE_BYTES_MAX`] bytes, its `\n` included.
    pub fn write_json(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(clock.stamp(self.time));
        out.push(b'"');
        let mut line = Line { out, cut: false };
        line.number(key!("duration_us"), micros(self.duration));
        line.quoted(text_key!("client"), |out| push_ip(out, self.client));
        line.quoted(text_key!("peer"), |out| push_socket_addr(out, self.peer));
        line.text(text_key!("listener"), self.listener.as_bytes(), NAME_BYTES_MAX);
        line.maybe_text(text_key!("route"), self.route.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("service"), self.service.map(str::as_bytes), NAME_BYTES_MAX);
        if let Some(upstream) = self.upstream {
            line.quoted(text_key!("upstream"), |out| push_socket_addr(out, upstream));
        }
        line.text(text_key!("method"), self.method, NAME_BYTES_MAX);
        line.text(text_key!("host"), self.host, NAME_BYTES_MAX);
        line.text(text_key!("path"), self.path, TEXT_BYTES_MAX);
        line.maybe_text(text_key!("query"), self.query, TEXT_BYTES_MAX);
        line.quoted(text_key!("version"), |out| out.extend_from_slice(self.version.as_bytes()));
        line.number(key!("status"), self.status.into());
        line.text(text_key!("request_id"), self.request_id, NAME_BYTES_MAX);
        line.maybe_text(text_key!("request_id_sent"), self.request_id_sent, NAME_BYTES_MAX);
        line.number(key!("request_body_bytes"), self.request_body_bytes);
        line.number(key!("response_body_bytes"), self.response_body_bytes);
        if let Some(duration) = self.upstream_duration {
            line.number(key!("upstream_duration_us"), micros(duration));
        }
        line.flag(key!("retried"), self.retried);
        line.maybe_text(text_key!("error"), self.error.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("policy"), self.policy.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("reason"), self.reason.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("would_refuse"), self.would_refuse.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("consumer"), self.consumer.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("credential"), self.credential.map(str::as_bytes), NAME_BYTES_MAX);
        line.maybe_text(text_key!("user_agent"), self.user_agent, TEXT_BYTES_MAX);
        line.maybe_text(text_key!("referer"), self.referer.map(page), TEXT_BYTES_MAX);
        let cut = line.cut;
        line.flag(key!("cut"), cut);
        out.extend_from_slice(b"}\n");
    }
}

/// A URL without its query and its fragment.
fn page(url: &[u8]) -> &[u8] {
    &url[..memchr::memchr2(b'?', b'#', url).unwrap_or(url.len())]
}

/// A line in the making. Inlined, so that a key is a few moves of known length.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    /// Some value was longer than its bound.
    cut: bool,
}

impl Line<'_> {
    #[inline]
    fn number(&mut self, key: &'static [u8], number: u64) {
        self.out.extend_from_slice(key);
        push_u64(self.out, number);
    }

    /// Written only when true: nearly always it is not.
    #[inline]
    fn flag(&mut self, key: &'static [u8], value: bool) {
        if value {
            self.out.extend_from_slice(key);
            self.out.extend_from_slice(b"true");
        }
    }

    /// For what never needs an escape.
    #[inline]
    fn quoted(&mut self, key: &'static [u8], push: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(key);
        push(self.out);
        self.out.push(b'"');
    }

    #[inline]
    fn text(&mut self, key: &'static [u8], bytes: &[u8], bytes_max: usize) {
        self.cut |= bytes.len() > bytes_max;
        self.out.extend_from_slice(key);
        json::push_text(self.out, &bytes[..bytes.len().min(bytes_max)]);
        self.out.push(b'"');
    }

    #[inline]
    fn maybe_text(&mut self, key: &'static [u8], bytes: Option<&[u8]>, bytes_max: usize) {
        if let Some(bytes) = bytes {
            self.text(key, bytes, bytes_max);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A key with the comma before it and the colon after it, put together when compiled: one copy a key.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}
use key;

/// The same for a string, whose opening quote is copied with it.
macro_rules! text_key {
    ($name:literal) => {
        concat!(",\"", $name, "\":\"").as_bytes()
    };
}
use text_key;

/// A longer value is cut, and the line says so with `"cut":true`: a line has a bound, and is never dropped for its
/// length, which would let a client hide.
const TEXT_BYTES_MAX: usize = 2_048;
/// The same for names, which are short when they are honest.
const NAME_BYTES_MAX: usize = 256;
const TEXTS: usize = 4;
const NAMES: usize = 10;
/// Keys, quotes, numbers at their longest, three addresses.
const FIXED_BYTES_MAX: usize = STAMP_BYTES + 768 + 3 * 64;
/// No line is longer.
pub const LINE_BYTES_MAX: usize =
    (TEXTS * TEXT_BYTES_MAX + NAMES * NAME_BYTES_MAX) * ESCAPED_BYTES_MAX + FIXED_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn smallest() -> Record<'static> {
        Record {
            time: Wall::from_nanos(1_735_689_600_007_000_000),
            duration: Duration::from_micros(1_234),
            client: [203, 0, 113, 9].into(),
            peer: ([10, 0, 0, 2], 40_000).into(),
            listener: "public",
            route: None,
            service: None,
            upstream: None,
            method: b"GET",
            host: b"example.org",
            path: b"/a",
            query: None,
            version: "HTTP/1.1",
            status: 404,
            request_id: b"r-1",
            request_id_sent: None,
            request_body_bytes: 0,
            response_body_bytes: 181,
            upstream_duration: None,
            retried: false,
            error: None,
            policy: None,
            reason: None,
            would_refuse: None,
            consumer: None,
            credential: None,
            user_agent: None,
            referer: None,
        }
    }

    #[track_caller]
    fn check(record: &Record<'_>, want: &str) {
        let mut out = b"before\n".to_vec();
        record.write_json(&mut out, &mut Clock::new());
        assert_eq!(String::from_utf8(out).unwrap(), format!("before\n{want}\n"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        check(
            &smallest(),
            concat!(
                r#"{"time":"2025-01-01T00:00:00.007Z","duration_us":1234,"client":"203.0.113.9","#,
                r#""peer":"10.0.0.2:40000","listener":"public","method":"GET","host":"example.org","path":"/a","#,
                r#""version":"HTTP/1.1","status":404,"request_id":"r-1","request_body_bytes":0,"#,
                r#""response_body_bytes":181}"#,
            ),
        );
    }

    #[test]
    fn of_a_page_its_place_is_told_alone() {
        for (url, want) in [
            ("https://a.test/b", "https://a.test/b"),
            ("https://a.test/b?key=s#c", "https://a.test/b"),
            ("https://a.test/b#access_token=s?c", "https://a.test/b"),
            ("?key=s", ""),
        ] {
            assert_eq!(page(url.as_bytes()), want.as_bytes(), "{url}");
        }
    }

    #[test]
    fn every_field_has_its_place() {
        let record = Record {
            client: "2001:db8::1".parse().unwrap(),
            peer: "[::1]:5".parse().unwrap(),
            route: Some("agents"),
            service: Some("pool \"a\""),
            upstream: Some(([127, 0, 0, 1], 9_000).into()),
            query: Some(b"q=\x1b"),
            request_id_sent: Some(b"t-1"),
            upstream_duration: Some(Duration::from_millis(2)),
            retried: true,
            error: Some("upstream-timeout"),
            policy: Some("cors"),
            reason: Some("odd"),
            would_refuse: Some("role_missing"),
            consumer: Some("ann"),
            credential: Some("a\"b"),
            user_agent: Some(b"curl/8"),
            referer: Some(b"\r\n{\"forged\":1}?key=secret"),
            ..smallest()
        };
        check(
            &record,
            concat!(
                r#"{"time":"2025-01-01T00:00:00.007Z","duration_us":1234,"client":"2001:db8::1","peer":"[::1]:5","#,
                r#""listener":"public","route":"agents","service":"pool \"a\"","upstream":"127.0.0.1:9000","#,
                r#""method":"GET","host":"example.org","path":"/a","query":"q=\u001b","version":"HTTP/1.1","#,
                r#""status":404,"request_id":"r-1","request_id_sent":"t-1","request_body_bytes":0,"#,
                r#""response_body_bytes":181,"#,
                r#""upstream_duration_us":2000,"retried":true,"error":"upstream-timeout","policy":"cors","#,
                r#""reason":"odd","would_refuse":"role_missing","consumer":"ann","credential":"a\"b","#,
                r#""user_agent":"curl/8","#,
                r#""referer":"\u000d\u000a{\"forged\":1}"}"#,
            ),
        );
    }

    #[test]
    fn the_longest_line_stays_within_its_bound_and_says_that_it_was_cut() {
        let (bytes, name) = ([0x1b; 70_000], "\u{1b}".repeat(70_000));
        let widest = SocketAddr::new("1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap(), u16::MAX);
        let record = Record {
            duration: Duration::MAX,
            client: widest.ip(),
            peer: widest,
            listener: &name,
            route: Some(&name),
            service: Some(&name),
            upstream: Some(widest),
            method: &bytes,
            host: &bytes,
            path: &bytes,
            query: Some(&bytes),
            status: u16::MAX,
            request_id: &bytes,
            request_id_sent: Some(&bytes),
            request_body_bytes: u64::MAX,
            response_body_bytes: u64::MAX,
            upstream_duration: Some(Duration::MAX),
            retried: true,
            error: Some("e"),
            policy: Some("p"),
            reason: Some("r"),
            would_refuse: Some("w"),
            consumer: Some(&name),
            credential: Some(&name),
            user_agent: Some(&bytes),
            referer: Some(&bytes),
            ..smallest()
        };
        let mut out = Vec::new();
        record.write_json(&mut out, &mut Clock::new());
        assert!(out.len() <= LINE_BYTES_MAX, "{} bytes", out.len());
        assert!(out.len() > LINE_BYTES_MAX * 9 / 10, "the bound is near the truth: {} bytes", out.len());
        assert!(out.ends_with(b",\"cut\":true}\n"));
    }
}

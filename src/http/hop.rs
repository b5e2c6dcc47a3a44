//! What of a head goes no further: what was meant for one hop (RFC 9110 §7.6.1), what the gateway writes anew, and what
//! is not its sender's to say.
//!
//! Connection names more for one hop. What of a request the gateway sets or needs it does not take away, else a client
//! could hide who asks (`Authorization`, `Cookie`), by which way (`X-Forwarded-*`, `X-Real-IP`, `Forwarded`, `Via`,
//! `X-Request-Id`), or what for (`Host`, `Max-Forwards`): what was judged is what the service gets.

use super::field::{Field, Known, is_a_gateways};
use super::head::{Method, RequestHead, ResponseHead};

/// Which fields of a head stay behind.
#[derive(Clone, Copy, Debug)]
pub struct Stops {
    /// A bit for each name.
    known: u32,
    /// Those that only a gateway may send.
    gateways: bool,
}

impl Stops {
    pub fn and(self, known: Known) -> Self {
        Self { known: self.known | 1 << known as u32, ..self }
    }

    pub fn but(self, known: Known) -> Self {
        Self { known: self.known & !(1 << known as u32), ..self }
    }

    #[inline(always)]
    fn has(self, known: Known) -> bool {
        self.known >> known as u32 & 1 == 1
    }
}

impl RequestHead {
    /// Who is not trusted speaks for nobody but itself.
    #[inline]
    pub fn stops(&self, bytes: &[u8], peer_is_trusted: bool) -> Stops {
        let always = if peer_is_trusted { NOT_REQUESTED } else { NOT_REQUESTED | ONLY_TRUSTED };
        Stops { known: always | (self.table.connection_known(bytes) & TAKEN_AWAY), gateways: !peer_is_trusted }
    }

    #[inline(always)]
    pub fn is_stopped(&self, bytes: &[u8], field: &Field, stops: Stops) -> bool {
        match field.known {
            Known::Other => {
                let name = field.name.of(bytes);
                if is_a_gateways(name) { stops.gateways } else { self.connection_lists(bytes, name) }
            }
            known => stops.has(known),
        }
    }

    /// Which fields are not there for policies, as they do not go on.
    pub fn stays_behind(&self, bytes: &[u8], peer_is_trusted: bool) -> impl Fn(&Field) -> bool {
        let stops = self.stops(bytes, peer_is_trusted);
        move |field| self.is_stopped(bytes, field, stops)
    }

    /// Which fields a route may go by. A service that is chosen by what it does not get would take it for said.
    pub fn is_for_routes(&self, bytes: &[u8], peer_is_trusted: bool) -> impl Fn(&Field) -> bool {
        let mut stops = self.stops(bytes, peer_is_trusted);
        stops.known &= !SAID_ANEW;
        if peer_is_trusted {
            stops.known &= !CONTINUED;
        }
        if self.upgrade.is_some() {
            stops = stops.but(Known::Upgrade);
        }
        move |field| !self.is_stopped(bytes, field, stops)
    }

    /// How often the request may still be forwarded (RFC 9110 §7.6.2): of those whose answer tells of the way, if they
    /// say it with a number.
    #[inline]
    pub fn forwards_left(&self, bytes: &[u8]) -> Option<u64> {
        if self.table.has(Known::MaxForwards) { self.read_forwards(bytes) } else { None }
    }

    #[cold]
    fn read_forwards(&self, bytes: &[u8]) -> Option<u64> {
        let is_asked = matches!(self.method, Method::Options | Method::Trace);
        let digits = self.value(bytes, Known::MaxForwards).filter(|value| is_asked && !value.is_empty())?;
        // More than a number holds is more than anybody forwards.
        let more = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| more(number, digit)))
    }
}

impl ResponseHead {
    #[inline]
    pub fn stops(&self, bytes: &[u8]) -> Stops {
        Stops { known: NOT_FORWARDED | self.table.connection_known(bytes), gateways: false }
    }

    /// Whether it goes on with a Date of its own.
    #[inline]
    pub fn has_date(&self, bytes: &[u8]) -> bool {
        self.table.has(Known::Date) && !self.stops(bytes).has(Known::Date)
    }

    #[inline(always)]
    pub fn is_stopped(&self, bytes: &[u8], field: &Field, stops: Stops) -> bool {
        match field.known {
            Known::Other => self.connection_lists(bytes, field.name.of(bytes)),
            known => stops.has(known),
        }
    }
}

/// Fields that are written anew or are meant for this hop.
const NOT_FORWARDED: u32 = bits(&[
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::ProxyAuthenticate,
    Known::Te,
    Known::Upgrade,
]);
/// Of a request these too.
const NOT_REQUESTED: u32 = NOT_FORWARDED
    | bits(&[Known::ProxyAuthorization, Known::Expect, Known::XForwardedFor, Known::Forwarded, Known::XRequestId]);
/// Those of them in which a trusted peer's account goes on.
const CONTINUED: u32 = bits(&[Known::XForwardedFor, Known::Forwarded, Known::XRequestId]);
/// Those of them that say anew what they said.
const SAID_ANEW: u32 = bits(&[Known::ContentLength, Known::TransferEncoding, Known::Expect]);
/// Those of the other ones that Connection takes away.
const TAKEN_AWAY: u32 = bits(&[Known::Trailer, Known::Date, Known::UserAgent, Known::Referer]);
/// Fields that only a trusted peer may send.
const ONLY_TRUSTED: u32 = bits(&[Known::XForwardedProto, Known::XForwardedHost, Known::XForwardedPort, Known::XRealIp]);
/// A bit for each name.
const fn bits(names: &[Known]) -> u32 {
    let (mut bits, mut index) = (0, 0);
    while index < names.len() {
        bits |= 1 << names[index] as u32;
        index += 1;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::Scan;
    use crate::http::head::{HeadLimits, Underscores};

    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: 1024,
        fields_max: 20,
        uri_bytes_max: 64,
        underscores: Underscores::Drop,
        merge_slashes: true,
    };

    /// The names of those fields for which `is_one` holds.
    fn names(fields: &[Field], text: &str, is_one: impl Fn(&Field) -> bool) -> String {
        let names = fields.iter().filter(|field| is_one(field)).map(|field| field.name.of(text.as_bytes()));
        names.map(|name| std::str::from_utf8(name).unwrap()).collect::<Vec<_>>().join(" ")
    }

    fn request(fields: &str) -> (RequestHead, String) {
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut head = RequestHead::new();
        assert_eq!(head.parse(text.as_bytes(), &LIMITS, &mut Scan::new()), Ok(Some(text.len())), "{text}");
        (head, text)
    }

    /// Which fields behind Host routes see of an untrusted client, and of a trusted peer.
    #[track_caller]
    fn check_routes(fields: &str, untrusted: &str, trusted: &str) {
        let (head, text) = request(fields);
        for (peer_is_trusted, want) in [(false, untrusted), (true, trusted)] {
            let is_seen = head.is_for_routes(text.as_bytes(), peer_is_trusted);
            assert_eq!(names(&head.fields()[1..], &text, is_seen), want, "{fields} {peer_is_trusted}");
        }
    }

    #[test]
    fn only_questions_about_the_way_say_how_often_they_may_be_forwarded() {
        #[track_caller]
        fn check(method: &str, fields: &str, want: Option<u64>) {
            let text = format!("{method} / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let mut head = RequestHead::new();
            assert_eq!(head.parse(text.as_bytes(), &LIMITS, &mut Scan::new()), Ok(Some(text.len())), "{text}");
            assert_eq!(head.forwards_left(text.as_bytes()), want, "{method} {fields}");
        }
        for method in ["TRACE", "OPTIONS"] {
            check(method, "", None);
            check(method, "Max-Forwards: 0\r\n", Some(0));
            check(method, "max-forwards: 010\r\n", Some(10));
            check(method, "Max-Forwards: 99999999999999999999\r\n", Some(u64::MAX));
            for value in ["", "+1", "-1", "1, 2", "1.0", "a"] {
                check(method, &format!("Max-Forwards: {value}\r\n"), None);
            }
        }
        check("GET", "Max-Forwards: 0\r\n", None);
    }

    #[test]
    fn connection_takes_away_what_the_gateway_neither_sets_nor_needs() {
        let (kept, gone) = (
            "Via Max-Forwards X-Real-IP X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port Cookie Authorization",
            "X-A User-Agent Referer Date Trailer",
        );
        let all = format!("{kept} {gone}");
        let fields: String = all.split(' ').map(|name| format!("{name}: a\r\n")).collect();
        let list = all.replace(' ', ",").to_lowercase();
        let (head, text) = request(&format!("{fields}Connection: host,{list}\r\n"));
        let stays_behind = head.stays_behind(text.as_bytes(), true);
        assert_eq!(names(head.fields(), &text, stays_behind), format!("{gone} Connection"));
        let (head, text) = request(&fields);
        assert_eq!(names(head.fields(), &text, head.stays_behind(text.as_bytes(), true)), "");
    }

    #[test]
    fn of_a_response_connection_takes_away_all_that_it_names() {
        let text = "HTTP/1.1 200 OK\r\nDate: a\r\nVia: b\r\nServer: c\r\nConnection: date, server\r\n\r\n";
        let mut head = ResponseHead::new();
        assert_eq!(head.parse(text.as_bytes(), &LIMITS, &mut Scan::new()), Ok(Some(text.len())));
        let stops = head.stops(text.as_bytes());
        let is_stopped = |field: &Field| head.is_stopped(text.as_bytes(), field, stops);
        assert_eq!(names(head.fields(), text, is_stopped), "Date Server Connection");
        assert!(!head.has_date(text.as_bytes()));
    }

    #[test]
    fn routes_go_by_what_goes_on() {
        check_routes("X-A: 1\r\nCookie: b\r\n", "X-A Cookie", "X-A Cookie");
        check_routes("X-Internal: 1\r\nConnection: x-internal\r\nX-A: 1\r\n", "X-A", "X-A");
        check_routes("X-Forwarded-Proto: https\r\nX-Real-IP: ::1\r\n", "", "X-Forwarded-Proto X-Real-IP");
        check_routes("X-Consumer-Username: root\r\n", "", "X-Consumer-Username");
        check_routes("X-Forwarded-For: ::1\r\nX-Request-Id: a\r\n", "", "X-Forwarded-For X-Request-Id");
        check_routes("Proxy-Authorization: a\r\nKeep-Alive: b\r\nTE: c\r\n", "", "");
        check_routes("Upgrade: websocket\r\n", "", "");
        check_routes("Upgrade: websocket\r\nConnection: upgrade\r\n", "Upgrade", "Upgrade");
    }
}

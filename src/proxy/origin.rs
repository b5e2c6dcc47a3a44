//! What the gateway says of a client's connection to an upstream: the same for all its requests, so written once.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Header text about one connection.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// All lines up to the first parameter of `Forwarded`.
    text: [u8; TEXT_BYTES_MAX],
    length: u8,
    address: Part,
    port: Part,
    forwarded: Part,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    start: u8,
    end: u8,
}

impl Origin {
    /// What comes before a host in `Forwarded`. It may hold characters that a token may not (RFC 7239 §4), so it is
    /// always quoted.
    pub const HOST: &[u8] = b";host=\"";

    pub fn new(peer: IpAddr, local: SocketAddr) -> Self {
        let mut text = [0; TEXT_BYTES_MAX];
        let mut rest = &mut text[..];
        let mut put = |part: std::fmt::Arguments<'_>| {
            let before = rest.len();
            let written = rest.write_fmt(part);
            debug_assert!(written.is_ok(), "the longest address fits");
            let (start, end) = (TEXT_BYTES_MAX - before, TEXT_BYTES_MAX - rest.len());
            Part { start: start as u8, end: end as u8 }
        };
        let peer = peer.to_canonical();
        put(format_args!("X-Forwarded-For: "));
        let address = put(format_args!("{peer}"));
        put(format_args!("\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: "));
        let port = put(format_args!("{}", local.port()));
        put(format_args!("\r\nForwarded: "));
        // RFC 7239 §6: an IPv6 address is bracketed, and quoted for its colons.
        let forwarded = match peer {
            IpAddr::V4(peer) => put(format_args!("for={peer};proto=http")),
            IpAddr::V6(peer) => put(format_args!("for=\"[{peer}]\";proto=http")),
        };
        let host = put(format_args!("{}", str::from_utf8(Self::HOST).unwrap_or_default()));
        Self { text, length: host.end, address, port, forwarded }
    }

    /// `X-Forwarded-For`, `-Proto` and `-Port`, and `Forwarded` without its line's end.
    pub fn headers(&self) -> &[u8] {
        &self.text[..usize::from(self.forwarded.end)]
    }

    /// The same up to a host, which follows with a quotation mark behind it.
    pub fn headers_with_host(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    pub fn address(&self) -> &[u8] {
        self.part(self.address)
    }

    pub fn port(&self) -> &[u8] {
        self.part(self.port)
    }

    /// The element of `Forwarded`, to which a host may be added.
    pub fn forwarded(&self) -> &[u8] {
        self.part(self.forwarded)
    }

    fn part(&self, part: Part) -> &[u8] {
        &self.text[usize::from(part.start)..usize::from(part.end)]
    }
}

/// The names and punctuation take 99 bytes, an IPv6 address at most 39, twice, and a port 5.
const TEXT_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, headers: &str, address: &str, forwarded: &str) {
        let origin = Origin::new(peer.parse().unwrap(), "10.0.0.1:65535".parse().unwrap());
        assert_eq!(std::str::from_utf8(origin.headers()).unwrap(), headers);
        assert_eq!((origin.address(), origin.port()), (address.as_bytes(), &b"65535"[..]));
        assert_eq!(origin.forwarded(), forwarded.as_bytes());
    }

    #[test]
    fn addresses_are_written_as_the_rfc_says() {
        check(
            "192.0.2.7",
            "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 65535\r\n\
             Forwarded: for=192.0.2.7;proto=http",
            "192.0.2.7",
            "for=192.0.2.7;proto=http",
        );
        let longest = "2001:1db8:1111:2222:3333:4444:5555:6666";
        check(
            longest,
            &format!(
                "X-Forwarded-For: {longest}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 65535\r\n\
                 Forwarded: for=\"[{longest}]\";proto=http"
            ),
            longest,
            &format!("for=\"[{longest}]\";proto=http"),
        );
        assert_eq!(
            Origin::new("::ffff:10.1.1.1".parse().unwrap(), "1.1.1.1:1".parse().unwrap()).address(),
            b"10.1.1.1"
        );
    }
}

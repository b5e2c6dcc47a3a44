//! `host[:port]`, as Host and an absolute target carry it (RFC 9110 §7.2).

use std::net::Ipv6Addr;

/// An authority that was read; its host is in the buffer it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    pub port: Option<u16>,
}

/// As DNS has it (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// A host, its final dot, a colon and five digits.
const AUTHORITY_BYTES_MAX: usize = HOST_BYTES_MAX + 7;

impl Authority {
    /// Fills `host` with the lower-case host, without its final dot. `None` when it is no host with an optional port:
    /// userinfo, an empty host or port, and what two readers could take for two hosts are none.
    ///
    /// `host` is empty or what a call before left there: a connection asks for one host again and again, and a host
    /// that was read once is read as itself.
    pub fn read(sent: &[u8], host: &mut Vec<u8>) -> Option<Self> {
        let again = !host.is_empty() && sent.starts_with(host) && matches!(sent.get(host.len()), None | Some(b':'));
        let authority = if again { Self::with_port(&sent[host.len()..]) } else { Self::read_anew(sent, host) };
        if authority.is_none() {
            host.clear();
        }
        authority
    }

    fn read_anew(sent: &[u8], host: &mut Vec<u8>) -> Option<Self> {
        host.clear();
        if sent.len() > AUTHORITY_BYTES_MAX {
            return None;
        }
        let host_len = match sent.first() {
            Some(b'[') => read_ipv6(sent, host)?,
            _ => read_name(sent, host)?,
        };
        Self::with_port(&sent[host_len..])
    }

    /// `rest` follows the host.
    fn with_port(rest: &[u8]) -> Option<Self> {
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(read_port(digits)?),
            _ => return None,
        };
        Some(Self { port })
    }
}

/// A reg-name (RFC 3986 §3.2.2) or IPv4 address up to the first other byte. Less than the grammar: no triplets and no
/// comma (a list of two), no empty labels.
fn read_name(sent: &[u8], host: &mut Vec<u8>) -> Option<usize> {
    host.extend_from_slice(sent);
    let (mut len, mut before) = (0_usize, b'.');
    for byte in host.iter_mut() {
        let lower = NAME[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        if lower == b'.' && before == b'.' {
            return None;
        }
        *byte = lower;
        before = lower;
        len += 1;
    }
    let host_len = if before == b'.' { len.checked_sub(1)? } else { len };
    host.truncate(host_len);
    (1..=HOST_BYTES_MAX).contains(&host_len).then_some(len)
}

/// `[address]`, without a zone.
fn read_ipv6(sent: &[u8], host: &mut Vec<u8>) -> Option<usize> {
    let len = sent.iter().position(|&byte| byte == b']')? + 1;
    str::from_utf8(&sent[1..len - 1]).ok()?.parse::<Ipv6Addr>().ok()?;
    host.extend_from_slice(&sent[..len]);
    host.make_ascii_lowercase();
    Some(len)
}

fn read_port(digits: &[u8]) -> Option<u16> {
    if !(1..=5).contains(&digits.len()) {
        return None;
    }
    let mut port = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        port = port * 10 + u32::from(value);
    }
    u16::try_from(port).ok()
}

/// Bytes of a name, lower-cased; 0 for all others.
const NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            lower @ (b'a'..=b'z' | b'0'..=b'9') => lower,
            upper @ b'A'..=b'Z' => upper.to_ascii_lowercase(),
            other @ (b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';'
            | b'=') => other,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &str, host: &str, port: Option<u16>) {
        let mut out = b"from.the.last.request".to_vec();
        for _ in ["anew", "again"] {
            assert_eq!(Authority::read(sent.as_bytes(), &mut out), Some(Authority { port }), "{sent}");
            assert_eq!(out, host.as_bytes(), "{sent}");
        }
    }

    #[track_caller]
    fn check_refused(sent: &str) {
        let mut out = Vec::new();
        for _ in ["anew", "again"] {
            assert_eq!(Authority::read(sent.as_bytes(), &mut out), None, "{sent}");
        }
    }

    #[test]
    fn a_host_loses_its_case_its_port_and_its_final_dot() {
        check("example.com", "example.com", None);
        check("Example.COM:8080", "example.com", Some(8080));
        check("example.com.", "example.com", None);
        check("example.com.:443", "example.com", Some(443));
        check("a_b-c~1", "a_b-c~1", None);
        check("127.0.0.1:65535", "127.0.0.1", Some(65535));
        check("a:00080", "a", Some(80));
        check("[::1]", "[::1]", None);
        check("[2001:DB8::1]:80", "[2001:db8::1]", Some(80));
        check(&"a".repeat(255), &"a".repeat(255), None);
    }

    #[test]
    fn what_is_not_one_host_with_an_optional_port_is_refused() {
        for sent in ["", ".", ":80", "a:", "a:b", "a:+1", "a:65536", "a:000080", "a:80:80", "a b", "a\tb", "a/b", "a?b"]
        {
            check_refused(sent);
        }
        for sent in ["user@a", "a,b", "a%41", "a..b", ".a", "a\\b", "a#b", "\u{e9}", "a<", "\"a\"", "a|b", "{a}"] {
            check_refused(sent);
        }
        for sent in ["[", "[]", "[::1", "::1", "[::1]x", "[::1]:", "[fe80::1%25eth0]", "[v1.a]", "[a]", "a[::1]"] {
            check_refused(sent);
        }
        check_refused(&"a".repeat(256));
        let mut out = b"a".to_vec();
        for sent in ["a:", "a:b", "a..b", "a b", "a@b", "a,b"] {
            assert_eq!(Authority::read(sent.as_bytes(), &mut out), None, "after a: {sent}");
            assert_eq!(Authority::read(b"a", &mut out), Some(Authority { port: None }));
        }
        check_refused(&format!("[{}]", "1:".repeat(200)));
    }
}

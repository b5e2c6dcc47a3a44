//! The header by which a load balancer says whose connection it passes on: PROXY protocol, versions 1 and 2, as
//! HAProxy's `proxy-protocol.txt` defines them. Bytes in, verdict out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    Proxied {
        source: SocketAddr,
    },
    /// The load balancer's own, a health check for one; or one of which it does not tell.
    Local,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    #[error("no PROXY header")]
    Absent,
    #[error("a malformed PROXY header")]
    Malformed,
    #[error("a PROXY header that is longer than allowed")]
    TooLong,
    #[error("a PROXY header with a wrong checksum")]
    Checksum,
    #[error("a PROXY header for a protocol that is not TCP")]
    NotTcp,
}

/// The header and its length, or `None` while more bytes are needed to tell.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let begins_with = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if begins_with(V2_SIGNATURE) {
        return if bytes.len() < V2_FIXED_BYTES { Ok(None) } else { version_2(bytes) };
    }
    if begins_with(V1_SIGNATURE) {
        return version_1(bytes);
    }
    Err(HeaderError::Absent)
}

fn version_1(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| HeaderError::Malformed)?;
    let rest = line.strip_prefix("PROXY ").ok_or(HeaderError::Malformed)?;
    let header = if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") { Header::Local } else { addresses(rest)? };
    Ok(Some((header, end + 2)))
}

/// `TCP4 192.0.2.1 192.0.2.2 1234 80`, exactly one space between two.
fn addresses(text: &str) -> Result<Header, HeaderError> {
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or(HeaderError::Malformed);
    let (family, source, destination) = (word()?, word()?, word()?);
    let source_port = port(word()?)?;
    // The destination says nothing that is used here, but a header that gets it wrong is wrong.
    port(word()?)?;
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| HeaderError::Malformed);
    let (source, destination) = (address(source)?, address(destination)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    if !fits || words.next().is_some() {
        return Err(HeaderError::Malformed);
    }
    Ok(Header::Proxied { source: SocketAddr::new(source, source_port) })
}

/// "0" to "65535" without leading zeros or sign.
fn port(text: &str) -> Result<u16, HeaderError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().map_err(|_| HeaderError::Malformed) } else { Err(HeaderError::Malformed) }
}

fn version_2(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let (command, family) = (bytes[12], bytes[13]);
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if !matches!(command, V2_LOCAL | V2_PROXY) {
        return Err(HeaderError::Malformed);
    }
    if length > V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    if command == V2_LOCAL {
        // "The receiver must accept this connection as valid and must use the real connection endpoints".
        return Ok(Some((Header::Local, length)));
    }
    let body = &header[V2_FIXED_BYTES..];
    let (source, addresses_bytes) = match family {
        UNSPECIFIED => return Ok(Some((Header::Local, length))),
        TCP_OVER_IPV4 => {
            let block: &[u8; 12] = body.first_chunk().ok_or(HeaderError::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *block;
            (SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))), block.len())
        }
        TCP_OVER_IPV6 => {
            let block: &[u8; 36] = body.first_chunk().ok_or(HeaderError::Malformed)?;
            let source: [u8; 16] = *block.first_chunk().expect("it is the first part of the block");
            (SocketAddr::from((Ipv6Addr::from(source), u16::from_be_bytes([block[32], block[33]]))), block.len())
        }
        _ => return Err(HeaderError::NotTcp),
    };
    extensions(header, V2_FIXED_BYTES + addresses_bytes)?;
    Ok(Some((Header::Proxied { source }, length)))
}

/// The type-length-value list behind the addresses. All is skipped but the checksum, which must be right if it is
/// there.
fn extensions(header: &[u8], start: usize) -> Result<(), HeaderError> {
    let mut at = start;
    while at < header.len() {
        let prefix: &[u8; 3] = header[at..].first_chunk().ok_or(HeaderError::Malformed)?;
        let value_at = at + prefix.len();
        let end = value_at + usize::from(u16::from_be_bytes([prefix[1], prefix[2]]));
        let value = header.get(value_at..end).ok_or(HeaderError::Malformed)?;
        if prefix[0] == TYPE_CRC32C {
            let sum: [u8; 4] = value.try_into().map_err(|_| HeaderError::Malformed)?;
            if crc32c(header, value_at..end) != u32::from_be_bytes(sum) {
                return Err(HeaderError::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// Of `bytes`, those in `zeroed` taken for zero. A bit at a time: it is computed once a connection, over few bytes.
fn crc32c(bytes: &[u8], zeroed: std::ops::Range<usize>) -> u32 {
    let mut sum = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        sum ^= u32::from(if zeroed.contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { CASTAGNOLI } else { 0 };
        }
    }
    !sum
}

const V1_SIGNATURE: &[u8] = b"PROXY";
/// With the line's end, for two IPv6 addresses at their longest.
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;
/// Addresses and a generous list of extensions; a head buffer holds it.
const V2_BYTES_MAX: usize = 4096;
const V2_LOCAL: u8 = 0x20;
const V2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const TYPE_CRC32C: u8 = 0x03;
/// The polynomial, its bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn v4_with(extensions: &[u8]) -> Vec<u8> {
        v2(V2_PROXY, TCP_OVER_IPV4, &[&V4, extensions].concat())
    }

    fn summed() -> Vec<u8> {
        let mut bytes = v4_with(&[0x04, 0, 1, b'x', TYPE_CRC32C, 0, 4, 0, 0, 0, 0]);
        let at = bytes.len() - 4;
        let sum = crc32c(&bytes, 0..0);
        bytes[at..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn proxied(source: &str) -> Result<Header, HeaderError> {
        Ok(Header::Proxied { source: source.parse().unwrap() })
    }

    /// The verdict is the same whatever follows, and every part of a good header is only incomplete.
    #[track_caller]
    fn check(bytes: &[u8], want: Result<Header, HeaderError>) {
        let got = parse(bytes).map(|header| header.expect("it is complete"));
        assert_eq!(got.map(|(header, _)| header), want, "{:?}", bytes.escape_ascii().to_string());
        if let Ok((_, length)) = got {
            assert_eq!(length, bytes.len());
            (0..length).for_each(|part| assert_eq!(parse(&bytes[..part]), Ok(None), "its first {part} bytes"));
            let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&more), Ok(got.ok()));
        }
    }

    #[test]
    fn version_1_is_one_exact_line() {
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n", proxied("192.0.2.7:4660"));
        check(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", proxied("[2001:db8::7]:0"));
        check(b"PROXY UNKNOWN\r\n", Ok(Header::Local));
        check(b"PROXY UNKNOWN anything at all\r\n", Ok(Header::Local));
        let malformed = Err(HeaderError::Malformed);
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80 \r\n", malformed);
        check(b"PROXY TCP4 192.0.2.7  10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY  TCP4 192.0.2.7 10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 04660 80\r\n", malformed);
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 +466 80\r\n", malformed);
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n", malformed);
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 80\r\n", malformed);
        check(b"PROXY TCP4 2001:db8::7 ::1 4660 80\r\n", malformed);
        check(b"PROXY TCP6 192.0.2.7 10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY TCP4 192.0.2.07 10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY UDP4 192.0.2.7 10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY UNKNOWNS\r\n", malformed);
        check(b"PROXYTCP4 192.0.2.7 10.0.0.1 4660 80\r\n", malformed);
        check(b"PROXY TCP4 \xff\r\n", malformed);
        check(&[b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat(), Err(HeaderError::TooLong));
    }

    #[test]
    fn version_2_skips_what_it_does_not_know() {
        check(&v4_with(&[]), proxied("192.0.2.7:4660"));
        check(&v4_with(&[0xe0, 0, 2, 1, 2, 0x04, 0, 0]), proxied("192.0.2.7:4660"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&[0x12, 0x34]);
        check(&v2(V2_PROXY, TCP_OVER_IPV6, &v6), proxied("[2001:db8::7]:4660"));
        check(&v2(V2_LOCAL, UNSPECIFIED, &[]), Ok(Header::Local));
        check(&v2(V2_LOCAL, TCP_OVER_IPV4, &V4), Ok(Header::Local));
        check(&v2(V2_PROXY, UNSPECIFIED, &[1, 2, 3]), Ok(Header::Local));
    }

    #[test]
    fn version_2_refuses_what_is_wrong() {
        check(&v2(0x11, TCP_OVER_IPV4, &V4), Err(HeaderError::Malformed));
        check(&v2(0x22, TCP_OVER_IPV4, &V4), Err(HeaderError::Malformed));
        check(&v2(V2_PROXY, 0x12, &V4), Err(HeaderError::NotTcp));
        check(&v2(V2_PROXY, 0x31, &[0; 216]), Err(HeaderError::NotTcp));
        check(&v2(V2_PROXY, TCP_OVER_IPV4, &V4[..11]), Err(HeaderError::Malformed));
        check(&v2(V2_PROXY, TCP_OVER_IPV6, &V4), Err(HeaderError::Malformed));
        check(&v4_with(&[0x04, 0]), Err(HeaderError::Malformed));
        check(&v4_with(&[0x04, 0, 2, 1]), Err(HeaderError::Malformed));
        check(&v2(V2_PROXY, TCP_OVER_IPV4, &[0; V2_BYTES_MAX]), Err(HeaderError::TooLong));
    }

    #[test]
    fn a_checksum_must_be_right_if_it_is_there() {
        // RFC 3720, B.4: of 32 zeros.
        assert_eq!(crc32c(&[1; 32], 0..32), 0x8a91_36aa);
        check(&summed(), proxied("192.0.2.7:4660"));
        let mut wrong = summed();
        wrong[16] ^= 1;
        check(&wrong, Err(HeaderError::Checksum));
        check(&v4_with(&[TYPE_CRC32C, 0, 3, 0, 0, 0]), Err(HeaderError::Malformed));
    }

    #[test]
    fn what_is_no_header_is_told_at_its_first_wrong_byte() {
        for bytes in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"\r\n\r\nGET", b"\x16\x03\x01", b"proxy"] {
            assert_eq!(parse(bytes), Err(HeaderError::Absent), "{:?}", bytes.escape_ascii().to_string());
        }
    }
}

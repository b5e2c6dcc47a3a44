//! Numbers and addresses as text, appended to bytes: what `write!` does, at the price of a copy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The form of RFC 5952 for IPv6, as the standard library prints it.
pub fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => push_ipv4(out, v4),
        IpAddr::V6(v6) => push_ipv6(out, v6),
    }
}

/// `1.2.3.4:80` or `[::1]:80`. A scope is left out: it means nothing outside this node.
pub fn push_socket_addr(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => push_ipv4(out, *v4.ip()),
        SocketAddr::V6(v6) => {
            out.push(b'[');
            push_ipv6(out, *v6.ip());
            out.push(b']');
        }
    }
    out.push(b':');
    push_u64(out, address.port().into());
}

fn push_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

fn push_ipv6(out: &mut Vec<u8>, address: Ipv6Addr) {
    if let Some(v4) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return push_ipv4(out, v4);
    }
    let groups = address.segments();
    let gap = longest_zeros(&groups);
    push_groups(out, &groups[..gap.start]);
    if !gap.is_empty() {
        out.extend_from_slice(b"::");
        push_groups(out, &groups[gap.end..]);
    }
}

/// The run that `::` stands for: RFC 5952 §4.2, the longest run of two or more zero groups, the first of equals.
/// Without one, the empty range at the end.
fn longest_zeros(groups: &[u16; 8]) -> std::ops::Range<usize> {
    let (mut best, mut start) = (8..8, 0);
    while start < 8 {
        let length = groups[start..].iter().take_while(|&&group| group == 0).count();
        if length >= 2 && length > best.len() {
            best = start..start + length;
        }
        start += length + 1;
    }
    best
}

fn push_groups(out: &mut Vec<u8>, groups: &[u16]) {
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        let digits = (16 - group.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            out.push(HEX_DIGITS[usize::from(group >> (digit * 4) & 0xf)]);
        }
    }
}

pub const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    #[track_caller]
    fn check(address: SocketAddr) {
        let mut out = Vec::new();
        push_socket_addr(&mut out, address);
        assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
        let mut out = Vec::new();
        push_ip(&mut out, address.ip());
        assert_eq!(String::from_utf8(out).unwrap(), address.ip().to_string());
    }

    #[test]
    fn addresses_read_as_the_standard_library_prints_them() {
        for text in [
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.0.200.1:8080",
            "[::]:0",
            "[::1]:443",
            "[1::]:1",
            "[1:2:3:4:5:6:7:8]:1",
            "[2001:db8::1:0:0:1]:1",
            "[1:0:0:2::3]:1",
            "[1:0:2:0:3:0:4:0]:1",
            "[::ffff:192.0.2.1]:80",
            "[fe80::abc:def]:9",
        ] {
            check(text.parse().unwrap());
        }
    }

    #[test]
    fn any_address_reads_as_the_standard_library_prints_it() {
        let mut rng = Rng::new(5952);
        for _ in 0..2_000 {
            let groups: [u16; 8] =
                std::array::from_fn(|_| if rng.chance(600) { 0 } else { (rng.next_u64() >> rng.below(64)) as u16 });
            check((Ipv6Addr::from(groups), rng.next_u64() as u16).into());
            check((Ipv4Addr::from(rng.next_u64() as u32), rng.next_u64() as u16).into());
        }
    }

    #[test]
    fn numbers_are_plain_decimal() {
        for number in [0, 9, 10, u64::MAX] {
            let mut out = b"n=".to_vec();
            push_u64(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("n={number}"));
        }
    }
}

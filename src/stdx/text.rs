//! Numbers and addresses as text, appended to bytes: what `write!` does, at the price of a copy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub fn push_u64(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// The form of RFC 5952 for IPv6, as the standard library prints it.
pub fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    let mut text = AddressText::new();
    text.ip(address);
    out.extend_from_slice(text.as_bytes());
}

/// `1.2.3.4:80` or `[::1]:80`. A scope is left out: it means nothing outside this node.
pub fn push_socket_addr(out: &mut Vec<u8>, address: SocketAddr) {
    let mut text = AddressText::new();
    match address {
        SocketAddr::V4(v4) => text.ipv4(*v4.ip()),
        SocketAddr::V6(v6) => {
            text.push(b'[');
            text.ipv6(*v6.ip());
            text.push(b']');
        }
    }
    text.push(b':');
    text.decimal(address.port());
    out.extend_from_slice(text.as_bytes());
}

/// An address in the making, so that its many small pieces become one copy.
struct AddressText {
    bytes: [u8; ADDRESS_BYTES_MAX],
    len: usize,
}

impl AddressText {
    const fn new() -> Self {
        Self { bytes: [0; ADDRESS_BYTES_MAX], len: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.ipv4(v4),
            IpAddr::V6(v6) => self.ipv6(v6),
        }
    }

    fn ipv4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            self.bytes[self.len..][..4].copy_from_slice(&OCTETS[usize::from(octet)]);
            self.len += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
        }
        // Without the last dot.
        self.len -= 1;
    }

    fn ipv6(&mut self, address: Ipv6Addr) {
        if let Some(v4) = address.to_ipv4_mapped() {
            b"::ffff:".iter().for_each(|&byte| self.push(byte));
            return self.ipv4(v4);
        }
        let groups = address.segments();
        let gap = longest_zeros(&groups);
        self.groups(&groups[..gap.start]);
        if !gap.is_empty() {
            b"::".iter().for_each(|&byte| self.push(byte));
            self.groups(&groups[gap.end..]);
        }
    }

    fn groups(&mut self, groups: &[u16]) {
        for (index, group) in groups.iter().enumerate() {
            if index > 0 {
                self.push(b':');
            }
            let digits = (16 - group.leading_zeros()).div_ceil(4).max(1);
            for digit in (0..digits).rev() {
                self.push(HEX_DIGITS[usize::from(group >> (digit * 4) & 0xf)]);
            }
        }
    }

    fn decimal(&mut self, number: u16) {
        for unit in [10_000, 1_000, 100, 10] {
            if number >= unit {
                self.push(b'0' + (number / unit % 10) as u8);
            }
        }
        self.push(b'0' + (number % 10) as u8);
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

/// Each octet's digits and a dot: four bytes are copied, whatever the length.
const OCTETS: [[u8; 4]; 256] = {
    let mut octets = [[b'.'; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        let skip = (octet < 100) as usize + (octet < 10) as usize;
        let mut place = skip;
        while place < 3 {
            octets[octet][place - skip] = digits[place];
            place += 1;
        }
        octet += 1;
    }
    octets
};

/// `[` and eight groups of four digits, `]:` and a port, and some.
const ADDRESS_BYTES_MAX: usize = 48;

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

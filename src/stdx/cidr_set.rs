//! Many networks asked at once: sorted ranges that do not touch, found by halving. For the lists that operators have,
//! tens to some 100,000 networks, this needs a quarter of a trie's memory and about as many steps.

use std::net::IpAddr;

use super::cidr::Cidr;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CidrSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl CidrSet {
    pub fn new(networks: &[Cidr]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network.ends() {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                _ => unreachable!("both ends of a network are of its family"),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// As [`Cidr::contains`] of any of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, address.to_bits()),
            IpAddr::V6(address) => holds(&self.v6, address.to_bits()),
        }
    }
}

/// Of two networks that overlap, one holds the other.
fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
    let mut kept: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if kept.last().is_none_or(|held| range.0 > held.1) {
            kept.push(range);
        }
    }
    kept.into()
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;

    #[test]
    fn a_set_holds_what_one_of_its_networks_holds() {
        let mut rng = Rng::new(4632);
        for _ in 0..200 {
            let networks: Vec<Cidr> = (0..rng.below(30))
                .map(|_| {
                    let bits = rng.between(0, 32) as u32;
                    let base = (rng.next_u64() as u32 & 0xff0f_00ff) & u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                    let base = std::net::Ipv4Addr::from_bits(base);
                    let v6 = rng.chance(300);
                    let text = if v6 {
                        format!("{}/{}", base.to_ipv6_compatible(), 96 + bits)
                    } else {
                        format!("{base}/{bits}")
                    };
                    text.parse().expect(&text)
                })
                .collect();
            let set = CidrSet::new(&networks);
            assert_eq!(set.is_empty(), networks.is_empty());
            for _ in 0..200 {
                let address = std::net::Ipv4Addr::from_bits(rng.next_u64() as u32 & 0xff0f_00ff);
                for address in
                    [IpAddr::V4(address), address.to_ipv6_compatible().into(), address.to_ipv6_mapped().into()]
                {
                    let want = networks.iter().any(|network| network.contains(address));
                    assert_eq!(set.contains(address), want, "{address} in {networks:?}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_a_range_are_in_it() {
        let set =
            CidrSet::new(&["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap())[..2]);
        for (address, is_in) in
            [("10.0.0.0", true), ("10.255.255.255", true), ("9.255.255.255", false), ("11.0.0.0", false), ("::", false)]
        {
            assert_eq!(set.contains(address.parse().unwrap()), is_in, "{address}");
        }
        let all = CidrSet::new(&["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert!(all.contains("255.255.255.255".parse().unwrap()) && all.contains("ffff::ffff".parse().unwrap()));
    }
}

//! What a route does with a request.

use std::fmt;
use std::net::IpAddr;

use super::asked::{Asked, Scratch};
use super::pattern::Pattern;
use super::predicate::Predicate;
use crate::stdx::hash::stable;

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Index into the plan's services.
    Service(u32),
    Split(Box<Split>),
    Redirect(Box<Redirect>),
    Respond(Box<Respond>),
}

/// Several services, each with a share of the requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Split {
    /// Their shares are [`SHARES`] together.
    pub arms: Vec<Arm>,
    pub sticky: Sticky,
    /// So that who is dealt the canary of one route is not dealt that of all.
    pub seed: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arm {
    pub service: u32,
    /// Of [`SHARES`]; 0 takes only what is forced on it.
    pub share: u32,
    /// A request that fits comes here, whatever it is dealt.
    pub forced_by: Option<Predicate>,
    /// One of a consumer of this group comes here too.
    pub forced_by_group: Option<Group>,
}

/// A group of consumers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Stable over reloads.
    pub id: u32,
    pub name: String,
}

/// Who asks, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    pub consumer: Option<&'a str>,
    pub groups: &'a [u32],
}

/// What requests have in common that are dealt the same arm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sticky {
    /// Nothing: each is dealt by chance.
    No,
    /// The value of the header of this lower-case name. Requests without it are dealt by chance.
    Header(Box<[u8]>),
    /// The value of the cookie of this name. Requests without it are dealt by chance.
    Cookie(Box<[u8]>),
    /// The client's address; of IPv6 its network, within which hosts choose new addresses for themselves.
    Client,
    /// The name of the consumer. Requests of none are dealt by chance.
    Consumer,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`; `None` is the request's.
    pub scheme: Option<&'static str>,
    pub host: Option<Box<[u8]>>,
    pub port: Option<u16>,
    pub path: Option<PathEdit>,
}

/// An answer that is always the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Respond {
    pub status: u16,
    /// Without those that frame the body; [`RESPOND_FIELDS_MAX`] at most.
    pub fields: Box<[OwnField]>,
    pub body: Box<[u8]>,
}

/// Name and value.
pub type OwnField = (Box<[u8]>, Box<[u8]>);

/// What a request is before it is sent on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rewrite {
    pub path: Option<PathEdit>,
    pub host: Option<Box<[u8]>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathEdit {
    /// In the place of the prefix that matched.
    Prefix(Box<[u8]>),
    Whole(Box<[u8]>),
    /// A path that does not match stays.
    Regex {
        pattern: Pattern,
        to: Box<[Piece]>,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    Text(Box<[u8]>),
    /// What the group of this number matched.
    Group(usize),
}

impl Action {
    /// Services that requests may come to.
    pub fn services(&self) -> impl Iterator<Item = u32> {
        let (one, arms) = match self {
            Self::Service(service) => (Some(*service), &[][..]),
            Self::Split(split) => (None, &split.arms[..]),
            Self::Redirect(_) | Self::Respond(_) => (None, &[][..]),
        };
        one.into_iter().chain(arms.iter().map(|arm| arm.service))
    }
}

impl Split {
    /// It can only choose once it is known who asks.
    pub fn waits(&self) -> bool {
        self.sticky == Sticky::Consumer || self.arms.iter().any(|arm| arm.forced_by_group.is_some())
    }

    /// The arm that takes the request.
    pub fn choose(
        &self,
        asked: &Asked<'_>,
        asker: Asker<'_>,
        scratch: &mut Scratch,
        client: IpAddr,
        chance: impl FnOnce() -> u64,
    ) -> usize {
        let forced = |arm: &Arm| {
            arm.forced_by_group.as_ref().is_some_and(|group| asker.groups.contains(&group.id))
                || arm.forced_by.as_ref().is_some_and(|predicate| predicate.matches(asked, scratch))
        };
        if let Some(arm) = self.arms.iter().position(forced) {
            return arm;
        }
        let number = match &self.sticky {
            Sticky::No => None,
            Sticky::Header(name) => asked.header(name, &mut scratch.value).map(|value| stable(self.seed, value)),
            Sticky::Cookie(name) => asked.cookie(name).map(|value| stable(self.seed, value)),
            Sticky::Consumer => asker.consumer.map(|name| stable(self.seed, name.as_bytes())),
            Sticky::Client => Some(match client.to_canonical() {
                IpAddr::V4(address) => stable(self.seed, &address.octets()),
                IpAddr::V6(address) => stable(self.seed, &address.octets()[..IPV6_NETWORK_BYTES]),
            }),
        };
        let number = number.unwrap_or_else(chance);
        self.arm_at(((u128::from(number) * u128::from(SHARES)) >> 64) as u32)
    }

    /// Arms lie one behind the other on a line of [`SHARES`] points: when the last one grows, it takes points from the
    /// one before it, and none goes the other way.
    fn arm_at(&self, point: u32) -> usize {
        let mut end = 0;
        let arm = self.arms.iter().position(|arm| {
            end += arm.share;
            point < end
        });
        arm.unwrap_or(0)
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        self.scheme.map_or(Ok(()), |scheme| write!(f, " scheme {scheme}"))?;
        self.host.as_ref().map_or(Ok(()), |host| write!(f, " host {}", host.escape_ascii()))?;
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))?;
        self.path.as_ref().map_or(Ok(()), |path| write!(f, " path {path}"))
    }
}

/// A body is told by its length, and by a number that differs when it does.
impl fmt::Display for Respond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())?;
        let fields = self.fields.iter().flat_map(|(name, value)| [name, value]);
        let number = fields.chain([&self.body]).fold(0, |number, bytes| stable(number, bytes));
        write!(f, " ({number:016x})")
    }
}

impl fmt::Display for PathEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(to) => write!(f, "prefix to {}", to.escape_ascii()),
            Self::Whole(to) => write!(f, "to {}", to.escape_ascii()),
            Self::Regex { pattern, to } => {
                write!(f, "~{pattern} to ")?;
                to.iter().try_for_each(|piece| match piece {
                    Piece::Text(text) => write!(f, "{}", text.escape_ascii()),
                    Piece::Group(group) => write!(f, "${group}"),
                })
            }
        }
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.host) {
            (Some(path), Some(host)) => write!(f, "path {path}, host {}", host.escape_ascii()),
            (Some(path), None) => write!(f, "path {path}"),
            (None, Some(host)) => write!(f, "host {}", host.escape_ascii()),
            (None, None) => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("by chance"),
            Self::Header(name) => write!(f, "by header {}", name.escape_ascii()),
            Self::Cookie(name) => write!(f, "by cookie {}", name.escape_ascii()),
            Self::Client => f.write_str("by client address"),
            Self::Consumer => f.write_str("by consumer"),
        }
    }
}

/// Fields of an answer that a route gives.
pub const RESPOND_FIELDS_MAX: usize = 17;
/// The shares of a split together: a step is 0.01 %.
pub const SHARES: u32 = 10_000;
const IPV6_NETWORK_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::asked::tests::{head, request};
    use super::super::predicate::{Named, Test};
    use super::*;
    use crate::stdx::rng::Rng;

    fn split(shares: &[u32], sticky: Sticky) -> Split {
        let forced = Named { name: (*b"x-arm").into(), test: Test::Exact((*b"last").into()) };
        let mut arms: Vec<_> =
            shares.iter().map(|&share| Arm { service: 0, share, forced_by: None, forced_by_group: None }).collect();
        arms.last_mut().unwrap().forced_by = Some(Predicate::Header(forced));
        Split { arms, sticky, seed: 7 }
    }

    /// The arms of clients that are told apart by number.
    fn arms(split: &Split, line: impl Fn(u32) -> String) -> Vec<usize> {
        let (mut scratch, mut rng) = (Scratch::default(), Rng::new(1));
        let arms = (0..20_000).map(|number: u32| {
            let text = request("GET /", &[&line(number)]);
            let head = head(&text);
            let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
            let address = IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(number) << 64 | 1).to_be_bytes());
            let name = format!("consumer-{number}");
            let asker = Asker { consumer: Some(&name), groups: &[number % 2] };
            split.choose(&asked, asker, &mut scratch, address, || rng.next_u64())
        });
        arms.collect()
    }

    #[track_caller]
    fn check_shares(shares: &[u32], sticky: Sticky, line: impl Fn(u32) -> String) {
        let arms = arms(&split(shares, sticky), line);
        for (arm, &share) in shares.iter().enumerate() {
            let got = arms.iter().filter(|&&other| other == arm).count() as f64;
            let want = arms.len() as f64 * f64::from(share) / f64::from(SHARES);
            // Five deviations of a binomial distribution.
            assert!((got - want).abs() <= 5.0 * want.sqrt(), "arm {arm} has {got}, expected about {want}");
        }
    }

    #[test]
    fn each_arm_has_its_share_however_it_is_dealt() {
        let cookie = || Sticky::Cookie((*b"id").into());
        for shares in [&[10_000, 0][..], &[9_950, 50], &[5_000, 2_500, 2_500], &[0, 10_000]] {
            check_shares(shares, Sticky::No, |_| "A: b".into());
            check_shares(shares, Sticky::Header((*b"x-user").into()), |number| format!("X-User: u{number}"));
            check_shares(shares, cookie(), |number| format!("Cookie: id={number}"));
            check_shares(shares, cookie(), |number| format!("Cookie: other={number}"));
            check_shares(shares, Sticky::Client, |_| "A: b".into());
            check_shares(shares, Sticky::Consumer, |_| "A: b".into());
        }
    }

    #[test]
    fn who_has_an_arm_keeps_it_and_a_growing_canary_sends_nobody_back() {
        let line = |number: u32| format!("X-User: u{number}");
        let of = |shares: &[u32]| arms(&split(shares, Sticky::Header((*b"x-user").into())), line);
        let (one, more) = (of(&[9_900, 100]), of(&[9_000, 1_000]));
        assert_eq!(one, of(&[9_900, 100]));
        assert!(one.iter().zip(&more).all(|(one, more)| more >= one));
        let (two, mut other) = (of(&[5_000, 5_000]), split(&[5_000, 5_000], Sticky::Header((*b"x-user").into())));
        other.seed = 8;
        let same = arms(&other, line).iter().zip(&two).filter(|(one, other)| one == other).count();
        assert!((9_000..11_000).contains(&same), "another route deals anew: {same} of 20000 are alike");
    }

    #[test]
    fn a_group_forces_an_arm_and_a_consumer_keeps_its_own() {
        let mut canary = split(&[10_000, 0], Sticky::No);
        canary.arms[1].forced_by_group = Some(Group { id: 1, name: "staff".to_owned() });
        let all = arms(&canary, |_| "A: b".into());
        assert!(all.iter().enumerate().all(|(number, &arm)| arm == number % 2));
        let sticky = split(&[5_000, 5_000], Sticky::Consumer);
        assert!(canary.waits() && sticky.waits() && !split(&[10_000, 0], Sticky::Client).waits());
        assert_eq!(arms(&sticky, |_| "A: b".into()), arms(&sticky, |_| "C: d".into()));
        let (mut scratch, text) = (Scratch::default(), request("GET /", &[]));
        let head = head(&text);
        let asked = Asked { head: &head, bytes: text.as_bytes(), peer_is_trusted: false };
        let client = IpAddr::from([192, 0, 2, 1]);
        let dealt =
            [0, u64::MAX].map(|chance| sticky.choose(&asked, Asker::default(), &mut scratch, client, || chance));
        assert_eq!(dealt, [0, 1], "nobody is dealt by chance");
    }

    #[test]
    fn a_header_forces_an_arm() {
        let all = arms(&split(&[10_000, 0], Sticky::No), |_| "X-Arm: last".into());
        assert!(all.iter().all(|&arm| arm == 1));
        for line in ["X-Arm: lost", "X-Arm: last\r\nConnection: x-arm"] {
            let none = arms(&split(&[10_000, 0], Sticky::No), |_| line.into());
            assert!(none.iter().all(|&arm| arm == 0), "{line}");
        }
    }
}

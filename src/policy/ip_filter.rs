//! IP filter: which addresses may ask at all.
//!
//! The address is the client's, after the trust in proxies was applied: what an untrusted peer says of itself counts
//! for nothing here.

use serde::Deserialize;

use super::{Context, Hooks, Invalid, Member, Verdict};
use crate::http::view::RequestView;
use crate::stdx::cidr::Cidr;
use crate::stdx::cidr_set::CidrSet;

/// Refuses requests by the client's address: 403. A denied address is refused even if it is allowed too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Networks (`10.0.0.0/8`, `::1`) whose requests go on; all others are refused. Default: any.
    #[serde(default)]
    pub allow: Vec<Cidr>,
    /// Networks whose requests are refused. Default: none.
    #[serde(default)]
    pub deny: Vec<Cidr>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    Denied,
    NotAllowed,
}

#[derive(Debug, Eq, PartialEq)]
pub struct IpFilter {
    allow: CidrSet,
    deny: CidrSet,
}

impl Error {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl Member for IpFilter {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(Config { allow, deny }: Config) -> Result<Self, Invalid> {
        if allow.is_empty() && deny.is_empty() {
            return Err(Invalid::new("no network", "add one to `allow` or to `deny`"));
        }
        Ok(Self { allow: CidrSet::new(&allow), deny: CidrSet::new(&deny) })
    }

    fn on_request<'a>(&'a self, _request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        if self.deny.contains(context.client) {
            Verdict::Reject(Error::Denied.into())
        } else if !self.allow.is_empty() && !self.allow.contains(context.client) {
            Verdict::Reject(Error::NotAllowed.into())
        } else {
            Verdict::Continue
        }
    }
}

impl From<Error> for super::Error {
    fn from(error: Error) -> Self {
        Self::IpFilter(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, cases: &[(&str, Option<Error>)]) {
        let mut trial = Trial::<IpFilter>::new(config);
        for &(client, want) in cases {
            trial.client = client.parse().unwrap();
            let refusal = trial.request("GET / HTTP/1.1\nHost: a\nX-Real-IP: 127.0.0.1").refusal();
            assert_eq!(refusal, want.map(Into::into), "{client}");
        }
    }

    #[test]
    fn a_denied_network_is_refused_and_others_are_not() {
        check(
            "deny: [10.0.0.0/8, \"2001:db8::/32\"]",
            &[
                ("10.1.2.3", Some(Error::Denied)),
                ("::ffff:10.1.2.3", Some(Error::Denied)),
                ("2001:db8::1", Some(Error::Denied)),
                ("11.0.0.1", None),
                ("::1", None),
            ],
        );
    }

    #[test]
    fn with_allowed_networks_all_others_are_refused() {
        check(
            "allow: [10.0.0.0/8]\ndeny: [10.9.0.0/16]",
            &[
                ("10.1.2.3", None),
                ("10.9.2.3", Some(Error::Denied)),
                ("11.0.0.1", Some(Error::NotAllowed)),
                ("127.0.0.1", Some(Error::NotAllowed)),
                ("::1", Some(Error::NotAllowed)),
            ],
        );
    }

    #[test]
    fn a_filter_that_filters_nothing_is_a_mistake() {
        Trial::<IpFilter>::refused("{}", "no network: add one to `allow` or to `deny`");
        Trial::<IpFilter>::unread("allow: [10.0.0.1/8]", "string \"10.0.0.1/8\", expected `10.0.0.0/8`");
        Trial::<IpFilter>::unread("allows: []", "allows");
    }
}

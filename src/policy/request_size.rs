//! Request size: how long a request's body may be.

use serde::Deserialize;

use super::{Context, Hooks, Invalid, Member, Verdict};
use crate::http::view::RequestView;
use crate::stdx::number::Bytes;

/// Refuses requests with a longer body: 413. One that does not say its length is cut off when it has grown too long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The longest body, in bytes. A lower bound of the route or of `limits` holds too.
    pub body_bytes_max: Bytes,
    /// Whether a body must say its length beforehand; 411 if it does not. Default: false.
    pub require_content_length: Option<bool>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    TooLarge,
    LengthMissing,
}

#[derive(Debug, Eq, PartialEq)]
pub struct RequestSize {
    body_bytes_max: u64,
    require_content_length: bool,
}

impl Error {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::LengthMissing => "length_missing",
        }
    }
}

impl Member for RequestSize {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(config: Config) -> Result<Self, Invalid> {
        Ok(Self {
            body_bytes_max: config.body_bytes_max.get(),
            require_content_length: config.require_content_length.unwrap_or(false),
        })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        match request.content_length() {
            Some(length) if length > self.body_bytes_max => Verdict::Reject(Error::TooLarge.into()),
            None if self.require_content_length => Verdict::Reject(Error::LengthMissing.into()),
            _ => {
                let bytes_max =
                    context.found.body_bytes_max.map_or(self.body_bytes_max, |max| max.min(self.body_bytes_max));
                context.found.body_bytes_max = Some(bytes_max);
                Verdict::Continue
            }
        }
    }
}

impl From<Error> for super::Error {
    fn from(error: Error) -> Self {
        Self::RequestSize(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, framing: &str, want: Result<u64, Error>) {
        let trial = Trial::<RequestSize>::new(config);
        let tried = trial.request(&format!("POST / HTTP/1.1\nHost: h{framing}"));
        let got = tried.refusal().map_or(Ok(tried.body_bytes_max), Err);
        assert_eq!(got, want.map(Some).map_err(Into::into), "{config} {framing}");
    }

    #[test]
    fn a_body_is_refused_by_its_length_or_has_a_bound() {
        check("body_bytes_max: 10", "", Ok(10));
        check("body_bytes_max: 10", "\nContent-Length: 10", Ok(10));
        check("body_bytes_max: 10", "\nContent-Length: 11", Err(Error::TooLarge));
        check("body_bytes_max: 10", "\nTransfer-Encoding: chunked", Ok(10));
        check("body_bytes_max: 0", "\nContent-Length: 1", Err(Error::TooLarge));
    }

    #[test]
    fn a_length_can_be_demanded() {
        let config = "{ body_bytes_max: 10, require_content_length: true }";
        check(config, "\nTransfer-Encoding: chunked", Err(Error::LengthMissing));
        check(config, "\nContent-Length: 1", Ok(10));
        check(config, "", Ok(10));
    }

    #[test]
    fn a_bound_there_must_be() {
        Trial::<RequestSize>::unread("{}", "body_bytes_max");
        Trial::<RequestSize>::unread("body_bytes_max: 1k", "a whole number");
    }
}

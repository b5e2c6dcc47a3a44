//! What policies are told and what they say.

use std::net::IpAddr;

use super::Error;
use crate::http::view::FieldValue;

/// What becomes of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict<'a> {
    /// It meets the next policy.
    Continue,
    /// It is refused.
    Reject(Error),
    /// The policy has answered it.
    Respond(&'a Response),
}

/// An answer of the gateway's own, made when the configuration was read; what differs from one request to the next are
/// headers, which the response hook sets.
#[derive(Debug, Eq, PartialEq)]
pub struct Response {
    pub status: u16,
    pub content_type: Option<FieldValue>,
    pub body: Box<[u8]>,
}

/// What is known of a request apart from its head, and what policies tell those after them.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who asks, by the configured trust.
    pub client: IpAddr,
    /// The client's own connection is encrypted, as far as those are believed that say so.
    pub is_https: bool,
    pub request_id: &'a [u8],
    /// The request's body may have no more bytes than this.
    pub body_bytes_max: Option<u64>,
}

/// What is wrong with a policy's configuration as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid {
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Invalid {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

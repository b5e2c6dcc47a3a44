//! Every way in which an exchange can fail, and the one place that knows which status each becomes.

use crate::http::body::BodyError;
use crate::http::error::HeadError;
use crate::policy::api_key::Refusal as KeyRefusal;
use crate::policy::basic_auth::Refusal as PasswordRefusal;
use crate::policy::jwt::Refusal;
use crate::policy::{Error as PolicyError, Kind, authorize, request_size, request_transform};
use crate::runtime::Error as IoError;
use crate::wire::ReadError;

/// Why an exchange did not go as the client wished. Who failed is in the variant; only `Upstream`'s `reused` deaths are
/// worth another try, which `attempt` decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The request's head breaks a rule.
    RequestHead(HeadError),
    /// The request's body breaks a rule.
    RequestBody(BodyError),
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body arrives more slowly than the lowest allowed rate.
    BodyTimeout,
    BodyTooLarge,
    NoRoute,
    /// A TRACE that may not be forwarded any more: nobody is told what came here.
    TraceEnds,
    /// The configuration has no listener any more where the connection came in.
    ListenerGone,
    /// There is another configuration since it was found out whether the request is let in.
    ConfigurationChanged,
    /// What the route makes of the request's path is no path, or too long.
    RewriteInvalid,
    /// The groups of a path of this length cannot be found within the bound that there is.
    RewriteTooLong,
    /// The gateway has as many requests in flight as it may.
    Overloaded,
    /// The service has as many connections as it may.
    ServiceFull,
    /// No buffer is left.
    NoBuffer,
    /// The head that would go to the upstream is longer than a buffer.
    ForwardedHeadTooLarge,
    /// The client went away, or takes nothing of what it is sent: nobody is left to answer.
    ClientGone,
    Upstream(UpstreamFailure),
    /// A policy refused the request.
    Policy(PolicyError),
}

/// What an upstream did wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamFailure {
    Refused,
    Unreachable,
    ConnectTimeout,
    /// No descriptor or port was left to connect with.
    Exhausted,
    /// The connection ended before a response began.
    Closed,
    FirstByteTimeout,
    IdleTimeout,
    TotalTimeout,
    Head(HeadError),
    Body(BodyError),
    /// The connection ended within a response.
    Truncated,
    /// It switched protocols without having been asked to, or to another one.
    UnexpectedSwitch,
    TooManyInformational,
}

/// What the client is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// The last part of the problem's type, the log's `error` and a metric's label.
    pub kind: &'static str,
    /// Which part failed: `client`, `gateway` or `upstream`.
    pub part: &'static str,
    /// For people; the same for every occurrence, so that it never tells an address.
    pub detail: &'static str,
    /// What `WWW-Authenticate` says.
    pub challenge: Option<&'static str>,
}

impl Failure {
    /// A failure to read from the client.
    pub fn downstream(error: ReadError) -> Self {
        match error {
            ReadError::Head(error) => Self::RequestHead(error),
            ReadError::Body(BodyError::Truncated) => Self::ClientGone,
            ReadError::Body(error) => Self::RequestBody(error),
            ReadError::NoBuffer | ReadError::Transport(IoError::Exhausted) => Self::NoBuffer,
            ReadError::Closed | ReadError::HeadTruncated | ReadError::Transport(_) => Self::ClientGone,
        }
    }

    /// A failure to connect.
    pub fn connect(error: IoError) -> Self {
        Self::Upstream(match error {
            IoError::Refused | IoError::Reset => UpstreamFailure::Refused,
            IoError::Deadline | IoError::TimedOut => UpstreamFailure::ConnectTimeout,
            IoError::Exhausted => UpstreamFailure::Exhausted,
            IoError::Unreachable | IoError::Stopped | IoError::Other(_) => UpstreamFailure::Unreachable,
        })
    }

    /// A failure to read the upstream's head; `timeout` is what its deadline meant.
    pub fn upstream_head(error: ReadError, timeout: UpstreamFailure) -> Self {
        Self::Upstream(match error {
            ReadError::Transport(IoError::Deadline) => timeout,
            ReadError::Head(error) => UpstreamFailure::Head(error),
            ReadError::HeadTruncated => UpstreamFailure::Truncated,
            ReadError::NoBuffer | ReadError::Transport(IoError::Exhausted) => return Self::NoBuffer,
            ReadError::Closed | ReadError::Transport(_) | ReadError::Body(_) => UpstreamFailure::Closed,
        })
    }

    /// A failure to read the upstream's body.
    pub fn upstream_body(error: ReadError) -> Self {
        Self::Upstream(match error {
            ReadError::Transport(IoError::Deadline) => UpstreamFailure::IdleTimeout,
            ReadError::Body(BodyError::Truncated) => UpstreamFailure::Truncated,
            ReadError::Body(error) => UpstreamFailure::Body(error),
            ReadError::NoBuffer | ReadError::Transport(IoError::Exhausted) => return Self::NoBuffer,
            ReadError::Closed | ReadError::HeadTruncated | ReadError::Transport(_) | ReadError::Head(_) => {
                UpstreamFailure::Truncated
            }
        })
    }

    pub fn answer(self) -> Answer {
        match self {
            Self::RequestHead(error) => request_head(error),
            Self::RequestBody(BodyError::TrailersTooLarge | BodyError::TooManyTrailers) => {
                client(431, "trailers_too_large", "the request's trailers are larger than allowed")
            }
            Self::RequestBody(_) => client(400, "body_malformed", "the request's body is malformed"),
            Self::HeadTimeout => client(408, "head_timeout", "the request's head did not arrive in time"),
            Self::BodyTimeout => client(408, "body_timeout", "the request's body arrived too slowly"),
            Self::BodyTooLarge => client(413, "body_too_large", "the request's body is larger than allowed"),
            Self::NoRoute => client(404, "no_route", "no route matches this request"),
            Self::TraceEnds => gateway(501, "trace_unsupported", "the gateway answers no TRACE in place of a service"),
            Self::RewriteTooLong => client(414, "rewrite_too_long", "the path is too long for the route's rewrite"),
            Self::RewriteInvalid => client(400, "rewrite_invalid", "what the route makes of the path is not a path"),
            Self::ClientGone => client(499, "client_gone", "the client went away"),
            Self::ForwardedHeadTooLarge => client(431, "head_too_large", "the request's head is larger than allowed"),
            Self::ListenerGone => gateway(503, "listener_gone", "nobody is served any more where this request came in"),
            Self::ConfigurationChanged => {
                gateway(503, "configuration_changed", "the configuration changed while the request was looked at")
            }
            Self::Overloaded => gateway(503, "overloaded", "the gateway has too many requests in flight"),
            Self::ServiceFull => gateway(503, "service_full", "the service has as many connections as it may"),
            Self::NoBuffer => gateway(503, "no_buffer", "the gateway is out of memory for requests"),
            Self::Upstream(failure) => upstream(failure),
            Self::Policy(error) => policy(error),
        }
    }
}

fn request_head(error: HeadError) -> Answer {
    use HeadError as E;
    match error {
        E::UriTooLong => client(414, "uri_too_long", "the request target is longer than allowed"),
        E::HeadTooLarge => client(431, "head_too_large", "the request's head is larger than allowed"),
        E::TooManyFields | E::TooManyConnectionOptions => {
            client(431, "too_many_fields", "the request has more header fields than allowed")
        }
        E::ExpectationUnknown => client(417, "expectation_unknown", "the request's expectation is not known"),
        E::CodingUnsupported => client(501, "coding_unsupported", "the transfer coding is not supported"),
        E::MethodUnsupported => client(501, "method_unsupported", "the method is not supported"),
        E::VersionUnsupported => client(505, "version_unsupported", "the protocol version is not supported"),
        _ => client(400, "head_malformed", "the request's head is malformed"),
    }
}

fn policy(error: PolicyError) -> Answer {
    match error {
        PolicyError::Authorize(error) => authorization(error),
        PolicyError::IpFilter(_) => client(403, "ip_refused", "requests from this address are not allowed"),
        PolicyError::Jwt(refusal) => token(refusal),
        PolicyError::ApiKey(refusal) => key(refusal),
        PolicyError::NotAlone(kind) => {
            let detail = "the request has credentials of more than one kind";
            Answer { challenge: challenge(kind), ..client(401, "credentials_several", detail) }
        }
        PolicyError::RequestSize(request_size::Error::TooLarge) => Failure::BodyTooLarge.answer(),
        PolicyError::RequestSize(request_size::Error::LengthMissing) => {
            client(411, "length_missing", "the request's body must say its length beforehand")
        }
        PolicyError::RateLimit(_) => client(429, "rate_limited", "API rate limit exceeded"),
        PolicyError::RequestTransform(error) => json_body(error),
        PolicyError::BasicAuth(refusal) => password(refusal),
    }
}

fn json_body(error: request_transform::Error) -> Answer {
    use request_transform::Error as E;
    match error {
        E::BodyTooLarge => client(413, "json_too_large", "the request's JSON body is larger than allowed"),
        E::BodyEncoded => client(415, "json_encoded", "the request's JSON body must be in UTF-8 and not compressed"),
        E::BodyNotJson => client(400, "json_malformed", "the request's body is not the JSON that it says it is"),
        E::BodyTooDeep => client(400, "json_too_deep", "the request's JSON body is nested too deeply"),
        E::MemberRepeated => client(400, "json_member_repeated", "the request's JSON body has a member twice"),
    }
}

/// RFC 6750 §3: the challenge says what was wrong, unless there was nothing.
fn token(refusal: Refusal) -> Answer {
    let invalid = |kind, detail, challenge| Answer { challenge: Some(challenge), ..client(401, kind, detail) };
    match refusal {
        Refusal::KeysUnavailable => gateway(503, "keys_unavailable", "the keys of the token's issuer cannot be had"),
        Refusal::Missing => invalid("token_missing", "the request has no token", r#"Bearer realm="gateway""#),
        Refusal::Several => invalid(
            "token_repeated",
            "the request has more than one token",
            r#"Bearer realm="gateway", error="invalid_request", error_description="more than one token""#,
        ),
        Refusal::Expired => invalid(
            "token_expired",
            "the token has expired",
            r#"Bearer realm="gateway", error="invalid_token", error_description="the token has expired""#,
        ),
        _ => invalid(
            "token_invalid",
            "the token is not valid here",
            r#"Bearer realm="gateway", error="invalid_token", error_description="the token is not valid here""#,
        ),
    }
}

/// What a policy asks for of whom nothing is known (RFC 9110 §11.6.1).
pub const fn challenge(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Jwt => Some(r#"Bearer realm="gateway""#),
        Kind::ApiKey => Some(r#"ApiKey realm="gateway""#),
        Kind::BasicAuth => Some(r#"Basic realm="gateway", charset="UTF-8""#),
        _ => None,
    }
}

fn key(refusal: KeyRefusal) -> Answer {
    let (kind, detail) = match refusal {
        KeyRefusal::Missing => ("key_missing", "the request has no API key"),
        KeyRefusal::Several => ("key_repeated", "the request has more than one API key"),
        KeyRefusal::Expired => ("key_expired", "the API key has expired"),
        KeyRefusal::Malformed | KeyRefusal::Unknown => ("key_invalid", "the API key is not valid here"),
    };
    Answer { challenge: challenge(Kind::ApiKey), ..client(401, kind, detail) }
}

/// RFC 6750 §3.1. The policy adds the scope that would do.
fn authorization(error: authorize::Error) -> Answer {
    let insufficient = |kind, detail| Answer {
        challenge: Some(r#"Bearer realm="gateway", error="insufficient_scope""#),
        ..client(403, kind, detail)
    };
    match error {
        authorize::Error::Unidentified => Answer {
            challenge: Some(r#"Bearer realm="gateway""#),
            ..client(401, "unidentified", "the request does not prove who sends it")
        },
        authorize::Error::RoleMissing => insufficient("insufficient_role", "the request needs another role"),
        authorize::Error::ScopeMissing => insufficient("insufficient_scope", "the request needs another scope"),
    }
}

/// RFC 7617 §2.
fn password(refusal: PasswordRefusal) -> Answer {
    let refused = |kind, detail| Answer { challenge: challenge(Kind::BasicAuth), ..client(401, kind, detail) };
    match refusal {
        PasswordRefusal::Missing => refused("password_missing", "the request has no user name and password"),
        PasswordRefusal::Several => refused("password_repeated", "the request has more than one `Authorization`"),
        PasswordRefusal::Malformed => refused("password_malformed", "the request's user name and password are none"),
        PasswordRefusal::Wrong => refused("password_wrong", "the user name or the password is wrong"),
        PasswordRefusal::Throttled => client(429, "password_throttled", "too many wrong passwords"),
        PasswordRefusal::Busy => gateway(503, "password_busy", "too many passwords are being verified"),
        PasswordRefusal::Late => gateway(503, "password_late", "the password could not be verified in time"),
    }
}

fn upstream(failure: UpstreamFailure) -> Answer {
    use UpstreamFailure as F;
    let (status, kind, detail) = match failure {
        F::Refused => (502, "upstream_refused", "the upstream refused the connection"),
        F::Unreachable => (502, "upstream_unreachable", "the upstream cannot be reached"),
        F::Exhausted => (503, "no_descriptor", "the gateway has no descriptor or port left to connect with"),
        F::ConnectTimeout => (504, "upstream_connect_timeout", "the upstream did not accept the connection in time"),
        F::Closed => (502, "upstream_closed", "the upstream closed the connection before it answered"),
        F::FirstByteTimeout => (504, "upstream_timeout", "the upstream did not begin to answer in time"),
        F::IdleTimeout => (504, "upstream_idle", "the upstream fell silent"),
        F::TotalTimeout => (504, "exchange_timeout", "the exchange took longer than allowed"),
        F::Head(_) => (502, "upstream_head_malformed", "the upstream's answer is malformed"),
        F::Body(_) => (502, "upstream_body_malformed", "the body of the upstream's answer is malformed"),
        F::Truncated => (502, "upstream_truncated", "the upstream's answer broke off"),
        F::UnexpectedSwitch => (502, "upstream_unasked_switch", "the upstream switched protocols unasked"),
        F::TooManyInformational => (502, "upstream_informational", "the upstream sent too many interim answers"),
    };
    Answer { status, kind, part: if failure == F::Exhausted { "gateway" } else { "upstream" }, detail, challenge: None }
}

const fn client(status: u16, kind: &'static str, detail: &'static str) -> Answer {
    Answer { status, kind, part: "client", detail, challenge: None }
}

const fn gateway(status: u16, kind: &'static str, detail: &'static str) -> Answer {
    Answer { status, kind, part: "gateway", detail, challenge: None }
}

/// The phrase of a status that the gateway itself answers with: RFC 9110 §15, and nginx' 499.
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        418 => "I'm a Teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ if status < 300 => "Success",
        _ if status < 400 => "Redirection",
        _ => "Error",
    }
}

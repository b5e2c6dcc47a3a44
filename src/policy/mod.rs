//! Policies: what happens to a request beside being carried to its service.
//!
//! A policy is one file here: its configuration, its decision, its refusals, its tests. It knows bytes and time, no
//! socket, no shard and none of its neighbours. A new one is its file, a line in the list below, and its answers in
//! `proxy::error`.

mod body;
mod call;
mod chain;
mod edit;
mod grants;
mod known;
mod overrides;
mod place;
mod verdict;

pub mod anonymous;
pub mod api_key;
pub mod authorize;
pub mod basic_auth;
pub mod consumers;
pub mod cors;
pub mod ip_filter;
pub mod jwt;
pub mod rate_limit;
pub mod request_id;
pub mod request_size;
pub mod request_termination;
pub mod request_transform;
pub mod response_transform;
pub mod security_headers;

pub use body::{BodyBytes, BodyEdits, Content, forget_body, forget_trailers};
pub use call::{Answer, Call, Question, Reply, Secret};
pub use chain::{Chain, Door, Order, Scope, Slot};
pub use consumers::{Consumers, Declared, HeldKey, Key, Login, Password, Pepper};
pub use edit::{ArgumentValue, Edited, Given, Renamed};
pub use grants::{Grants, NAMES_MAX, Role, Unusable, Vocabulary};
pub use known::Known;
pub use overrides::{ByKind, Override, Overrides};
pub use place::Place;
pub use rate_limit::Charged;
pub use verdict::{Belonging, Body, Context, Findings, Identity, Invalid, Response, Verdict};

use crate::http::view::{ArgumentName, RequestView, ResponseView};
use std::io;

/// What each policy's file has. Hooks that are not in `HOOKS` do nothing.
pub trait Member: Sized {
    /// What the operator writes. Its comments are the user's documentation.
    type Config;
    const HOOKS: Hooks;

    /// Those of them that this one needs.
    fn hooks(&self) -> Hooks {
        Self::HOOKS
    }

    /// Compiles the configuration, or says what is wrong with it as a whole.
    fn new(config: Self::Config) -> Result<Self, Invalid>;

    /// Before the request is sent on.
    fn on_request<'a>(&'a self, _request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        Verdict::Continue
    }

    /// When the whole body is there that `on_request` has asked for.
    fn on_request_body<'a>(
        &'a self,
        _request: &mut RequestView<'_>,
        _body: &mut Body<'_>,
        _context: &mut Context<'_>,
    ) -> Verdict<'a> {
        Verdict::Continue
    }

    /// What came of the question that one of the two before has asked.
    fn on_reply<'a>(
        &'a self,
        _request: &mut RequestView<'_>,
        _reply: Reply,
        _context: &mut Context<'_>,
    ) -> Verdict<'a> {
        Verdict::Continue
    }

    /// Before the response is sent on, or the gateway's own answer is sent. The request is as it was sent on.
    fn on_response(&self, _request: &RequestView<'_>, _response: &mut ResponseView<'_>, _context: &Context<'_>) {}

    /// How many bytes a service's response may have of whose body the policy wants to see the whole; of a longer one
    /// it sees nothing.
    fn wants_response_body(&self, _response: &ResponseView<'_>) -> Option<u64> {
        None
    }

    /// When a whole body is there that a policy has asked for; before `on_response`.
    fn on_response_body(&self, _response: &mut ResponseView<'_>, _body: &mut Body<'_>) {}
}

/// Which hooks a policy has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hooks(u8);

impl Hooks {
    pub const REQUEST: Self = Self(1);
    pub const RESPONSE: Self = Self(2);
    pub const BOTH: Self = Self(3);
    pub const RESPONSE_BODY: Self = Self(4);

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Declares every policy from one list: its name, its type, and its place in the order, which is Kong's priority of the
/// plugin that does the same. Higher runs earlier.
macro_rules! policies {
    ($($Policy:ident($file:ident) = $priority:literal,)*) => {
        /// A policy as the operator writes it.
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Config {
            $($Policy($file::Config),)*
        }

        /// A policy as a shard runs it: compiled and immutable. Which one it is, is a byte of its own and nothing to be
        /// worked out: that is asked at each of a request's hooks.
        #[derive(Debug, Eq, PartialEq)]
        #[repr(u8)]
        pub enum Policy {
            $($Policy($file::$Policy),)*
        }

        /// Which policy it is. A request meets at most one of each kind.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($Policy,)*
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$Policy,)*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Policy => stringify!($file),)*
                }
            }

            /// Where it runs: higher is earlier.
            pub const fn priority(self) -> i32 {
                match self {
                    $(Self::$Policy => $priority,)*
                }
            }
        }

        impl Config {
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$Policy(_) => Kind::$Policy,)*
                }
            }
        }

        impl Policy {
            pub fn new(config: Config) -> Result<Self, Invalid> {
                match config {
                    $(Config::$Policy(config) => Member::new(config).map(Self::$Policy),)*
                }
            }

            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$Policy(_) => Kind::$Policy,)*
                }
            }

            pub fn hooks(&self) -> Hooks {
                match self {
                    $(Self::$Policy(policy) => policy.hooks(),)*
                }
            }

            fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
                match self {
                    $(Self::$Policy(policy) => policy.on_request(request, context),)*
                }
            }

            fn on_request_body<'a>(
                &'a self,
                request: &mut RequestView<'_>,
                body: &mut Body<'_>,
                context: &mut Context<'_>,
            ) -> Verdict<'a> {
                match self {
                    $(Self::$Policy(policy) => policy.on_request_body(request, body, context),)*
                }
            }

            fn on_reply<'a>(
                &'a self,
                request: &mut RequestView<'_>,
                reply: Reply,
                context: &mut Context<'_>,
            ) -> Verdict<'a> {
                match self {
                    $(Self::$Policy(policy) => policy.on_reply(request, reply, context),)*
                }
            }

            fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
                match self {
                    $(Self::$Policy(policy) => policy.on_response(request, response, context),)*
                }
            }

            fn wants_response_body(&self, response: &ResponseView<'_>) -> Option<u64> {
                match self {
                    $(Self::$Policy(policy) => policy.wants_response_body(response),)*
                }
            }

            fn on_response_body(&self, response: &mut ResponseView<'_>, body: &mut Body<'_>) {
                match self {
                    $(Self::$Policy(policy) => policy.on_response_body(response, body),)*
                }
            }
        }
    };
}

policies! {
    RequestId(request_id) = 100_001,
    Cors(cors) = 2_000,
    Jwt(jwt) = 1450,
    ApiKey(api_key) = 1250,
    BasicAuth(basic_auth) = 1100,
    // After all others that find out who asks.
    Anonymous(anonymous) = 1_020,
    IpFilter(ip_filter) = 990,
    RequestSize(request_size) = 951,
    Authorize(authorize) = 950,
    RateLimit(rate_limit) = 910,
    RequestTransform(request_transform) = 801,
    ResponseTransform(response_transform) = 800,
    // After the transforms, so that they cannot undo it.
    SecurityHeaders(security_headers) = 790,
    RequestTermination(request_termination) = 2,
}

impl Config {
    /// What the file says once for all policies, this one has too if it does not say.
    pub fn inherit(&mut self, strict_validation: bool) {
        if let Self::Jwt(config) = self {
            config.strict_validation.get_or_insert(strict_validation);
        }
    }

    /// Reads the files that it names. `read` knows where they are.
    pub fn load(&mut self, read: Read<'_>) -> Result<(), Invalid> {
        match self {
            Self::Jwt(config) => config.load(read),
            _ => Ok(()),
        }
    }
}

impl Policy {
    /// Where it looks for credentials that may be anywhere.
    pub fn places(&self) -> &[Place] {
        match self {
            Self::ApiKey(policy) => policy.places(),
            Self::Jwt(policy) => &policy.config.places,
            _ => &[],
        }
    }

    /// Whom it lets in has a consumer.
    pub fn tells_consumer(&self) -> bool {
        match self {
            Self::Jwt(policy) => policy.config.consumer_claim.is_some(),
            policy => policy.kind().authenticates(),
        }
    }

    /// Whom it lets in has a credential of its own.
    pub fn tells_credential(&self) -> bool {
        !matches!(self, Self::Anonymous(_)) && self.kind().authenticates()
    }

    /// Arguments of a query that are for nobody else to read.
    pub fn secret_arguments(&self) -> impl Iterator<Item = &ArgumentName> {
        self.places().iter().filter_map(Place::argument)
    }
}

impl Question {
    /// Takes as long as it takes: never on a shard. `None` if it cannot be told.
    pub fn answer(&self) -> Option<Answer> {
        match self {
            Self::Password { hash, password } => {
                let is_right = basic_auth::is_right(hash, password.bytes())?;
                Some(Answer::Password { is_right })
            }
        }
    }
}

/// How files are read that a configuration names.
pub type Read<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

impl Kind {
    /// It finds out who asks.
    pub const fn authenticates(self) -> bool {
        matches!(self, Self::Jwt | Self::ApiKey | Self::BasicAuth | Self::Anonymous)
    }

    /// It may only log what it would refuse.
    pub const fn has_shadow(self) -> bool {
        matches!(self, Self::Authorize)
    }
}

/// What a shard keeps of its policies from one request to the next.
#[derive(Debug, Default)]
pub struct State {
    pub jwt: jwt::States,
    pub keys: api_key::Uses,
    pub known: Known,
    pub limits: rate_limit::State,
    pub passwords: basic_auth::State,
}

impl State {
    /// `seed`: clients must not know how what they send is hashed.
    pub fn new(seed: u64) -> Self {
        let (jwt, keys, known) = (jwt::States::new(seed), api_key::Uses::new(seed), Known::new(seed));
        let passwords = basic_auth::State::new(seed.rotate_left(16));
        Self { jwt, keys, known, limits: rate_limit::State::default(), passwords }
    }
}

/// Why a policy refused a request. Who refuses is in the variant; `proxy::error` knows the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    ApiKey(api_key::Refusal),
    /// The policy has found a credential, and another one before it another.
    NotAlone(Kind),
    Authorize(authorize::Error),
    IpFilter(ip_filter::Error),
    Jwt(jwt::Refusal),
    RequestSize(request_size::Error),
    RateLimit(rate_limit::Error),
    RequestTransform(request_transform::Error),
    BasicAuth(basic_auth::Refusal),
}

impl Error {
    /// Every refusal there is, in the order of their counters.
    pub const ALL: &'static [Self] = &[
        Self::IpFilter(ip_filter::Error::Denied),
        Self::IpFilter(ip_filter::Error::NotAllowed),
        Self::RequestSize(request_size::Error::TooLarge),
        Self::RequestSize(request_size::Error::LengthMissing),
        Self::RateLimit(rate_limit::Error::Exceeded),
        Self::Jwt(jwt::Refusal::Missing),
        Self::Jwt(jwt::Refusal::Several),
        Self::Jwt(jwt::Refusal::TooLong),
        Self::Jwt(jwt::Refusal::Malformed),
        Self::Jwt(jwt::Refusal::AlgorithmForbidden),
        Self::Jwt(jwt::Refusal::CriticalHeader),
        Self::Jwt(jwt::Refusal::KeyInHeader),
        Self::Jwt(jwt::Refusal::OddType),
        Self::Jwt(jwt::Refusal::UnknownIssuer),
        Self::Jwt(jwt::Refusal::UnknownKey),
        Self::Jwt(jwt::Refusal::KeyAmbiguous),
        Self::Jwt(jwt::Refusal::BadSignature),
        Self::Jwt(jwt::Refusal::Expired),
        Self::Jwt(jwt::Refusal::NotYetValid),
        Self::Jwt(jwt::Refusal::WithoutExpiry),
        Self::Jwt(jwt::Refusal::IssuedInFuture),
        Self::Jwt(jwt::Refusal::WrongAudience),
        Self::Jwt(jwt::Refusal::ClaimMissing),
        Self::Jwt(jwt::Refusal::ClaimUnusable),
        Self::Jwt(jwt::Refusal::KeysUnavailable),
        Self::ApiKey(api_key::Refusal::Missing),
        Self::ApiKey(api_key::Refusal::Several),
        Self::ApiKey(api_key::Refusal::Malformed),
        Self::ApiKey(api_key::Refusal::Unknown),
        Self::ApiKey(api_key::Refusal::Expired),
        Self::NotAlone(Kind::Jwt),
        Self::NotAlone(Kind::ApiKey),
        Self::NotAlone(Kind::BasicAuth),
        Self::RequestTransform(request_transform::Error::BodyTooLarge),
        Self::RequestTransform(request_transform::Error::BodyEncoded),
        Self::RequestTransform(request_transform::Error::BodyNotJson),
        Self::RequestTransform(request_transform::Error::BodyTooDeep),
        Self::RequestTransform(request_transform::Error::MemberRepeated),
        Self::Authorize(authorize::Error::Unidentified),
        Self::Authorize(authorize::Error::RoleMissing),
        Self::Authorize(authorize::Error::ScopeMissing),
        Self::BasicAuth(basic_auth::Refusal::Missing),
        Self::BasicAuth(basic_auth::Refusal::Several),
        Self::BasicAuth(basic_auth::Refusal::Malformed),
        Self::BasicAuth(basic_auth::Refusal::Wrong),
        Self::BasicAuth(basic_auth::Refusal::Throttled),
        Self::BasicAuth(basic_auth::Refusal::Busy),
        Self::BasicAuth(basic_auth::Refusal::Late),
    ];

    /// Whose refusal it is.
    pub const fn kind(self) -> Kind {
        match self {
            Self::ApiKey(_) => Kind::ApiKey,
            Self::NotAlone(kind) => kind,
            Self::Authorize(_) => Kind::Authorize,
            Self::IpFilter(_) => Kind::IpFilter,
            Self::Jwt(_) => Kind::Jwt,
            Self::RequestSize(_) => Kind::RequestSize,
            Self::RateLimit(_) => Kind::RateLimit,
            Self::RequestTransform(_) => Kind::RequestTransform,
            Self::BasicAuth(_) => Kind::BasicAuth,
        }
    }

    /// For the log and the metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ApiKey(refusal) => refusal.reason(),
            Self::NotAlone(_) => "other_credential",
            Self::Authorize(error) => error.reason(),
            Self::IpFilter(error) => error.reason(),
            Self::Jwt(refusal) => refusal.reason(),
            Self::RequestSize(error) => error.reason(),
            Self::RateLimit(error) => error.reason(),
            Self::RequestTransform(error) => error.reason(),
            Self::BasicAuth(refusal) => refusal.reason(),
        }
    }

    /// The request brought nothing that could say who sends it.
    pub const fn is_for_want_of_credentials(self) -> bool {
        matches!(
            self,
            Self::Jwt(jwt::Refusal::Missing)
                | Self::ApiKey(api_key::Refusal::Missing)
                | Self::BasicAuth(basic_auth::Refusal::Missing)
                | Self::Authorize(authorize::Error::Unidentified)
        )
    }

    /// What the request brought to say who sends it was not good enough, or was missing; not that nobody could be asked
    /// whether it is.
    pub const fn is_of_credentials(self) -> bool {
        let is_unasked = matches!(
            self,
            Self::Jwt(jwt::Refusal::KeysUnavailable)
                | Self::BasicAuth(basic_auth::Refusal::Busy | basic_auth::Refusal::Late)
        );
        self.kind().authenticates() && !is_unasked
    }

    /// Its place among all.
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|error| *error == self).unwrap_or(Self::ALL.len())
    }
}

#[cfg(test)]
mod trial;
#[cfg(test)]
pub use trial::{Bench, Trial};

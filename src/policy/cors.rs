//! CORS: which pages of other origins a browser lets read the answers (Fetch standard, "HTTP extensions").
//!
//! The keys are those of Kong's plugin. What an origin may do is told in the answer, never enforced here: the browser
//! does that. A preflight, with which it asks beforehand, is answered without the service.

use serde::{Deserialize, Deserializer};

use super::{Context, Hooks, Invalid, Member, Response, Verdict};
use crate::http::view::{FieldName, FieldNames, Headers, Method, RequestView, ResponseView};
use crate::stdx::number::Bounded;
use crate::stdx::parsed::parsed;

/// Lets pages of other origins use the service from a browser, and answers their preflights. The gateway's own answers
/// say so too, so that a page can read why it was refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Origins whose pages may: `https://example.com`, `https://*.example.com` for every name below it, `null`, or `*`
    /// for any. Kong's regular expressions are refused. Default: `*`.
    pub origins: Option<Vec<Origin>>,
    /// Methods that they may use, as a preflight is told. Default: GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS, TRACE
    /// and CONNECT.
    pub methods: Option<Vec<FieldName>>,
    /// Headers that they may send, as a preflight is told. Default: those that it asks for.
    pub headers: Option<Vec<FieldName>>,
    /// Headers of responses that they may read. Default: none.
    pub exposed_headers: Vec<FieldName>,
    /// Whether requests may carry cookies and other credentials. Not together with the origins `*` and `null`, which
    /// would give every page the user's rights. Default: false.
    pub credentials: bool,
    /// How long a browser may keep the answer to a preflight, in seconds. Default: it is not told.
    pub max_age: Option<Bounded<0, 86_400>>,
    /// Whether the service answers preflights. Default: false.
    pub preflight_continue: bool,
    /// Whether public pages may reach a private address, if the preflight asks. Default: false.
    pub private_network: bool,
    /// Whether answers to requests without an origin get the headers as well. Default: true.
    pub allow_origin_absent: Option<bool>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    Any,
    Exact(Box<str>),
    /// `https://` and `.example.com`, with at least one more label between them.
    Below(Box<str>, Box<str>),
}

#[derive(Debug, Eq, PartialEq)]
pub struct Cors {
    origins: Box<[Origin]>,
    is_any: bool,
    methods: Box<[u8]>,
    headers: Option<Box<[u8]>>,
    exposed_headers: Box<[u8]>,
    max_age: Option<Box<[u8]>>,
    preflight_continue: bool,
    private_network: bool,
    allow_origin_absent: bool,
    preflight: Response,
    varied: FieldNames,
    /// What it says of an origin: the names, and the lines behind the origin itself.
    said: FieldNames,
    behind_origin: &'static [u8],
}

impl Member for Cors {
    type Config = Config;
    const HOOKS: Hooks = Hooks::BOTH;

    fn new(config: Config) -> Result<Self, Invalid> {
        let origins = config.origins.unwrap_or_else(|| vec![Origin::Any]);
        if origins.is_empty() {
            return Err(Invalid::new("no origin", "leave out `origins` for any"));
        }
        let is_any = origins.contains(&Origin::Any);
        if is_any && config.credentials {
            return Err(Invalid::new("`credentials` for any origin", "list the origins that may have them"));
        }
        // The origin of every page in a frame that some other page has boxed in.
        if config.credentials && origins.iter().any(|origin| origin.is(b"null")) {
            return Err(Invalid::new("`credentials` for `null`, which any page can be", "list origins with a name"));
        }
        let methods = config.methods.map_or_else(|| METHODS.into(), |methods| list(&methods));
        Ok(Self {
            origins: origins.into(),
            is_any,
            methods,
            headers: config.headers.as_deref().map(list),
            exposed_headers: list(&config.exposed_headers),
            max_age: config.max_age.map(|max_age| max_age.get().to_string().into_bytes().into()),
            preflight_continue: config.preflight_continue,
            private_network: config.private_network,
            allow_origin_absent: config.allow_origin_absent.unwrap_or(true),
            preflight: Response { status: 200, content_type: None, body: Box::default() },
            varied: FieldNames::new([VARY.clone()]),
            said: FieldNames::new([ALLOW_ORIGIN, ALLOW_CREDENTIALS].map(FieldName::fixed)),
            behind_origin: if config.credentials { CREDENTIALS } else { b"\r\n" },
        })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, _context: &mut Context<'_>) -> Verdict<'a> {
        if self.answers(request) { Verdict::Respond(&self.preflight) } else { Verdict::Continue }
    }

    fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, _context: &Context<'_>) {
        let headers = &mut response.headers;
        if !self.is_any || !self.allow_origin_absent {
            // Also where there is none: what is kept for one origin must not be served to another.
            headers.add_lines(&self.varied, |lines| lines.extend_from_slice(b"Vary: Origin\r\n"));
        }
        if !self.allow_origin_absent && !request.headers.has(&ORIGIN) {
            return;
        }
        let allowed = self.allowed(request.headers.only(&ORIGIN));
        // What the service says of origins gives way, or there would be two answers to one question.
        headers.set_lines(&self.said, |lines| {
            if let Some(origin) = allowed {
                lines.extend_from_slice(ALLOW_ORIGIN.as_bytes());
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(origin);
                lines.extend_from_slice(self.behind_origin);
            }
        });
        if allowed.is_none() {
            return;
        }
        if self.answers(request) {
            self.tell(request, headers);
        } else if !self.exposed_headers.is_empty() {
            headers.set(&EXPOSE_HEADERS, &self.exposed_headers);
        }
    }
}

impl Cors {
    /// It is a preflight, and not for the service.
    fn answers(&self, request: &RequestView<'_>) -> bool {
        !self.preflight_continue
            && request.method() == Method::Options
            && request.headers.has(&ORIGIN)
            && request.headers.has(&REQUEST_METHOD)
    }

    /// Which origin the answer names.
    fn allowed<'a>(&'a self, origin: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match (origin, &*self.origins) {
            _ if self.is_any => Some(b"*"),
            (None, [Origin::Exact(only)]) => Some(only.as_bytes()),
            (None, _) => None,
            (Some(origin), origins) => origins.iter().any(|allowed| allowed.is(origin)).then_some(origin),
        }
    }

    /// What an allowed preflight is told.
    fn tell(&self, request: &RequestView<'_>, headers: &mut Headers<'_>) {
        headers.set(&ALLOW_METHODS, &self.methods);
        match (&self.headers, request.headers.only(&REQUEST_HEADERS)) {
            (Some(allowed), _) => headers.set(&ALLOW_HEADERS, allowed),
            (None, Some(wanted)) => {
                headers.set(&ALLOW_HEADERS, wanted);
                headers.add(&VARY, b"Access-Control-Request-Headers");
            }
            (None, None) => {}
        }
        if let Some(max_age) = &self.max_age {
            headers.set(&MAX_AGE, max_age);
        }
        let wants_private = || request.headers.only(&REQUEST_PRIVATE_NETWORK) == Some(b"true");
        if self.private_network && wants_private() {
            headers.set(&ALLOW_PRIVATE_NETWORK, b"true");
        }
    }
}

impl Origin {
    fn new(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if matches!(&*lower, "*" | "null") {
            return Some(if lower == "*" { Self::Any } else { Self::Exact(lower.into()) });
        }
        let (scheme, host) = lower.split_once("://")?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let is_host = |host: &str| !host.is_empty() && host.bytes().all(is_host_byte);
        match host.strip_prefix("*.") {
            Some(below) if is_scheme && is_host(below) => {
                Some(Self::Below(format!("{scheme}://").into(), format!(".{below}").into()))
            }
            None if is_scheme && is_host(host) => Some(Self::Exact(lower.into())),
            _ => None,
        }
    }

    fn is(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            // Browsers send it in lower case.
            Self::Exact(exact) => origin == exact.as_bytes() || origin.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below(scheme, suffix) => {
                let Some(begin) = origin.get(..scheme.len()) else { return false };
                let rest = &origin[scheme.len()..];
                let Some(labels) = rest.len().checked_sub(suffix.len()).filter(|labels| *labels > 0) else {
                    return false;
                };
                begin.eq_ignore_ascii_case(scheme.as_bytes())
                    && rest[labels..].eq_ignore_ascii_case(suffix.as_bytes())
                    && rest[..labels].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an origin as in `https://example.com` or `https://*.example.com`, `null` or `*`";
        parsed(deserializer, expected, Self::new)
    }
}

/// Of a host and a port.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte)
}

fn list(names: &[FieldName]) -> Box<[u8]> {
    names.iter().map(FieldName::text).collect::<Vec<_>>().join(",").into_bytes().into()
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
/// What may stand behind the origin.
const CREDENTIALS: &[u8] = b"\r\nAccess-Control-Allow-Credentials: true\r\n";
static ORIGIN: FieldName = FieldName::fixed("Origin");
static VARY: FieldName = FieldName::fixed("Vary");
static ALLOW_METHODS: FieldName = FieldName::fixed("Access-Control-Allow-Methods");
static ALLOW_HEADERS: FieldName = FieldName::fixed("Access-Control-Allow-Headers");
static ALLOW_PRIVATE_NETWORK: FieldName = FieldName::fixed("Access-Control-Allow-Private-Network");
static EXPOSE_HEADERS: FieldName = FieldName::fixed("Access-Control-Expose-Headers");
static MAX_AGE: FieldName = FieldName::fixed("Access-Control-Max-Age");
static REQUEST_METHOD: FieldName = FieldName::fixed("Access-Control-Request-Method");
static REQUEST_HEADERS: FieldName = FieldName::fixed("Access-Control-Request-Headers");
static REQUEST_PRIVATE_NETWORK: FieldName = FieldName::fixed("Access-Control-Request-Private-Network");
const METHODS: &[u8] = b"GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    /// The header lines of the answer to a request with these.
    #[track_caller]
    fn check(config: &str, request: &str, is_answered: bool, want: &[&str]) {
        let trial = Trial::<Cors>::new(config);
        let method = if request.contains("Access-Control-Request") { "OPTIONS" } else { "GET" };
        let mut tried = trial.request(&format!("{method} / HTTP/1.1\nHost: h{request}"));
        assert_eq!(tried.response().map(|response| response.status), is_answered.then_some(200), "{config}");
        let service =
            [("access-control-allow-origin", "https://service"), ("Access-Control-Allow-Credentials", "true")];
        assert_eq!(tried.answered(200, &service), want, "{config} {request}");
    }

    const PREFLIGHT: &str = "\nOrigin: https://a.example\nAccess-Control-Request-Method: PUT";

    #[test]
    fn any_origin_is_the_default() {
        let any = "Access-Control-Allow-Origin: *";
        check("{}", "\nOrigin: https://a.example", false, &[any]);
        check("{}", "", false, &[any]);
        let methods = "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
        check("{}", PREFLIGHT, true, &[any, methods]);
        let service = ["access-control-allow-origin: https://service", "Access-Control-Allow-Credentials: true"];
        check("allow_origin_absent: false", "", false, &[service[0], service[1], "Vary: Origin"]);
        check("allow_origin_absent: false", "\nOrigin: https://a.example", false, &["Vary: Origin", any]);
        check("exposed_headers: [X-A, X-B]", "", false, &[any, "Access-Control-Expose-Headers: X-A,X-B"]);
    }

    #[test]
    fn a_listed_origin_is_named_and_others_are_not() {
        let config = "{ origins: [\"https://a.example\", \"https://*.b.example:8443\"], credentials: true }";
        for (origin, is_allowed) in [
            ("https://a.example", true),
            ("https://A.Example", true),
            ("http://a.example", false),
            ("https://a.example.evil", false),
            ("https://xa.example", false),
            ("https://x.b.example:8443", true),
            ("https://x.y.b.example:8443", true),
            ("https://b.example:8443", false),
            ("https://.b.example:8443", false),
            ("https://evil.test/.b.example:8443", false),
            ("https://x.b.example", false),
            ("null", false),
        ] {
            let allowed = format!("Access-Control-Allow-Origin: {origin}");
            let all = ["Vary: Origin", &*allowed, "Access-Control-Allow-Credentials: true"];
            check(config, &format!("\nOrigin: {origin}"), false, if is_allowed { &all } else { &all[..1] });
        }
        let twice = "\nOrigin: https://a.example\nOrigin: https://evil";
        check(config, twice, false, &["Vary: Origin"]);
        check(config, "", false, &["Vary: Origin"]);
        let only = "Access-Control-Allow-Origin: https://a.example";
        check("origins: [\"https://a.example\"]", "", false, &["Vary: Origin", only]);
        check("origins: [\"null\"]", "\nOrigin: null", false, &["Vary: Origin", "Access-Control-Allow-Origin: null"]);
    }

    #[test]
    fn a_preflight_is_told_what_is_allowed() {
        let config = "{ origins: [\"https://a.example\"], methods: [GET, PUT], headers: [X-A, X-B], max_age: 60, \
                      private_network: true }";
        let request = format!("{PREFLIGHT}\nAccess-Control-Request-Private-Network: true");
        let want = [
            "Vary: Origin",
            "Access-Control-Allow-Origin: https://a.example",
            "Access-Control-Allow-Methods: GET,PUT",
            "Access-Control-Allow-Headers: X-A,X-B",
            "Access-Control-Max-Age: 60",
            "Access-Control-Allow-Private-Network: true",
        ];
        check(config, &request, true, &want);
        check(config, PREFLIGHT, true, &want[..5]);
        check(config, &PREFLIGHT.replace("a.example", "b.example"), true, &want[..1]);
        check(
            "methods: [GET]",
            &format!("{PREFLIGHT}\nAccess-Control-Request-Headers: x-a, x-b"),
            true,
            &[
                "Access-Control-Allow-Origin: *",
                "Access-Control-Allow-Methods: GET",
                "Access-Control-Allow-Headers: x-a, x-b",
                "Vary: Access-Control-Request-Headers",
            ],
        );
        check("preflight_continue: true", PREFLIGHT, false, &["Access-Control-Allow-Origin: *"]);
        check("{}", "\nAccess-Control-Request-Method: PUT", false, &["Access-Control-Allow-Origin: *"]);
    }

    #[test]
    fn what_is_unsafe_or_no_origin_is_a_mistake() {
        let refused = Trial::<Cors>::refused;
        refused("credentials: true", "`credentials` for any origin: list the origins that may have them");
        refused(
            "{ origins: [\"null\"], credentials: true }",
            "`credentials` for `null`, which any page can be: list origins with a name",
        );
        refused("origins: []", "no origin: leave out `origins` for any");
        for origin in
            ["example.com", "https://", "https://a.example/", "https://.*\\\\.a", "https://a*.b", "^https://a$"]
        {
            Trial::<Cors>::unread(&format!("origins: [\"{origin}\"]"), "expected an origin as in");
        }
    }
}

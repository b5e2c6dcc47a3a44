//! Security headers: what browsers should refuse to do with a response, and what a response need not tell.

use serde::Deserialize;

use super::{Context, Hooks, Invalid, Member};
use crate::http::view::{FieldName, FieldValue, RequestView, ResponseView};
use crate::stdx::number::Bounded;

/// Adds to every response, the gateway's own answers to requests included, what makes browsers careful, and takes away
/// what tells of the software behind it. The answer to a head that cannot be read (400, 408, 414, 431, 501, 505) meets
/// no policy, and has none of it. `""` for a value sends no such header.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `Strict-Transport-Security`. Sent only if the client's connection is encrypted (RFC 6797 §7.2): by the word of
    /// `X-Forwarded-Proto` from a trusted proxy.
    pub strict_transport_security: StrictTransportSecurity,
    /// Whether `X-Content-Type-Options: nosniff` is sent. Default: true.
    pub content_type_options: Option<bool>,
    /// `X-Frame-Options`. Default: `DENY`.
    pub frame_options: Option<FieldValue>,
    /// `Referrer-Policy`. Default: `strict-origin-when-cross-origin`.
    pub referrer_policy: Option<FieldValue>,
    /// `Content-Security-Policy`. Default: none.
    pub content_security_policy: Option<FieldValue>,
    /// `Permissions-Policy`. Default: none.
    pub permissions_policy: Option<FieldValue>,
    /// `Cross-Origin-Opener-Policy`. Default: none.
    pub cross_origin_opener_policy: Option<FieldValue>,
    /// `Cross-Origin-Resource-Policy`. Default: none.
    pub cross_origin_resource_policy: Option<FieldValue>,
    /// Whether a header that the service sends itself gives way to the one here. Default: false.
    pub replace: Option<bool>,
    /// Headers that are taken away. Default: `Server`, `X-Powered-By`, `X-AspNet-Version` and `X-AspNetMvc-Version`.
    pub remove: Option<Vec<FieldName>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StrictTransportSecurity {
    /// How long a browser must keep to encrypted connections, in seconds; 0 makes it forget, `null` sends no header.
    /// Default: null.
    pub max_age_s: Option<Bounded<0, 315_360_000>>,
    /// Whether that holds for all names below the host's. Default: false.
    pub include_subdomains: Option<bool>,
    /// Whether browsers may have it in their lists. Default: false.
    pub preload: Option<bool>,
}

#[derive(Debug, Eq, PartialEq)]
pub struct SecurityHeaders {
    add: Box<[(FieldName, FieldValue)]>,
    /// Only on encrypted connections.
    transport: Option<FieldValue>,
    replace: bool,
    remove: Box<[FieldName]>,
}

impl Member for SecurityHeaders {
    type Config = Config;
    const HOOKS: Hooks = Hooks::RESPONSE;

    fn new(config: Config) -> Result<Self, Invalid> {
        let transport = transport(&config.strict_transport_security)?;
        let or = |given: Option<FieldValue>, default| given.or_else(|| FieldValue::new(default));
        let nosniff = if config.content_type_options.unwrap_or(true) { "nosniff" } else { "" };
        let add = [
            ("X-Content-Type-Options", FieldValue::new(nosniff)),
            ("X-Frame-Options", or(config.frame_options, "DENY")),
            ("Referrer-Policy", or(config.referrer_policy, "strict-origin-when-cross-origin")),
            ("Content-Security-Policy", config.content_security_policy),
            ("Permissions-Policy", config.permissions_policy),
            ("Cross-Origin-Opener-Policy", config.cross_origin_opener_policy),
            ("Cross-Origin-Resource-Policy", config.cross_origin_resource_policy),
        ];
        let sent = add.into_iter().filter_map(|(name, value)| Some((FieldName::fixed(name), value?)));
        let remove = config.remove.unwrap_or_else(|| REMOVED.map(FieldName::fixed).to_vec());
        if let Some(name) = remove.iter().find(|name| name.is_the_gateways()) {
            let what = format!("the header `{}`, which the gateway writes or goes by itself", name.text());
            return Err(Invalid::new(what, "leave it out"));
        }
        Ok(Self {
            add: sent.filter(|(_, value)| !value.text().is_empty()).collect(),
            transport,
            replace: config.replace.unwrap_or(false),
            remove: remove.into(),
        })
    }

    fn on_response(&self, _request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
        let headers = &mut response.headers;
        self.remove.iter().for_each(|name| headers.remove(name));
        let transport = self.transport.iter().filter(|_| context.is_https).map(|value| (&TRANSPORT, value));
        let add = self.add.iter().map(|(name, value)| (name, value));
        for (name, value) in add.chain(transport) {
            if self.replace || !headers.has(name) {
                headers.set(name, value.bytes());
            }
        }
    }
}

fn transport(given: &StrictTransportSecurity) -> Result<Option<FieldValue>, Invalid> {
    let StrictTransportSecurity { max_age_s, include_subdomains, preload } = given;
    let (below, preload) = (include_subdomains.unwrap_or(false), preload.unwrap_or(false));
    let Some(max_age_s) = max_age_s else {
        let alone = below || preload;
        let what = "`include_subdomains` or `preload` without `max_age_s`";
        return if alone { Err(Invalid::new(what, "add `max_age_s: 31536000`")) } else { Ok(None) };
    };
    let below = if below { "; includeSubDomains" } else { "" };
    let preload = if preload { "; preload" } else { "" };
    Ok(FieldValue::new(&format!("max-age={}{below}{preload}", max_age_s.get())))
}

static TRANSPORT: FieldName = FieldName::fixed("Strict-Transport-Security");
const REMOVED: [&str; 4] = ["Server", "X-Powered-By", "X-AspNet-Version", "X-AspNetMvc-Version"];

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;

    #[track_caller]
    fn check(config: &str, is_https: bool, fields: &[(&str, &str)], want: &[&str]) {
        let mut trial = Trial::<SecurityHeaders>::new(config);
        trial.is_https = is_https;
        let mut tried = trial.request("GET / HTTP/1.1\nHost: h");
        assert_eq!(tried.answered(200, fields), want, "{config}");
    }

    const USUAL: [&str; 3] = [
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        "Referrer-Policy: strict-origin-when-cross-origin",
    ];

    #[test]
    fn every_response_gets_them_and_loses_what_tells_of_the_software() {
        check("{}", true, &[("Server", "x/1"), ("x-powered-by", "y")], &USUAL);
        check("remove: []", false, &[("Server", "x")], &["Server: x", USUAL[0], USUAL[1], USUAL[2]]);
        check(
            "{ content_type_options: false, frame_options: \"\", content_security_policy: \"default-src 'self'\" }",
            false,
            &[],
            &[USUAL[2], "Content-Security-Policy: default-src 'self'"],
        );
    }

    #[test]
    fn a_service_knows_better_unless_it_is_overruled() {
        let fields = [("x-frame-options", "SAMEORIGIN")];
        check("{}", false, &fields, &["x-frame-options: SAMEORIGIN", USUAL[0], USUAL[2]]);
        check("replace: true", false, &fields, &USUAL);
    }

    #[test]
    fn strict_transport_is_told_on_encrypted_connections_only() {
        let config = "strict_transport_security: { max_age_s: 60, include_subdomains: true, preload: true }";
        check(config, false, &[], &USUAL);
        let transport = "Strict-Transport-Security: max-age=60; includeSubDomains; preload";
        check(config, true, &[], &[USUAL[0], USUAL[1], USUAL[2], transport]);
        Trial::<SecurityHeaders>::refused(
            "strict_transport_security: { preload: true }",
            "`include_subdomains` or `preload` without `max_age_s`: add `max_age_s: 31536000`",
        );
    }

    #[test]
    fn what_the_gateway_writes_stays() {
        Trial::<SecurityHeaders>::refused(
            "remove: [Content-Length]",
            "the header `Content-Length`, which the gateway writes or goes by itself: leave it out",
        );
    }
}

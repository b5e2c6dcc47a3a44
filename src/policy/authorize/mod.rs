//! Authorize: what somebody may do, once a policy before has found out who it is.
//!
//! Rules are sets of bits ([`super::Vocabulary`]), so that a decision is a few words compared. Which rule a request
//! meets depends on its method alone, and on whatever could pass for the method behind the gateway: a request in doubt
//! has to satisfy all the rules that it might be meant for.

mod config;

pub use config::{Config, is_role, is_scope};

use std::sync::{Arc, OnceLock};

use self::config::{MethodName, NamesConfig, RuleConfig};
use super::{Context, Grants, Hooks, Invalid, Member, Verdict, Vocabulary};
use crate::http::view::{ArgumentName, FieldName, FieldValue, RequestView, ResponseView};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Nobody knows who asks.
    Unidentified,
    RoleMissing,
    ScopeMissing,
}

#[derive(Debug)]
pub struct Authorize {
    config: Config,
    /// Given before a shard sees the policy; without them nobody is let on.
    rules: OnceLock<Rules>,
}

#[derive(Debug)]
struct Rules {
    vocabulary: Arc<Vocabulary>,
    /// For every method that has none of its own.
    usual: Rule,
    methods: Box<[(Box<str>, Rule)]>,
    /// Where in the query a method may be named.
    argument: ArgumentName,
}

#[derive(Debug)]
struct Rule {
    roles: Needed,
    scopes: Needed,
    /// What a client is told that lacks a scope.
    challenge: Option<FieldValue>,
}

#[derive(Debug)]
struct Needed {
    all_of: Grants,
    any_of: Option<Grants>,
}

/// What a request lacks.
struct Lack<'a> {
    error: Error,
    challenge: Option<&'a FieldValue>,
}

impl Member for Authorize {
    type Config = Config;
    const HOOKS: Hooks = Hooks::BOTH;

    fn new(config: Config) -> Result<Self, Invalid> {
        config.check()?;
        Ok(Self { config, rules: OnceLock::new() })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        match self.decide(request, context) {
            Ok(()) => Verdict::Continue,
            Err(Lack { error, .. }) if self.config.shadow => {
                context.found.would_refuse = Some(error.into());
                Verdict::Continue
            }
            Err(Lack { error, .. }) => Verdict::Reject(error.into()),
        }
    }

    fn on_response(&self, request: &RequestView<'_>, response: &mut ResponseView<'_>, context: &Context<'_>) {
        if context.found.refusal == Some(Error::ScopeMissing.into())
            && let Err(Lack { challenge: Some(challenge), .. }) = self.decide(request, context)
        {
            response.headers.set(&WWW_AUTHENTICATE, challenge.bytes());
        }
    }
}

impl Authorize {
    /// Every role that it asks for.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.config.roles().flat_map(NamesConfig::names)
    }

    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.config.scopes().flat_map(NamesConfig::names)
    }

    /// What its names mean. Only the first vocabulary counts.
    pub fn give_vocabulary(&self, vocabulary: &Arc<Vocabulary>) {
        self.rules.get_or_init(|| {
            let Config { roles, scopes, methods, .. } = &self.config;
            let rule = |(MethodName(name), rule): (&MethodName, &RuleConfig)| {
                (name.clone(), Rule::new(&rule.roles, &rule.scopes, vocabulary))
            };
            Rules {
                vocabulary: vocabulary.clone(),
                usual: Rule::new(roles, scopes, vocabulary),
                methods: methods.iter().map(rule).collect(),
                argument: ArgumentName::new("_method").expect("it is a name"),
            }
        });
    }

    fn decide(&self, request: &RequestView<'_>, context: &Context<'_>) -> Result<(), Lack<'_>> {
        let unidentified = Lack { error: Error::Unidentified, challenge: None };
        let (Some(identity), Some(rules)) = (&context.found.identity, self.rules.get()) else {
            return Err(unidentified);
        };
        rules.decide(request, &identity.grants(&rules.vocabulary))
    }
}

impl Rules {
    fn decide(&self, request: &RequestView<'_>, has: &Grants) -> Result<(), Lack<'_>> {
        if self.methods.is_empty() {
            return self.usual.decide(has);
        }
        self.of_method(request.method_name(), has)?;
        for name in &OVERRIDES {
            request.headers.values(name).try_for_each(|value| self.of_override(value, has))?;
        }
        request.argument(&self.argument).try_for_each(|value| self.of_override(value, has))
    }

    /// The rule of the method. One that only looks like it in another case may be taken for it, or for none.
    fn of_method(&self, method: &[u8], has: &Grants) -> Result<(), Lack<'_>> {
        let find = |is: &dyn Fn(&[u8]) -> bool| self.methods.iter().find(|(name, _)| is(name.as_bytes()));
        if let Some((_, rule)) = find(&|name| name == method) {
            return rule.decide(has);
        }
        let like = find(&|name| name.eq_ignore_ascii_case(method));
        let of_get = || find(&|name| name == b"GET").filter(|_| method.eq_ignore_ascii_case(b"HEAD"));
        match like.or_else(of_get) {
            Some((_, rule)) if method == b"HEAD" => rule.decide(has),
            Some((_, rule)) => rule.decide(has).and_then(|()| self.usual.decide(has)),
            None => self.usual.decide(has),
        }
    }

    /// What a service may take for the method. Of what is no plain word nobody knows what it is taken for.
    fn of_override(&self, value: &[u8], has: &Grants) -> Result<(), Lack<'_>> {
        if !value.is_empty() && value.iter().all(u8::is_ascii_alphabetic) {
            return self.of_method(value, has);
        }
        self.methods.iter().try_for_each(|(_, rule)| rule.decide(has)).and_then(|()| self.usual.decide(has))
    }
}

impl Rule {
    fn new(roles: &Option<NamesConfig>, scopes: &Option<NamesConfig>, vocabulary: &Vocabulary) -> Self {
        Self {
            roles: Needed::new(roles, |name| vocabulary.asked_role(name)),
            scopes: Needed::new(scopes, |name| vocabulary.scope(name)),
            challenge: scopes.as_ref().and_then(challenge),
        }
    }

    fn decide(&self, has: &Grants) -> Result<(), Lack<'_>> {
        if !self.roles.is_met(has) {
            Err(Lack { error: Error::RoleMissing, challenge: None })
        } else if !self.scopes.is_met(has) {
            Err(Lack { error: Error::ScopeMissing, challenge: self.challenge.as_ref() })
        } else {
            Ok(())
        }
    }
}

impl Needed {
    fn new(names: &Option<NamesConfig>, bits: impl Fn(&str) -> Grants) -> Self {
        let sum = |names: &Vec<String>| names.iter().fold(Grants::default(), |sum, name| sum.and(bits(name)));
        let of =
            |list: fn(&NamesConfig) -> &Option<Vec<String>>| names.as_ref().and_then(|it| list(it).as_ref().map(sum));
        Self { all_of: of(|it| &it.all_of).unwrap_or_default(), any_of: of(|it| &it.any_of) }
    }

    fn is_met(&self, has: &Grants) -> bool {
        has.has_all(&self.all_of) && self.any_of.as_ref().is_none_or(|any_of| has.has_any(any_of))
    }
}

impl Error {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unidentified => "unidentified",
            Self::RoleMissing => "role_missing",
            Self::ScopeMissing => "scope_missing",
        }
    }
}

impl From<Error> for super::Error {
    fn from(error: Error) -> Self {
        Self::Authorize(error)
    }
}

/// By what the operator wrote.
impl PartialEq for Authorize {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Eq for Authorize {}

/// RFC 6750 §3.1: the scope that would do. Of several that would, the first one.
fn challenge(scopes: &NamesConfig) -> Option<FieldValue> {
    let names = scopes.all_of.iter().flatten().chain(scopes.any_of.iter().flatten().take(1));
    let names: Vec<&str> = names.map(String::as_str).collect();
    FieldValue::new(&format!(r#"Bearer realm="gateway", error="insufficient_scope", scope="{}""#, names.join(" ")))
}

/// Where frameworks look for the method that is meant.
const OVERRIDES: [FieldName; 3] = [
    FieldName::fixed("X-HTTP-Method-Override"),
    FieldName::fixed("X-HTTP-Method"),
    FieldName::fixed("X-Method-Override"),
];
const WWW_AUTHENTICATE: FieldName = FieldName::fixed("WWW-Authenticate");

#[cfg(test)]
mod tests {
    use super::super::{Identity, Role, Trial};
    use super::*;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    /// A policy in force, among roles of which `admin` includes `editor`, and `editor` may write.
    fn trial(config: &str) -> Trial<Authorize> {
        let trial = Trial::<Authorize>::new(config);
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let admin = Role { includes: owned(&["editor"]), scopes: owned(&[]) };
        let editor = Role { includes: owned(&[]), scopes: owned(&["write"]) };
        let declared = [("admin".to_owned(), admin), ("editor".to_owned(), editor)].into();
        let roles: BTreeSet<&str> = trial.policy().roles().collect();
        let scopes: BTreeSet<&str> = trial.policy().scopes().collect();
        let vocabulary = Arc::new(Vocabulary::new(&roles, &scopes, &declared).expect("a vocabulary"));
        trial.policy().give_vocabulary(&vocabulary);
        trial
    }

    fn names(text: &str) -> Box<[Box<str>]> {
        text.split(' ').filter(|name| !name.is_empty()).map(Box::from).collect()
    }

    /// Sends requests, each of somebody with roles and scopes, and compares what is said of it.
    #[track_caller]
    fn check(config: &str, cases: &[(&str, &str, &str, Option<Error>)]) {
        let mut trial = trial(config);
        for &(head, roles, scopes, want) in cases {
            trial.identity = Some(Rc::new(Identity::new(None, None, names(roles), names(scopes))));
            let head = if head.contains('\n') { head.to_owned() } else { format!("{head} / HTTP/1.1\nHost: a") };
            let refusal = trial.request(&head).refusal();
            assert_eq!(refusal, want.map(Into::into), "{config}: {head:?} with roles {roles:?}, scopes {scopes:?}");
        }
    }

    const ROLE: Option<Error> = Some(Error::RoleMissing);
    const SCOPE: Option<Error> = Some(Error::ScopeMissing);

    #[test]
    fn all_of_is_all_and_any_of_is_one() {
        check(
            "roles: { all_of: [a, b], any_of: [c, d] }",
            &[
                ("GET", "a b c", "", None),
                ("GET", "d b a x", "", None),
                ("GET", "a b", "", ROLE),
                ("GET", "a c d", "", ROLE),
                ("GET", "", "a b c", ROLE),
                ("GET", "A B C", "", ROLE),
            ],
        );
        check(
            "roles: { any_of: [a] }\nscopes: { all_of: [read, write] }",
            &[
                ("GET", "a", "write read", None),
                ("GET", "a", "read", SCOPE),
                ("GET", "", "read", ROLE),
                ("GET", "a read write", "", SCOPE),
            ],
        );
        check("{}", &[("GET", "", "", None), ("DELETE", "", "", None)]);
    }

    #[test]
    fn a_role_brings_what_it_stands_for_and_never_what_stands_above_it() {
        check(
            "roles: { any_of: [editor] }\nscopes: { any_of: [write] }",
            &[("GET", "admin", "", None), ("GET", "editor", "", None), ("GET", "reader", "write", ROLE)],
        );
        check(
            "roles: { all_of: [admin] }",
            &[("GET", "admin", "", None), ("GET", "editor", "", ROLE), ("GET", "admin ", "", None)],
        );
    }

    const BY_METHOD: &str = "roles: { any_of: [editor] }
methods:
  GET: {}
  DELETE: { roles: { any_of: [admin] } }
  PURGE: { scopes: { all_of: [purge] } }";

    #[test]
    fn a_method_has_its_own_rule() {
        check(
            BY_METHOD,
            &[
                ("GET", "", "", None),
                ("HEAD", "", "", None),
                ("POST", "editor", "", None),
                ("POST", "", "", ROLE),
                ("OPTIONS", "", "", ROLE),
                ("DELETE", "admin", "", None),
                ("DELETE", "editor", "", ROLE),
                ("PURGE", "", "purge", None),
                ("PURGE", "editor", "", SCOPE),
            ],
        );
    }

    #[test]
    fn whatever_could_pass_for_another_method_has_to_satisfy_both_rules() {
        let with = |method: &str, line: &str| format!("{method} / HTTP/1.1\nHost: a\n{line}");
        let query = |query: &str| format!("POST /?{query} HTTP/1.1\nHost: a");
        check(
            BY_METHOD,
            &[
                ("get", "", "", ROLE),
                ("head", "", "", ROLE),
                ("delete", "editor", "", ROLE),
                ("Delete", "admin", "", None),
                ("pUrGe", "editor", "", SCOPE),
                ("pUrGe", "", "purge", ROLE),
                (&with("GET", "X-HTTP-Method-Override: DELETE"), "editor", "", ROLE),
                (&with("GET", "X-HTTP-Method-Override: DELETE"), "admin", "", None),
                (&with("GET", "x-http-method-OVERRIDE: delete"), "editor", "", ROLE),
                (&with("GET", "X_HTTP_Method_Override: DELETE"), "editor", "", ROLE),
                (&with("GET", "X-HTTP-Method: POST"), "", "", ROLE),
                (&with("GET", "X-Method-Override: POST"), "", "", ROLE),
                (&with("POST", "X-HTTP-Method-Override: GET"), "", "", ROLE),
                (&with("POST", "X-Method-Override: GET\nX-Method-Override: DELETE"), "editor", "", ROLE),
                (&with("POST", "X-Method-Override: GET, DELETE"), "editor", "", ROLE),
                (&with("POST", "X-Method-Override: GET, DELETE"), "admin", "", SCOPE),
                (&with("GET", "X-Method-Override: "), "admin", "", SCOPE),
                (&with("GET", "X-Method-Override: GET"), "", "", None),
                (&query("_method=delete"), "editor", "", ROLE),
                (&query("_method=delete"), "admin", "", None),
                (&query("a=1&%5fmethod=DELETE"), "editor", "", ROLE),
                (&query("_method=%44ELETE"), "editor", "", ROLE),
                (&query("_method=GET&_method=DELETE"), "editor", "", ROLE),
                (&query("method=DELETE"), "editor", "", None),
            ],
        );
        // Without rules by method nothing depends on it.
        check("{}", &[(&with("GET", "X-HTTP-Method-Override: DELETE"), "", "", None), ("delete", "", "", None)]);
    }

    #[test]
    fn what_a_request_says_of_roles_itself_counts_for_nothing() {
        let head = "GET / HTTP/1.1\nHost: a\nX-Role: admin\nX-Roles: editor, admin\nx_role: admin";
        check("roles: { any_of: [admin] }", &[(head, "editor", "", ROLE), (head, "editor,admin", "", ROLE)]);
    }

    #[test]
    fn nobody_is_let_on_unidentified_or_before_the_names_mean_something() {
        let refusal = |trial: &Trial<Authorize>| trial.request("GET / HTTP/1.1\nHost: a").refusal();
        let mut trial = trial("{}");
        assert_eq!(refusal(&trial), Some(Error::Unidentified.into()));
        trial.identity = Some(Rc::default());
        assert_eq!(refusal(&trial), None);
        let mut early = Trial::<Authorize>::new("{}");
        early.identity = Some(Rc::default());
        assert_eq!(refusal(&early), Some(Error::Unidentified.into()));
    }

    #[test]
    fn a_challenge_names_the_scope_that_would_do() {
        let answered = |config: &str, identity: Option<Rc<Identity>>| {
            let mut trial = trial(config);
            trial.identity = identity;
            trial.request("GET / HTTP/1.1\nHost: a").answered(403, &[("WWW-Authenticate", "Bearer")])
        };
        let config = "scopes: { all_of: [a, \"b:c\"], any_of: [d, e] }";
        let scoped = r#"WWW-Authenticate: Bearer realm="gateway", error="insufficient_scope", scope="a b:c d""#;
        assert_eq!(answered(config, Some(Rc::default())), [scoped]);
        assert_eq!(answered(config, None), ["WWW-Authenticate: Bearer"]);
        assert_eq!(answered("roles: { any_of: [a] }", Some(Rc::default())), ["WWW-Authenticate: Bearer"]);
        assert_eq!(answered("{}", Some(Rc::default())), ["WWW-Authenticate: Bearer"]);
    }

    #[test]
    fn a_shadow_lets_on_whom_it_would_refuse() {
        let mut trial = trial("roles: { any_of: [a] }\nshadow: true");
        for (identity, want) in [
            (None, Some(Error::Unidentified)),
            (Some(Identity::default()), Some(Error::RoleMissing)),
            (Some(Identity::new(None, None, names("a"), names(""))), None),
        ] {
            trial.identity = identity.map(Rc::new);
            let tried = trial.request("GET / HTTP/1.1\nHost: a");
            assert_eq!((tried.refusal(), tried.would_refuse), (None, want.map(Into::into)));
        }
    }

    #[test]
    fn an_identity_that_outlives_a_configuration_is_read_in_the_next_ones_words() {
        let identity = Rc::new(Identity::new(None, None, names("b"), names("")));
        for (role, want) in [("a", ROLE), ("b", None), ("a", ROLE), ("c", ROLE)] {
            let mut trial = trial(&format!("roles: {{ any_of: [{role}] }}"));
            trial.identity = Some(identity.clone());
            assert_eq!(trial.request("GET / HTTP/1.1\nHost: a").refusal(), want.map(Into::into), "{role}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_mistakes() {
        let refused = Trial::<Authorize>::refused;
        let help = "name at least one in `all_of` or in `any_of`, or leave it out";
        refused("roles: {}", &format!("a list without a role: {help}"));
        refused("methods: { GET: { scopes: { any_of: [] } } }", &format!("a list without a scope: {help}"));
        let help = "it is 1 to 128 bytes long, a scope without spaces, quotes and backslashes";
        refused("scopes: { all_of: [\"a b\"] }", &format!("`a b` for a scope: {help}"));
        refused("roles: { all_of: [\"a\\nb\"] }", &format!("`a\\nb` for a role: {help}"));
        let methods: Vec<_> = ('A'..='Q').map(|letter| format!("{letter}: {{}}")).collect();
        refused(&format!("methods: {{ {} }}", methods.join(", ")), "more than 16 `methods`: leave some out");
        Trial::<Authorize>::unread("methods: { get: {} }", "expected a method in capital letters");
        Trial::<Authorize>::unread("roles: [admin]", "expected mapping start");
        Trial::<Authorize>::unread("{ roles: { one_of: [a] } }", "one_of");
    }
}

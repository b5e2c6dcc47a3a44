//! API keys: who sent a request, by a secret that only a consumer has.
//!
//! The file holds of each key its HMAC under a pepper that lies elsewhere: whoever reads one of the two can neither use
//! a key nor try for one. A key is looked up by that HMAC, so that how long the look-up takes says nothing of how near
//! a guess came.

pub mod config;
mod uses;

pub use self::config::Config;
pub use self::uses::Uses;

use super::{Context, HeldKey, Hooks, Identity, Invalid, Member, Place, State, Verdict};
use crate::http::view::RequestView;
use std::rc::Rc;

/// The policy as it is configured, the same for all shards.
#[derive(Debug, Eq, PartialEq)]
pub struct ApiKey {
    config: Config,
}

/// Why a request is not let in; `proxy::error` makes an answer of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// There is no key.
    Missing,
    /// There are two, or the same one twice.
    Several,
    /// It is longer than any, empty, or has bytes in it that no key has.
    Malformed,
    Unknown,
    Expired,
}

impl Member for ApiKey {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(config: Config) -> Result<Self, Invalid> {
        let places = &config.places;
        if !(1..=PLACES_MAX).contains(&places.len()) {
            return Err(Invalid::new(format!("{} `places`", places.len()), format!("write 1 to {PLACES_MAX}")));
        }
        if config.hide_key && places.iter().any(Place::is_cookie) {
            return Err(Invalid::new("`hide_key` and a cookie", "take one of them away: cookies are sent on whole"));
        }
        if config.consumer_header.is_the_gateways() {
            let what = format!("a `consumer_header` `{}`", config.consumer_header.text());
            return Err(Invalid::new(what, "choose a header that is not the gateway's"));
        }
        Ok(Self { config })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let Config { places, hide_key, consumer_header } = &self.config;
        let now_s = context.now.wall.as_secs();
        let decided = Place::credential(places, request, (Refusal::Missing, Refusal::Several)).and_then(|key| {
            is_key(key)?;
            Self::decide(key, now_s, &mut *context)
        });
        let verdict = match decided {
            Ok(identity) => {
                if *hide_key {
                    Place::hide(places, request);
                }
                context.found.identity = Some(identity);
                Verdict::Continue
            }
            Err(refusal) => Verdict::Reject(super::Error::ApiKey(refusal)),
        };
        // Of a request that this one refuses too: somebody else may have let it in, or may do so yet.
        context.tell_consumer(request, consumer_header);
        verdict
    }
}

impl ApiKey {
    /// Where requests have their keys.
    pub fn places(&self) -> &[Place] {
        &self.config.places
    }

    fn decide(sent: &[u8], now_s: u64, context: &mut Context<'_>) -> Result<Rc<Identity>, Refusal> {
        let HeldKey { id, consumer, prefix, expires_at_s } = context.consumers.key(sent).ok_or(Refusal::Unknown)?;
        let State { keys, known, .. } = &mut *context.state.borrow_mut();
        let identity = known.identity(context.consumers, (consumer.id(), id), || consumer.identity(Some(prefix)));
        if expires_at_s.is_some_and(|at_s| now_s >= at_s) {
            context.found.former = Some(identity);
            return Err(Refusal::Expired);
        }
        keys.used(id, now_s);
        Ok(identity)
    }
}

/// Two keys in one header have a comma between them, and no key has one in it.
fn is_key(sent: &[u8]) -> Result<(), Refusal> {
    let fits = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';');
    let is_key = (1..=KEY_BYTES_MAX).contains(&sent.len()) && sent.iter().all(fits);
    is_key.then_some(()).ok_or(Refusal::Malformed)
}

impl Refusal {
    /// For the log and as a metric's label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "key_missing",
            Self::Several => "key_repeated",
            Self::Malformed => "key_malformed",
            Self::Unknown => "key_unknown",
            Self::Expired => "key_expired",
        }
    }
}

const PLACES_MAX: usize = 8;
const KEY_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::{Consumers, Declared, Error, Key, Pepper, Trial};
    use super::*;

    /// `ann` has the keys `old` (until 1000 s) and `new`, `bob` has `other`.
    fn consumers() -> Consumers {
        let pepper = Pepper::new(b"pepper");
        let key = |text: &str, id, expires_at_s| Key {
            prefix: text[..2].into(),
            digest: pepper.digest(text.as_bytes()),
            expires_at_s,
            id,
        };
        let keys = [key("old", 0, Some(1000)), key("new", 1, None), key("other", 2, None)];
        let (roles, groups) = (["editor".to_owned()], [7]);
        let ann = Declared {
            id: 1,
            name: "ann",
            roles: &roles,
            groups: &groups,
            keys: keys[..2].iter().collect(),
            ..Declared::default()
        };
        let bob = Declared { id: 2, name: "bob", keys: vec![&keys[2]], ..Declared::default() };
        Consumers::new([(7, "gold")], &[ann, bob], Some(pepper))
    }

    fn trial(config: &str) -> Trial<ApiKey> {
        let mut trial = Trial::new(config);
        (trial.consumers, trial.now_s) = (consumers(), 999);
        trial
    }

    /// Who sent a request, or why nobody did; and the lines that go on.
    #[track_caller]
    fn check(config: &str, target: &str, lines: &str, want: Result<(&str, &[&str]), Refusal>) {
        let trial = trial(config);
        let head = format!("GET {target} HTTP/1.1\nHost: a{lines}");
        // The second time it is known.
        for _ in 0..2 {
            let tried = trial.request(&head);
            assert_eq!(tried.refusal(), want.err().map(Error::ApiKey), "{head}");
            if let Ok((consumer, kept)) = want {
                let identity = tried.identity.as_ref().expect("somebody");
                assert_eq!(identity.consumer.as_deref(), Some(consumer), "{head}");
                let fields: Vec<_> = tried.fields().into_iter().filter(|line| !line.starts_with("Host")).collect();
                assert_eq!(fields, kept, "{head}");
            }
        }
    }

    #[test]
    fn a_request_has_one_key_in_one_place() {
        let all = "places: [{ header: X-API-Key }, { header: Authorization }, { query: key }, { cookie: key }]";
        for (target, lines, want) in [
            ("/", "\nX-API-Key: new", Ok(("ann", &["X-API-Key: new", "X-Consumer-Username: ann"][..]))),
            ("/", "\nx_api_key: other", Ok(("bob", &["x_api_key: other", "X-Consumer-Username: bob"]))),
            (
                "/",
                "\nAuthorization: Bearer old",
                Ok(("ann", &["Authorization: Bearer old", "X-Consumer-Username: ann"])),
            ),
            ("/?a=1&key=new", "", Ok(("ann", &["X-Consumer-Username: ann"]))),
            ("/", "\nCookie: a=1; key=new", Ok(("ann", &["Cookie: a=1; key=new", "X-Consumer-Username: ann"]))),
            ("/", "", Err(Refusal::Missing)),
            ("/", "\nAuthorization: Basic eDp5", Err(Refusal::Missing)),
            ("/", "\nX-API-Key: New", Err(Refusal::Unknown)),
            ("/", "\nX-API-Key: ne", Err(Refusal::Unknown)),
            ("/", "\nX-API-Key:", Err(Refusal::Malformed)),
            ("/?key=", "", Err(Refusal::Malformed)),
            ("/", "\nX-API-Key: new,new", Err(Refusal::Malformed)),
            ("/", "\nX-API-Key: new, other", Err(Refusal::Malformed)),
            ("/", "\nX-API-Key: new new", Err(Refusal::Malformed)),
            ("/", "\nX-API-Key: n\u{e9}w", Err(Refusal::Malformed)),
            ("/", "\nX-API-Key: new\nX-API-Key: new", Err(Refusal::Several)),
            ("/", "\nX-API-Key: new\nx-api_key: wrong", Err(Refusal::Several)),
            ("/?key=new", "\nX-API-Key: new", Err(Refusal::Several)),
            ("/?key=new&%6bey=new", "", Err(Refusal::Several)),
            ("/", "\nCookie: key=new\nCookie: key=other", Err(Refusal::Several)),
            ("/", "\nX-API-Key: new\nAuthorization: Bearer new", Err(Refusal::Several)),
        ] {
            check(all, target, lines, want);
        }
        check("{}", "/?key=new", "", Err(Refusal::Missing));
        check("{}", "/", &format!("\nX-API-Key: {}", "n".repeat(257)), Err(Refusal::Malformed));
    }

    #[test]
    fn the_service_sees_the_consumers_name_that_nobody_else_can_write_and_no_key() {
        let config = "places: [{ header: X-API-Key }, { query: key }]\nhide_key: true\nconsumer_header: X-Who";
        let forged = "\nX-Who: root\nx_who: root\nX-API-Key: new\nA: b";
        check(config, "/", forged, Ok(("ann", &["A: b", "X-Who: ann"])));
        let trial = trial(config);
        let mut tried = trial.request("GET /?key=new&a=1 HTTP/1.1\nHost: a");
        assert_eq!(tried.query().as_deref(), Some("a=1"));
        let missing = trial.request("GET / HTTP/1.1\nHost: a\nX-Who: root\nx_who: root");
        assert_eq!(
            (missing.refusal(), missing.fields()),
            (Some(Error::ApiKey(Refusal::Missing)), vec!["Host: a".into()])
        );
    }

    #[test]
    fn a_key_is_good_until_it_expires_and_two_are_at_once() {
        let mut trial = trial("{}");
        let ask = |trial: &Trial<ApiKey>, key: &str| {
            trial.request(&format!("GET / HTTP/1.1\nHost: a\nX-API-Key: {key}")).refusal()
        };
        assert_eq!((ask(&trial, "old"), ask(&trial, "new")), (None, None));
        trial.now_s = 1000;
        assert_eq!((ask(&trial, "old"), ask(&trial, "new")), (Some(Error::ApiKey(Refusal::Expired)), None));
        trial.consumers = Consumers::default();
        assert_eq!(ask(&trial, "new"), Some(Error::ApiKey(Refusal::Unknown)));
    }

    #[test]
    fn a_key_makes_its_consumer_known_and_its_use_is_told() {
        let trial = trial("{}");
        let ask = |key: &str| trial.request(&format!("GET / HTTP/1.1\nHost: a\nX-API-Key: {key}")).identity;
        let identity = ask("new").expect("it is ann");
        assert_eq!(identity.credential.as_deref(), Some("ne"));
        assert_eq!(identity.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["editor"]);
        let belonging = identity.belonging.as_ref().expect("it is declared");
        assert_eq!((belonging.consumer, &belonging.groups[..]), (1, &[7][..]));
        assert!(std::rc::Rc::ptr_eq(&identity, &ask("new").expect("it is ann")), "the second time it is known");
        ask("other");
        let uses = || trial.state.borrow_mut().keys.take_uses().collect::<Vec<_>>();
        assert_eq!((uses(), uses()), (vec![(1, 999), (2, 999)], vec![]));
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake() {
        let refused = Trial::<ApiKey>::refused;
        refused("places: []", "0 `places`: write 1 to 8");
        refused(
            "{ places: [{ cookie: k }], hide_key: true }",
            "`hide_key` and a cookie: take one of them away: cookies are sent on whole",
        );
        refused("consumer_header: Host", "a `consumer_header` `Host`: choose a header that is not the gateway's");
        Trial::<ApiKey>::unread("place: []", "place");
    }
}

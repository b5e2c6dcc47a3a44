//! Keys that an issuer publishes: which are in force, and when to ask again. No socket here: the control thread asks,
//! and tells what it got.
//!
//! ```text
//!   due --began--> asking --answered--> waiting, for refresh_s or less --due
//!                    +-----failed-----> waiting, longer each time; what there was stays in force
//!   a token names a key that is not known: due at once, but not sooner than the last question allows
//! ```

use super::keys::{KeySet, KeysError};
use crate::stdx::time::Mono;
use std::sync::Arc;
use std::time::Duration;

/// Keys of one issuer, as the control thread keeps them.
#[derive(Debug)]
pub struct Jwks {
    pub source: Source,
    /// The last good ones.
    published: Option<Published>,
    due: Mono,
    /// Before that no unknown key brings it forward.
    quiet_until: Mono,
    failures: u32,
}

/// Keys that an issuer has published.
#[derive(Clone, Debug)]
pub struct Published {
    pub keys: Arc<KeySet>,
    /// As it wrote them.
    pub text: Arc<str>,
}

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Source {
    /// By its place, the same in every version: whoever asks there gets the same keys.
    pub id: u64,
    pub url: String,
    /// Certificates, in DER, that may have signed its server's; of those that the system trusts if there are none.
    pub authorities: Vec<Vec<u8>>,
    pub refresh: Duration,
}

/// The keys of all issuers that publish theirs, as every shard has them.
#[derive(Clone, Debug, Default)]
pub struct KeyBook {
    /// Differs from that of every earlier one.
    pub generation: u64,
    /// By the id of the source.
    pub sets: Vec<(u64, Arc<KeySet>)>,
}

/// Why an answer is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// Whoever reads a secret that was published can sign with it.
    #[error("it publishes secrets")]
    Secrets,
}

impl Jwks {
    /// Keys that are due at once. `last_good` are those of an earlier configuration that asked at the same place.
    pub fn new(source: Source, last_good: Option<Published>, now: Mono) -> Self {
        Self { source, published: last_good, due: now, quiet_until: now, failures: 0 }
    }

    /// Until it is asked, what an earlier process knew is better than nothing.
    pub fn remember(&mut self, published: Published) {
        self.published.get_or_insert(published);
    }

    pub fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    pub fn keys(&self) -> Option<&Arc<KeySet>> {
        Some(&self.published.as_ref()?.keys)
    }

    pub fn due(&self) -> Mono {
        self.due
    }

    /// A token names a key that is not known.
    pub fn wanted(&mut self, now: Mono) {
        self.due = self.due.min(self.quiet_until.max(now));
    }

    /// The issuer is being asked.
    pub fn began(&mut self, now: Mono) {
        self.due = Mono::NEVER;
        self.quiet_until = now + UNKNOWN_KEY_INTERVAL;
    }

    /// The issuer has answered, and says that the answer may be kept for `max_age`. True when other keys are in force
    /// now; with an error those from before stay.
    pub fn answered(&mut self, body: &[u8], max_age: Option<Duration>, now: Mono) -> Result<bool, Unusable> {
        let published = Published::read(body).inspect_err(|_| self.failed(now))?;
        self.failures = 0;
        // Before they expire, and not so often that an issuer that says 0 is asked all the time.
        let fresh = max_age.map_or(self.source.refresh, |age| (age / 4 * 3).min(self.source.refresh));
        self.due = now + fresh.max(REFRESH_INTERVAL_MIN.min(self.source.refresh));
        if self.keys() == Some(&published.keys) {
            return Ok(false);
        }
        self.published = Some(published);
        Ok(true)
    }

    /// The issuer cannot be asked, or gave no answer.
    pub fn failed(&mut self, now: Mono) {
        let wait = RETRY_INTERVAL_MIN * 2u32.saturating_pow(self.failures);
        self.failures = (self.failures + 1).min(FAILURES_MAX);
        self.due = now + wait.min(self.source.refresh);
    }
}

impl Source {
    /// Whoever was believed there is believed here.
    pub fn believes(&self, other: &Self) -> bool {
        let is_wider = || {
            let mut theirs = other.authorities.iter();
            !other.authorities.is_empty() && theirs.all(|authority| self.authorities.contains(authority))
        };
        self.id == other.id || self.url == other.url && is_wider()
    }
}

impl Published {
    pub fn read(body: &[u8]) -> Result<Self, Unusable> {
        let text = std::str::from_utf8(body).map_err(|_| KeysError::Malformed)?;
        let keys = KeySet::of_jwks(body)?;
        if keys.is_secret() {
            return Err(Unusable::Secrets);
        }
        Ok(Self { keys: Arc::new(keys), text: text.into() })
    }
}

impl KeyBook {
    pub fn get(&self, source: u64) -> Option<&Arc<KeySet>> {
        self.sets.iter().find(|(id, _)| *id == source).map(|(_, keys)| keys)
    }
}

/// Tokens that name unknown keys are anybody's: so often do they make the gateway ask.
pub const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(10);
const RETRY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Then the wait is a minute and no longer.
const FAILURES_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::keys::KeyError;
    use crate::policy::jwt::kit::Signer;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    fn jwks(refresh_s: u64) -> Jwks {
        let (url, refresh) = ("http://issuer/keys".to_owned(), Duration::from_secs(refresh_s));
        let source = Source { id: 1, url, authorities: Vec::new(), refresh };
        Jwks::new(source, None, at(0))
    }

    fn body(id: &str) -> Vec<u8> {
        format!(r#"{{"keys":[{}]}}"#, Signer::p256().jwk(Some(id))).into_bytes()
    }

    #[test]
    fn keys_are_fetched_at_once_and_again_before_they_expire() {
        for (refresh_s, max_age_s, due_s) in [
            (300, None, 300),
            (300, Some(1000), 300),
            (300, Some(100), 75),
            (300, Some(0), 10),
            (300, Some(1), 10),
            (5, Some(0), 5),
            (5, None, 5),
        ] {
            let mut jwks = jwks(refresh_s);
            assert_eq!(jwks.due(), at(0));
            jwks.began(at(0));
            assert_eq!(jwks.due(), Mono::NEVER);
            assert_eq!(jwks.answered(&body("a"), max_age_s.map(Duration::from_secs), at(0)), Ok(true));
            assert_eq!(jwks.due(), at(due_s), "{refresh_s} {max_age_s:?}");
        }
    }

    #[test]
    fn what_was_kept_holds_until_an_issuer_answers() {
        let read = |id| Published::read(&body(id)).unwrap();
        let mut jwks = jwks(300);
        jwks.remember(read("kept"));
        let kept = jwks.keys().unwrap().clone();
        jwks.failed(at(0));
        assert!(Arc::ptr_eq(jwks.keys().unwrap(), &kept));
        assert_eq!(jwks.answered(&body("new"), None, at(1)), Ok(true));
        let new = jwks.keys().unwrap().clone();
        assert_eq!(&*jwks.published().unwrap().text, std::str::from_utf8(&body("new")).unwrap());
        jwks.remember(read("kept"));
        assert!(Arc::ptr_eq(jwks.keys().unwrap(), &new));
    }

    #[test]
    fn who_trusts_more_believes_what_it_believed() {
        let source = |id, url: &str, authorities: &[u8]| Source {
            id,
            url: url.to_owned(),
            authorities: authorities.iter().map(|authority| vec![*authority]).collect(),
            refresh: Duration::from_secs(1),
        };
        let one = source(1, "a", &[1]);
        assert!(one.believes(&one) && source(2, "a", &[2, 1]).believes(&one));
        assert!(!one.believes(&source(2, "a", &[2, 1])), "one that it believed is not trusted any more");
        assert!(!source(2, "b", &[1]).believes(&one));
        assert!(!one.believes(&source(2, "a", &[])), "which those of the system are is not known");
    }

    #[test]
    fn an_unknown_key_brings_the_next_question_forward_but_not_often() {
        let mut jwks = jwks(300);
        jwks.began(at(0));
        jwks.wanted(at(0));
        assert_eq!(jwks.due(), at(10));
        jwks.answered(&body("a"), None, at(1)).unwrap();
        for (now, due) in [(5, 10), (9, 10)] {
            jwks.wanted(at(now));
            assert_eq!(jwks.due(), at(due));
        }
        jwks.began(at(10));
        jwks.answered(&body("a"), None, at(11)).unwrap();
        jwks.wanted(at(50));
        assert_eq!(jwks.due(), at(50));
    }

    #[test]
    fn keys_stay_when_the_issuer_has_none_to_give() {
        let mut jwks = jwks(300);
        jwks.answered(&body("a"), None, at(0)).unwrap();
        let good = jwks.keys().unwrap().clone();
        let secret = format!(r#"{{"keys":[{}]}}"#, Signer::secret(32).jwk(None)).into_bytes();
        let useless = br#"{"keys":[{"kty":"x"}]}"#;
        for (answer, error) in [
            (&b"<html>"[..], KeysError::Malformed.into()),
            (b"", KeysError::Malformed.into()),
            (b"{\"keys\":[\"\xff\"]}", KeysError::Malformed.into()),
            (br#"{"keys":[]}"#, KeysError::Empty.into()),
            (useless, KeysError::NoneUsable(KeyError::Unsupported).into()),
            (&secret, Unusable::Secrets),
        ] {
            assert_eq!(jwks.answered(answer, None, at(1)), Err(error));
            assert!(Arc::ptr_eq(jwks.keys().unwrap(), &good));
        }
        jwks.failed(at(1));
        assert!(Arc::ptr_eq(jwks.keys().unwrap(), &good));
        assert_eq!(jwks.answered(&body("a"), None, at(2)), Ok(false));
        assert!(Arc::ptr_eq(jwks.keys().unwrap(), &good));
        assert_eq!(jwks.answered(&body("b"), None, at(2)), Ok(true));
    }

    #[test]
    fn keys_in_another_order_are_the_same_keys() {
        let [a, b] = [Signer::p256().jwk(Some("a")), Signer::p256().other().jwk(None)];
        let answer = |keys: [&str; 4]| format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes();
        let mut jwks = jwks(300);
        for (keys, changed) in [
            ([&*a, &b, "7", r#"{"kty":"x"}"#], true),
            ([r#"{"kty":"x"}"#, &b, "7", &a], false),
            ([&*a, r#"{"kty":"x"}"#, &a.replace("\"a\"", "\"c\""), "7"], true),
        ] {
            assert_eq!(jwks.answered(&answer(keys), None, at(0)), Ok(changed), "{keys:?}");
        }
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_less_and_less_often() {
        let mut jwks = jwks(300);
        let mut waits = Vec::new();
        for _ in 0..9 {
            jwks.failed(at(0));
            waits.push(jwks.due().since(at(0)).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        jwks.answered(&body("a"), None, at(0)).unwrap();
        jwks.failed(at(0));
        assert_eq!(jwks.due(), at(1));
        let mut jwks = self::jwks(3);
        (0..9).for_each(|_| jwks.failed(at(0)));
        assert_eq!(jwks.due(), at(3));
    }
}

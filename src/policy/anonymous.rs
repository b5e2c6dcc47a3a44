//! Anonymous: who asks when nobody has to say who it is.

use super::{Context, Hooks, Invalid, Known, Member, Verdict};
use crate::http::view::{FieldName, RequestView};

/// Requests that bring none of the credentials that other policies look for are taken for those of one consumer. One
/// that brings a wrong one is refused all the same.
#[derive(Clone, Debug, serde::Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name of one of the file's `consumers`, whose groups, roles, scopes and policies such requests have.
    pub consumer: String,
    /// The header that tells the service that nobody has proved anything, with the value `true`. What the client sent
    /// under this name is removed in any case. Default: `X-Anonymous-Consumer`.
    #[serde(default = "usual_header")]
    pub header: FieldName,
}

/// The policy as it is configured, the same for all shards.
#[derive(Debug, Eq, PartialEq)]
pub struct Anonymous {
    config: Config,
}

impl Member for Anonymous {
    type Config = Config;
    const HOOKS: Hooks = Hooks::REQUEST;

    fn new(config: Config) -> Result<Self, Invalid> {
        if config.header.is_the_gateways() {
            let what = format!("a `header` `{}`", config.header.text());
            return Err(Invalid::new(what, "choose a header that is not the gateway's"));
        }
        Ok(Self { config })
    }

    fn on_request<'a>(&'a self, request: &mut RequestView<'_>, context: &mut Context<'_>) -> Verdict<'a> {
        let consumer = context.consumers.find(&self.config.consumer);
        match consumer.filter(|_| context.found.identity.is_none()) {
            Some(consumer) => {
                request.headers.set(&self.config.header, b"true");
                let known = &mut context.state.borrow_mut().known;
                let key = (consumer.id(), Known::NO_CREDENTIAL);
                context.found.identity =
                    Some(known.identity(context.consumers, key, || consumer.identity(None).assumed()));
            }
            None => request.headers.remove(&self.config.header),
        }
        Verdict::Continue
    }
}

impl Anonymous {
    /// The name of the consumer, which there has to be.
    pub fn consumer(&self) -> &str {
        &self.config.consumer
    }
}

fn usual_header() -> FieldName {
    FieldName::fixed("X-Anonymous-Consumer")
}

#[cfg(test)]
mod tests {
    use super::super::{Consumers, Declared, Identity, Trial};
    use super::*;
    use std::rc::Rc;

    fn trial() -> Trial<Anonymous> {
        let mut trial = Trial::<Anonymous>::new("consumer: guest");
        let roles = ["reader".to_owned()];
        let guest = Declared { id: 5, name: "guest", roles: &roles, ..Declared::default() };
        trial.consumers = Consumers::new([], &[guest], None);
        trial
    }

    const FORGED: &str = "GET / HTTP/1.1\nHost: a\nX-Anonymous-Consumer: false\nx_anonymous_consumer: false";

    #[test]
    fn who_says_nothing_is_the_one_that_is_named() {
        let trial = trial();
        let tried = trial.request(FORGED);
        assert_eq!(
            (tried.refusal(), tried.fields()),
            (None, vec!["Host: a".into(), "X-Anonymous-Consumer: true".into()])
        );
        let identity = tried.identity.expect("it is somebody");
        assert_eq!((identity.consumer.as_deref(), identity.credential.as_deref()), (Some("guest"), None));
        assert!(identity.is_assumed);
        assert_eq!(identity.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["reader"]);
        assert!(Rc::ptr_eq(&identity, &trial.request(FORGED).identity.expect("it is somebody")));
    }

    #[test]
    fn who_is_known_stays_who_it_is() {
        let mut trial = trial();
        let ann = Rc::new(Identity::default());
        trial.identity = Some(ann.clone());
        let tried = trial.request(FORGED);
        assert_eq!(tried.fields(), ["Host: a"]);
        assert!(Rc::ptr_eq(&tried.identity.expect("it is ann"), &ann));
    }
}

//! What policies are told and what they say.

use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use super::{Call, Charged, Consumers, Door, Error, Grants, State, Vocabulary};
use crate::http::view::{FieldName, FieldValue, RequestView};
use crate::stdx::time::Now;

/// What becomes of the request.
#[derive(Debug, Eq, PartialEq)]
pub enum Verdict<'a> {
    /// It meets the next policy.
    Continue,
    /// It is refused.
    Reject(Error),
    /// The policy has answered it.
    Respond(&'a Response),
    /// The policy wants to see the whole body first, which may have no more bytes than this: `too_large` is what it
    /// says to others. The request goes on when its body hook has said so.
    Buffer { bytes_max: u64, too_large: Error },
    /// The policy has a question that a shard cannot answer. The request goes on when its reply hook has said so.
    Call(Box<Call>),
}

/// A whole body.
#[derive(Debug)]
pub struct Body<'a> {
    sent: &'a [u8],
    replaced: Option<Vec<u8>>,
}

impl<'a> Body<'a> {
    pub fn new(sent: &'a [u8]) -> Self {
        Self { sent, replaced: None }
    }

    /// As it is now.
    pub fn bytes(&self) -> &[u8] {
        self.replaced.as_deref().unwrap_or(self.sent)
    }

    /// From now on it is this.
    pub fn replace(&mut self, body: Vec<u8>) {
        self.replaced = Some(body);
    }

    /// What it is if it is not what was sent.
    pub fn into_replaced(self) -> Option<Vec<u8>> {
        self.replaced
    }
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
    /// Those that the configuration knows.
    pub consumers: &'a Consumers,
    pub now: Now,
    /// Whoever asks need not say who it is.
    pub is_exempt: bool,
    /// By their stable ids, once a route was found.
    pub route: Option<u32>,
    pub service: Option<u32>,
    pub found: &'a mut Findings,
    /// The shard's.
    pub state: &'a RefCell<State>,
}

/// What policies have found out about a request so far.
#[derive(Debug, Default)]
pub struct Findings {
    /// Its body may have no more bytes than this.
    pub body_bytes_max: Option<u64>,
    /// Who asks, once a policy has found out.
    pub identity: Option<Rc<Identity>>,
    /// Who it was once, of a request that is refused because what it proves itself with has expired.
    pub former: Option<Rc<Identity>>,
    /// What was found out about that in this chain.
    pub door: Door,
    /// Why the request was refused, for its answer's policies.
    pub refusal: Option<Error>,
    /// Why a policy that only logs would have refused it.
    pub would_refuse: Option<Error>,
    /// What the request has cost.
    pub charged: Charged,
    pub sent_id: SentId,
}

/// What a policy has called the request towards its service or client, in a header of the operator's choice: for the
/// log. Empty if none has.
#[derive(Debug, Default)]
pub struct SentId(RefCell<Vec<u8>>);

impl Findings {
    /// Of another request nothing is known; memory is kept.
    pub fn forget(&mut self) {
        let (charged, mut sent_id) = (std::mem::take(&mut self.charged), std::mem::take(&mut self.sent_id));
        charged.forget();
        sent_id.0.get_mut().clear();
        *self = Self { charged, sent_id, ..Self::default() };
    }
}

impl SentId {
    pub fn note(&self, id: &[u8]) {
        let mut sent = self.0.borrow_mut();
        sent.clear();
        sent.extend_from_slice(id);
    }

    pub fn bytes(&self) -> Ref<'_, [u8]> {
        Ref::map(self.0.borrow(), Vec::as_slice)
    }
}

impl Context<'_> {
    /// Tells the service under that name which consumer asks, whichever policy has found it out.
    pub fn tell_consumer(&self, request: &mut RequestView<'_>, name: &FieldName) {
        match self.found.identity.as_deref().and_then(|identity| identity.consumer.as_deref()) {
            Some(consumer) => request.headers.set(name, consumer.as_bytes()),
            None => self.take_from_client(request, name),
        }
    }

    /// What the client says under that name is not true. What a policy has said there that has found out who asks is.
    pub fn take_from_client(&self, request: &mut RequestView<'_>, name: &FieldName) {
        match &self.found.identity {
            Some(_) => request.headers.remove_sent(name),
            None => request.headers.remove(name),
        }
    }
}

/// Who asks, as a policy has verified.
#[derive(Debug, Default)]
pub struct Identity {
    /// The name of the consumer, if it is one's.
    pub consumer: Option<Box<str>>,
    /// What it was proved with, in short and no secret: a token's subject.
    pub credential: Option<Box<str>>,
    pub roles: Box<[Box<str>]>,
    pub scopes: Box<[Box<str>]>,
    /// Of a consumer that the configuration knows.
    pub belonging: Option<Belonging>,
    /// Nobody has proved it: it is whom such requests are taken for.
    pub is_assumed: bool,
    /// What the names were found to mean, and in which vocabulary.
    grants: Cell<Option<(u64, Grants)>>,
}

/// A consumer and its groups, by their stable ids.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Belonging {
    pub consumer: u32,
    /// The one that counts most first.
    pub groups: Box<[u32]>,
}

impl Identity {
    pub fn new(
        consumer: Option<Box<str>>,
        credential: Option<Box<str>>,
        roles: Box<[Box<str>]>,
        scopes: Box<[Box<str>]>,
    ) -> Self {
        Self { consumer, credential, roles, scopes, belonging: None, is_assumed: false, grants: Cell::default() }
    }

    /// Of a consumer that the configuration knows.
    pub fn of(self, belonging: Belonging) -> Self {
        Self { belonging: Some(belonging), ..self }
    }

    /// Without a proof.
    pub fn assumed(self) -> Self {
        Self { is_assumed: true, ..self }
    }

    /// About what it takes in memory.
    pub fn bytes(&self) -> usize {
        let texts = self.roles.iter().chain(&self.scopes).chain(&self.consumer).chain(&self.credential);
        let groups = self.belonging.as_ref().map_or(0, |belonging| size_of_val(&*belonging.groups));
        size_of::<Self>() + groups + texts.map(|text| text.len() + size_of::<Box<str>>()).sum::<usize>()
    }

    /// What the roles and scopes mean. Names are looked up once: an identity that outlives a configuration is asked
    /// anew in the next one's words.
    pub fn grants(&self, vocabulary: &Vocabulary) -> Grants {
        match self.grants.get() {
            Some((id, grants)) if id == vocabulary.id() => grants,
            _ => {
                let grants = self.roles.iter().fold(Grants::default(), |sum, name| sum.and(vocabulary.role(name)));
                let grants = self.scopes.iter().fold(grants, |sum, name| sum.and(vocabulary.scope(name)));
                self.grants.set(Some((vocabulary.id(), grants)));
                grants
            }
        }
    }
}

impl PartialEq for Identity {
    /// By what was verified.
    fn eq(&self, other: &Self) -> bool {
        let Self { consumer, credential, roles, scopes, belonging, is_assumed, grants: _ } = self;
        (consumer, credential, belonging) == (&other.consumer, &other.credential, &other.belonging)
            && (roles, scopes, is_assumed) == (&other.roles, &other.scopes, &other.is_assumed)
    }
}

impl Eq for Identity {}

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

#[cfg(test)]
mod tests {
    use super::super::Bench;
    use super::*;
    use crate::http::view::sample::Sample;

    #[test]
    fn the_service_is_told_who_asks_by_whoever_has_found_out_and_never_by_the_client() {
        let name = FieldName::fixed("X-Who");
        let of = |consumer: Option<&str>| {
            let consumer = consumer.map(Into::into);
            Some(Rc::new(Identity { consumer, ..Identity::default() }))
        };
        for (identity, want) in [(None, &[][..]), (of(None), &["X-Who: told"]), (of(Some("ann")), &["X-Who: ann"])] {
            let mut bench = Bench::new(Consumers::default());
            let context = bench.context();
            context.found.identity = identity;
            let mut sample = Sample::new("GET / HTTP/1.1\nHost: a\nX-Who: root\nx_who: root");
            sample.begin(|_| false);
            sample.view().headers.add(&name, b"told");
            context.tell_consumer(&mut sample.view(), &name);
            assert_eq!(sample.fields()[1..], *want, "{:?}", context.found.identity);
        }
    }
}

//! How a policy is tried: a configuration as the operator writes it, a request, and what came of it.

use std::cell::{Ref, RefCell};
use std::fmt::Debug;
use std::net::IpAddr;
use std::rc::Rc;

use super::{
    Body, Call, Consumers, Context, Error, Findings, Identity, Invalid, Member, Reply, Response, State, Verdict,
};
use crate::http::view::sample::Sample;
use crate::http::view::{Edits, Fields, Headers, ResponseView};
use crate::stdx::time::{Mono, Now, Wall};

/// A policy, and what is known of its requests beside their heads.
pub struct Trial<P> {
    policy: P,
    pub client: IpAddr,
    pub is_https: bool,
    pub now_s: u64,
    pub state: RefCell<State>,
    pub consumers: Consumers,
    pub identity: Option<Rc<Identity>>,
    /// Of the last request.
    found: RefCell<Findings>,
}

/// What is known of a request that meets a whole chain.
pub struct Bench {
    consumers: Consumers,
    state: RefCell<State>,
    found: Findings,
}

/// What became of one request.
pub struct Tried<'a, P> {
    trial: &'a Trial<P>,
    verdict: Verdict<'a>,
    sample: Sample,
    pub body_bytes_max: Option<u64>,
    pub would_refuse: Option<Error>,
    pub identity: Option<Rc<Identity>>,
    /// What the policy has made of the body.
    pub body: Option<String>,
}

impl<P: Member + Debug> Trial<P>
where
    P::Config: for<'de> serde::Deserialize<'de>,
{
    #[track_caller]
    pub fn new(config: &str) -> Self {
        let config = serde_saphyr::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        Self::of(P::new(config).unwrap_or_else(|invalid| panic!("{invalid:?}")))
    }

    pub fn of(policy: P) -> Self {
        let (client, state, consumers) = ([192, 0, 2, 1].into(), RefCell::default(), Consumers::default());
        Self { policy, client, is_https: false, now_s: 0, state, consumers, identity: None, found: RefCell::default() }
    }

    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// A configuration that can be read and makes no sense.
    #[track_caller]
    pub fn refused(config: &str, want: &str) {
        let config = serde_saphyr::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        let Invalid { what, help } = P::new(config).expect_err("it makes no sense");
        assert_eq!(format!("{what}: {help}"), want);
    }

    /// A configuration that cannot be read.
    #[track_caller]
    pub fn unread(config: &str, words: &str) {
        match serde_saphyr::from_str::<P::Config>(config) {
            Ok(_) => panic!("it is read: {config}"),
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
        }
    }

    /// `head` has lines that end in `\n`, the last one left out.
    #[track_caller]
    pub fn request(&self, head: &str) -> Tried<'_, P> {
        let mut sample = Sample::new(head);
        sample.begin(|_| false);
        let found = &mut *self.found.borrow_mut();
        found.forget();
        let verdict = self.policy.on_request(&mut sample.view(), &mut self.context(found));
        assert!(!sample.edits().overflowed());
        let Findings { body_bytes_max, ref identity, would_refuse, .. } = *found;
        Tried { trial: self, verdict, sample, body_bytes_max, would_refuse, identity: identity.clone(), body: None }
    }

    /// The same of a request about which the policy may ask, with what comes of that.
    #[track_caller]
    pub fn request_answered(&self, head: &str, reply: impl FnOnce(&Call) -> Reply) -> Tried<'_, P> {
        let mut tried = self.request(head);
        if let Verdict::Call(call) = &tried.verdict {
            let (reply, found) = (reply(call), &mut *self.found.borrow_mut());
            tried.verdict = self.policy.on_reply(&mut tried.sample.view(), reply, &mut self.context(found));
            tried.identity = found.identity.clone();
        }
        tried
    }

    /// The same of a request with a body, which the policy sees if it asks for it.
    #[track_caller]
    pub fn request_with(&self, head: &str, text: &str) -> Tried<'_, P> {
        let mut tried = self.request(head);
        let Verdict::Buffer { bytes_max, too_large } = tried.verdict else { return tried };
        if text.len() as u64 > bytes_max {
            return Tried { verdict: Verdict::Reject(too_large), ..tried };
        }
        let (mut body, found) = (Body::new(text.as_bytes()), &mut *self.found.borrow_mut());
        tried.verdict = self.policy.on_request_body(&mut tried.sample.view(), &mut body, &mut self.context(found));
        tried.body = body.into_replaced().map(|body| String::from_utf8(body).expect("JSON is UTF-8"));
        tried
    }

    /// A request that an earlier policy has refused.
    #[track_caller]
    pub fn refused_before(&self, head: &str) -> Tried<'_, P> {
        let mut sample = Sample::new(head);
        sample.begin(|_| false);
        Tried {
            trial: self,
            verdict: Verdict::Continue,
            sample,
            body_bytes_max: None,
            would_refuse: None,
            identity: None,
            body: None,
        }
    }

    fn context<'a>(&'a self, found: &'a mut Findings) -> Context<'a> {
        let Self { client, is_https, now_s, ref state, .. } = *self;
        let nanos = now_s * 1_000_000_000;
        let now = Now { mono: Mono::from_nanos(nanos), wall: Wall::from_nanos(nanos) };
        found.identity = self.identity.clone();
        Context { client, is_https, now, ..context(&self.consumers, state, found) }
    }
}

impl Bench {
    pub fn new(consumers: Consumers) -> Self {
        Self { consumers, state: RefCell::default(), found: Findings::default() }
    }

    pub fn context(&mut self) -> Context<'_> {
        context(&self.consumers, &self.state, &mut self.found)
    }
}

fn context<'a>(consumers: &'a Consumers, state: &'a RefCell<State>, found: &'a mut Findings) -> Context<'a> {
    Context {
        client: [192, 0, 2, 1].into(),
        is_https: false,
        request_id: REQUEST_ID,
        consumers,
        now: Now::default(),
        is_exempt: false,
        route: None,
        service: None,
        found,
        state,
    }
}

impl<P: Member + Debug> Tried<'_, P>
where
    P::Config: for<'de> serde::Deserialize<'de>,
{
    pub fn refusal(&self) -> Option<Error> {
        match self.verdict {
            Verdict::Reject(error) => Some(error),
            Verdict::Continue | Verdict::Respond(_) | Verdict::Buffer { .. } | Verdict::Call(_) => None,
        }
    }

    /// What is known of it, while the trial has had no other.
    pub fn found(&self) -> Ref<'_, Findings> {
        self.trial.found.borrow()
    }

    pub fn is_asking(&self) -> bool {
        matches!(self.verdict, Verdict::Call(_))
    }

    pub fn wants_body(&self) -> bool {
        matches!(self.verdict, Verdict::Buffer { .. })
    }

    pub fn response(&self) -> Option<&Response> {
        match self.verdict {
            Verdict::Respond(response) => Some(response),
            Verdict::Continue | Verdict::Reject(_) | Verdict::Buffer { .. } | Verdict::Call(_) => None,
        }
    }

    /// The request's header lines as they go on.
    pub fn fields(&self) -> Vec<String> {
        self.sample.fields()
    }

    pub fn is_edited(&self) -> bool {
        self.sample.edits().edited()
    }

    pub fn query(&mut self) -> Option<String> {
        self.sample.view().query().map(|query| String::from_utf8_lossy(query).into_owned())
    }

    /// The header lines of an answer with these, once the policy has seen it.
    pub fn answered(&mut self, status: u16, fields: &[(&str, &str)]) -> Vec<String> {
        self.answered_with(status, fields, "").0
    }

    /// The same with a body, and what it is then if that has changed.
    pub fn answered_with(&mut self, status: u16, fields: &[(&str, &str)], text: &str) -> (Vec<String>, Option<String>) {
        let mut body = Body::new(text.as_bytes());
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let mut edits = Edits::default();
        edits.begin(Fields::Own(&fields), |_| false);
        let mut response = ResponseView { status, headers: Headers::new(Fields::Own(&fields), &mut edits) };
        let found = &mut *self.trial.found.borrow_mut();
        found.refusal = self.refusal();
        let context = self.trial.context(found);
        self.trial.policy.on_response_body(&mut response, &mut body);
        self.trial.policy.on_response(&self.sample.view(), &mut response, &context);
        assert!(!edits.overflowed());
        let kept = fields.iter().enumerate().filter(|(index, _)| !edits.drops(*index)).map(|(_, field)| *field);
        let text = |(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let body = body.into_replaced().map(|body| String::from_utf8(body).expect("JSON is UTF-8"));
        (kept.chain(edits.added()).map(text).collect(), body)
    }
}

pub const REQUEST_ID: &[u8] = b"00112233445566778899aabbccddeeff";

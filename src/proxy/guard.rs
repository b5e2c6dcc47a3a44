//! Where a request and its answer meet their policies.
//!
//! ```text
//!   head read --> gate (the listener's) --> route, rewrite --> chain --> forward.rs writes the head with its edits
//!   answer    <-- edits <-- chain <-- gate <-- response.rs, or an answer of our own
//! ```
//!
//! A request that meets no policy costs a look at two empty places. One that does allocates nothing either, once the
//! memory for edits has grown to what such requests need, unless a policy wants something first (`pause.rs`).

use super::account::Account;
use super::error::Failure;
use super::plan::{Gate, Settings};
use super::shared::Shared;
use crate::http::body::Framing;
use crate::http::date;
use crate::http::field::{Field, Known};
use crate::http::head::RequestHead;
use crate::http::view::{Edits, FieldName, Fields, Headers, RequestView, ResponseView};
use crate::policy::rate_limit::Expected;
use crate::policy::{
    Body, Call, Chain, Context, Door, Error, Findings, Hooks, Identity, Kind, Reply, Response, Verdict, request_size,
};
use crate::telemetry::counters::POLICY_REFUSALS_MAX;
use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

/// What policies note of one exchange: a part of its coroutine's memory.
#[derive(Default)]
pub struct Notes {
    /// Whether this exchange met a policy; the rest is of an earlier one until then.
    begun: Cell<bool>,
    request: RefCell<Edits>,
    response: RefCell<Edits>,
    found: RefCell<Findings>,
}

/// A request that has been read, and what its policies have to know.
#[derive(Clone, Copy)]
pub struct Guarded<'a> {
    pub visit: Visit<'a>,
    pub head: &'a RequestHead,
}

/// What stays the same of a request while its route rewrites its head.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    pub shared: &'a Shared,
    pub settings: &'a Settings,
    /// What the head points into.
    pub bytes: &'a [u8],
    pub account: &'a Account,
    pub notes: &'a Notes,
    pub peer: IpAddr,
    /// Who asks: the peer, or whom one that is trusted names.
    pub client: IpAddr,
    /// Where it came in; `None` if nobody is to come in there any more.
    pub gate: Option<&'a Gate>,
}

/// Why a request is answered by the gateway.
pub enum Stop<'a> {
    Failed(Failure),
    /// A policy answered it.
    Answered(&'a Response),
}

/// A policy wants something before the request may go on.
pub struct Pause<'c> {
    pub chain: &'c Chain,
    /// Whose it is.
    pub slot: usize,
    pub wants: Wants,
}

pub enum Wants {
    /// The whole body, if that has no more bytes than this.
    Body { bytes_max: u64, too_large: Error },
    /// An answer.
    Answer(Box<Call>),
}

/// What a policy gets of that.
pub enum Given<'a, 'b> {
    Body(&'a mut Body<'b>),
    Reply(Reply),
}

impl From<Failure> for Stop<'_> {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Notes {
    /// Another exchange begins.
    pub fn forget(&self) {
        self.begun.set(false);
    }

    /// What has become of the request's head, if any policy was asked.
    pub fn request(&self) -> Option<Ref<'_, Edits>> {
        self.begun.get().then(|| self.request.borrow())
    }

    /// Whether policies let the request's body have so many bytes.
    pub fn check_body(&self, bytes: u64) -> Result<(), Failure> {
        let bytes_max = self.found().and_then(|found| found.body_bytes_max);
        match bytes_max {
            Some(max) if bytes > max => Err(self.refuse(request_size::Error::TooLarge.into())),
            _ => Ok(()),
        }
    }

    /// What the connection's next request is likely to be charged for, if this one met a policy.
    pub fn expected(&self) -> Option<Expected> {
        Some(self.found()?.charged.expected())
    }

    /// Which policy refused the request, and why.
    pub fn refusal(&self) -> Option<Error> {
        self.found()?.refusal
    }

    /// Why a policy that only logs would have refused the request.
    pub fn would_refuse(&self) -> Option<Error> {
        self.found()?.would_refuse
    }

    /// Who asked, if a policy has found out.
    pub fn identity(&self) -> Option<Rc<Identity>> {
        self.found()?.identity.clone()
    }

    /// Who asked, or who it was once.
    pub fn identity_or_former(&self) -> Option<Rc<Identity>> {
        let found = self.found()?;
        found.identity.clone().or_else(|| found.former.clone())
    }

    /// What policies have found out, if any was asked.
    pub fn found(&self) -> Option<Ref<'_, Findings>> {
        self.begun.get().then(|| self.found.borrow())
    }

    pub fn refuse(&self, error: Error) -> Failure {
        self.found.borrow_mut().refusal = Some(error);
        Failure::Policy(error)
    }
}

impl<'a> Visit<'a> {
    /// With the head as it is now.
    pub fn with(self, head: &'a RequestHead) -> Guarded<'a> {
        Guarded { visit: self, head }
    }
}

impl<'a> Guarded<'a> {
    /// The request meets the policies of a chain, up to the first that wants something.
    pub fn pass<'c>(&self, chain: Option<&'c Chain>) -> Result<Option<Pause<'c>>, Stop<'c>> {
        match chain {
            None => Ok(None),
            Some(chain) => self.meet(chain, |request, context| {
                context.found.door = Door::default();
                // Who that is, is for the chain to find out and for nobody else to say; of peers that are not trusted
                // nothing of the kind is there.
                if self.visit.account.peer_is_trusted && chain.finds_out() {
                    request.headers.remove_sent_identity();
                }
                chain.on_request(0, request, context)
            }),
        }
    }

    /// The policy of a slot is given what it wanted; then the request meets those after it.
    pub fn resume<'c>(
        &self,
        chain: &'c Chain,
        slot: usize,
        given: Given<'_, '_>,
    ) -> Result<Option<Pause<'c>>, Stop<'c>> {
        self.meet(chain, |request, context| {
            let verdict = match given {
                Given::Body(body) => chain.on_request_body(slot, request, body, context),
                Given::Reply(reply) => chain.on_reply(slot, request, reply, context),
            };
            match verdict {
                Verdict::Continue => chain.on_request(slot + 1, request, context),
                verdict => (verdict, slot),
            }
        })
    }

    fn meet<'c>(
        &self,
        chain: &'c Chain,
        ask: impl FnOnce(&mut RequestView<'_>, &mut Context<'_>) -> (Verdict<'c>, usize),
    ) -> Result<Option<Pause<'c>>, Stop<'c>> {
        let Visit { bytes, notes, .. } = self.visit;
        self.begin();
        let mut edits = notes.request.borrow_mut();
        let mut request = RequestView::new(self.head, bytes, &mut edits);
        let (verdict, slot) = ask(&mut request, &mut self.context(&mut notes.found.borrow_mut()));
        let pause = |wants| Ok(Some(Pause { chain, slot, wants }));
        match verdict {
            Verdict::Continue if edits.overflowed() => Err(Stop::Failed(Failure::ForwardedHeadTooLarge)),
            Verdict::Continue => Ok(None),
            Verdict::Respond(response) => Err(Stop::Answered(response)),
            Verdict::Reject(error) => Err(Stop::Failed(notes.refuse(error))),
            Verdict::Buffer { bytes_max, too_large } => pause(Wants::Body { bytes_max, too_large }),
            Verdict::Call(call) => pause(Wants::Answer(call)),
        }
    }

    /// Whether the request's body may have so many bytes.
    pub fn check_body(&self, bytes: u64) -> Result<(), Failure> {
        let Visit { settings, account, notes, .. } = self.visit;
        let of_route = account.found().and_then(|record| record.route.body_bytes_max);
        if of_route.or(settings.limits.body_bytes_max).is_some_and(|max| bytes > max) {
            return Err(Failure::BodyTooLarge);
        }
        notes.check_body(bytes)
    }

    /// Whether the body may be as long as it says, or as what has been collected of one that does not say.
    pub fn check_length(&self, collected: u64) -> Result<(), Failure> {
        self.check_body(match self.head.framing {
            Framing::Length(length) => length,
            _ => collected,
        })
    }

    /// An answer meets them, whose fields are these; with its `body`, if one of them has asked for it.
    pub fn answer(
        &self,
        status: u16,
        fields: Fields<'_>,
        stays_behind: impl Fn(&Field) -> bool,
        mut body: Option<&mut Body<'_>>,
    ) -> Ref<'a, Edits> {
        self.begin();
        let Visit { bytes, notes, .. } = self.visit;
        let (mut found, mut request) = (notes.found.borrow_mut(), notes.request.borrow_mut());
        let context = self.context(&mut found);
        let mut edits = notes.response.borrow_mut();
        edits.begin(fields, stays_behind);
        let request = RequestView::new(self.head, bytes, &mut request);
        let mut response = ResponseView { status, headers: Headers::new(fields, &mut edits) };
        for chain in self.chains().into_iter().flatten() {
            chain.on_response(&request, &mut response, body.as_deref_mut(), &context);
        }
        // Also where a policy took it away: nobody passes an answer on without (RFC 9110 §6.6.1).
        if !response.headers.has(&DATE) {
            response.headers.add(&DATE, date::value(&self.visit.shared.date()));
        }
        drop(edits);
        notes.response.borrow()
    }

    /// How many bytes a service's response with these fields may have for its policies to see the whole of its body;
    /// `None` if none of them wants to.
    pub fn wants_response_body(&self, status: u16, fields: Fields<'_>) -> Option<u64> {
        let chains = self.chains();
        if !chains.iter().flatten().any(|chain| chain.hooks().has(Hooks::RESPONSE_BODY)) {
            return None;
        }
        let mut edits = self.visit.notes.response.borrow_mut();
        edits.begin(fields, |_| false);
        let response = ResponseView { status, headers: Headers::new(fields, &mut edits) };
        let identity = self.visit.notes.identity();
        let chains = chains.into_iter().flatten();
        chains.filter_map(|chain| chain.wants_response_body(&response, identity.as_deref())).max()
    }

    /// Whether there is a policy for what is answered.
    pub fn answers_meet_policies(&self) -> bool {
        self.chains().iter().flatten().any(|chain| chain.hooks().has(Hooks::RESPONSE))
    }

    /// Which policies would have let the request in that was refused because it had no credential.
    pub fn doors(self) -> impl Iterator<Item = Kind> {
        let refusal = self.visit.notes.refusal().filter(|refusal| refusal.is_for_want_of_credentials());
        let by = move |chain: &&Chain| chain.doors().any(|kind| refusal.is_some_and(|refusal| refusal.kind() == kind));
        self.chains().into_iter().flatten().find(by).into_iter().flat_map(Chain::doors)
    }

    fn chains(self) -> [Option<&'a Chain>; 3] {
        let Visit { settings, account, gate, .. } = self.visit;
        let [before, chain] = match (account.undecided.get(), account.record.get()) {
            (None, None) => [None, settings.chain.as_deref()],
            (Some(undecided), None) => [undecided.chain.as_deref(), undecided.rest.as_deref()],
            (before, record) => [before, record].map(|record| record?.chain.as_deref()),
        };
        [gate.and_then(|gate| gate.chain.as_deref()), before, chain]
    }

    /// Makes the notes this exchange's own. What would not go on to a service is not there for policies.
    fn begin(&self) {
        let Visit { bytes, account, notes, .. } = self.visit;
        if !notes.begun.replace(true) {
            let stays_behind = self.head.stays_behind(bytes, account.peer_is_trusted);
            notes.request.borrow_mut().begin(Fields::Read(self.head.fields(), bytes), stays_behind);
            notes.found.borrow_mut().forget();
        }
    }

    fn context<'f>(&self, found: &'f mut Findings) -> Context<'f>
    where
        'a: 'f,
    {
        let Visit { shared, settings, bytes, account, client, .. } = self.visit;
        let record = account.found().map(|record| &**record);
        Context {
            client,
            is_https: self.is_https(),
            is_exempt: self.visit.settings.bypass_local && self.is_local(),
            request_id: account.request_id.bytes(bytes),
            consumers: record.map_or(&settings.consumers, |record| &record.settings.consumers),
            now: shared.runtime.now(),
            route: record.map(|record| record.route.id),
            service: record.and_then(|record| Some(record.service.as_ref()?.id)),
            found,
            state: &shared.policies,
        }
    }

    /// The client is on this machine itself. What an unknown proxy on it passes on is from anywhere.
    fn is_local(&self) -> bool {
        let Visit { bytes, account, peer, client, .. } = self.visit;
        let has_passed = [Known::XForwardedFor, Known::Forwarded, Known::XRealIp, Known::Via];
        let is_direct = has_passed.iter().all(|known| self.head.value(bytes, *known).is_none());
        [peer, client].iter().all(|address| address.to_canonical().is_loopback())
            && (is_direct || account.peer_is_trusted)
    }

    /// The client's own connection is encrypted, as a trusted peer says.
    pub fn is_https(&self) -> bool {
        let Visit { bytes, account, .. } = self.visit;
        let scheme = || self.head.value(bytes, Known::XForwardedProto);
        account.peer_is_trusted && scheme().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"))
    }
}

static DATE: FieldName = FieldName::fixed("Date");

const _: () = assert!(Error::ALL.len() <= POLICY_REFUSALS_MAX, "every refusal has a counter");

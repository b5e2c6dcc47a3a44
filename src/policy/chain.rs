//! The policies that a request meets, in their order.

use std::fmt;
use std::sync::Arc;

use super::{Body, Context, Error, Hooks, Identity, Kind, Overrides, Policy, Reply, Verdict};
use crate::http::view::{RequestView, ResponseView};

/// Never empty: who meets no policy has no chain.
#[derive(Debug, Eq, PartialEq)]
pub struct Chain {
    /// Sorted by the order, and no two of one kind.
    slots: Box<[Slot]>,
    hooks: Hooks,
    /// The places of those that have something to say to a request, and to its answer.
    on_request: Box<[usize]>,
    on_response: Box<[usize]>,
    /// The place of the last of those that find out who asks.
    door: Option<usize>,
}

/// One policy of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slot {
    pub kind: Kind,
    /// Everybody's; none where only some have one.
    pub policy: Option<Arc<Policy>>,
    pub scope: Scope,
    /// What some consumers have instead.
    pub overrides: Option<Arc<Overrides>>,
}

/// What was found out about who asks: of several policies that ask for it any will do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Door {
    is_open: bool,
    /// Why the first policy that found no credential would have refused the request.
    missing: Option<Error>,
}

/// What a policy was attached to. Of one kind the later of these stands in for the earlier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Every request.
    Global,
    Service,
    Route,
    /// Whatever comes in there. These run before a route is looked for, so that no other policy stands in for them.
    Listener,
}

/// In which order policies run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Order {
    /// Run in this order, each at the place that the order of priorities gives to one of them.
    listed: Vec<Kind>,
}

impl Order {
    /// Of kinds that are listed none is there twice.
    pub fn new(listed: Vec<Kind>) -> Self {
        Self { listed }
    }

    pub fn runs_before(&self, one: Kind, other: Kind) -> bool {
        self.place(one) < self.place(other)
    }

    /// Sorts ascending.
    fn place(&self, kind: Kind) -> (i32, usize) {
        let priority = match self.listed.iter().position(|other| *other == kind) {
            Some(place) => {
                let mut priorities: Vec<i32> = self.listed.iter().map(|kind| kind.priority()).collect();
                priorities.sort_unstable_by(|a, b| b.cmp(a));
                priorities[place]
            }
            None => kind.priority(),
        };
        let place = (-priority, Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0));
        if kind != Kind::Anonymous || self.listed.contains(&kind) {
            return place;
        }
        // Whoever is taken for somebody first is asked for nothing: it goes where the last of those is that ask.
        let doors = Kind::ALL.iter().filter(|door| door.authenticates() && **door != kind);
        let last = doors.map(|door| self.place(*door)).max();
        last.map_or(place, |(priority, _)| place.max((priority, Kind::ALL.len())))
    }
}

impl Chain {
    /// The chain of those policies, or none if there are none. `overrides` are of those who may be asking.
    pub fn new(
        slots: impl IntoIterator<Item = Slot>,
        order: &Order,
        overrides: &[(Kind, Arc<Overrides>)],
    ) -> Option<Self> {
        let mut kept: Vec<Slot> = Vec::new();
        for slot in slots {
            match kept.iter_mut().find(|other| other.kind == slot.kind) {
                Some(other) if other.scope < slot.scope => *other = slot,
                Some(_) => {}
                None => kept.push(slot),
            }
        }
        for (kind, overrides) in overrides {
            let overrides = Some(overrides.clone());
            match kept.iter_mut().find(|slot| slot.kind == *kind) {
                Some(slot) => slot.overrides = overrides,
                None => kept.push(Slot { kind: *kind, policy: None, scope: Scope::Global, overrides }),
            }
        }
        kept.sort_by_key(|slot| order.place(slot.kind));
        Self::sorted(kept)
    }

    fn sorted(kept: Vec<Slot>) -> Option<Self> {
        let hooks = kept.iter().fold(Hooks::default(), |hooks, slot| hooks.and(slot.hooks()));
        let with = |hook| (0..kept.len()).filter(|place| kept[*place].hooks().has(hook)).collect();
        let (on_request, on_response) = (with(Hooks::REQUEST), with(Hooks::RESPONSE));
        let door = kept.iter().rposition(|slot| slot.kind.authenticates());
        (!kept.is_empty()).then(|| Self { slots: kept.into(), hooks, on_request, on_response, door })
    }

    /// Those that one of its policies has.
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Runs from the slot `from` on until one policy does not say that the request goes on. Also returns whose verdict
    /// it is.
    pub fn on_request<'a>(
        &'a self,
        from: usize,
        request: &mut RequestView<'_>,
        context: &mut Context<'_>,
    ) -> (Verdict<'a>, usize) {
        for place in self.on_request.iter().copied().filter(|place| *place >= from) {
            let slot = &self.slots[place];
            let Some(policy) = slot.of(context.found.identity.as_deref()) else { continue };
            let verdict = match policy.on_request(request, context) {
                Verdict::Continue if !slot.kind.authenticates() => continue,
                verdict => self.heard(place, verdict, &mut context.found.door),
            };
            match verdict {
                Verdict::Continue => {}
                Verdict::Reject(error) if context.is_exempt && error.is_for_want_of_credentials() => {}
                verdict => return (verdict, place),
            }
        }
        (Verdict::Continue, self.slots.len())
    }

    /// What the policy of a slot says to the body that it has asked for.
    pub fn on_request_body<'a>(
        &'a self,
        place: usize,
        request: &mut RequestView<'_>,
        body: &mut Body<'_>,
        context: &mut Context<'_>,
    ) -> Verdict<'a> {
        // Nobody else has been asked meanwhile, so that it is the same one.
        let Some(policy) = self.slots[place].of(context.found.identity.as_deref()) else {
            return Verdict::Continue;
        };
        let verdict = policy.on_request_body(request, body, context);
        self.heard(place, verdict, &mut context.found.door)
    }

    /// What the policy of a slot says to what came of its question.
    pub fn on_reply<'a>(
        &'a self,
        place: usize,
        request: &mut RequestView<'_>,
        reply: Reply,
        context: &mut Context<'_>,
    ) -> Verdict<'a> {
        let Some(policy) = self.slots[place].of(context.found.identity.as_deref()) else {
            return Verdict::Continue;
        };
        let verdict = policy.on_reply(request, reply, context);
        self.heard(place, verdict, &mut context.found.door)
    }

    /// `body` is that of a service's response, if one of the policies has asked for it.
    pub fn on_response(
        &self,
        request: &RequestView<'_>,
        response: &mut ResponseView<'_>,
        mut body: Option<&mut Body<'_>>,
        context: &Context<'_>,
    ) {
        for place in &self.on_response {
            let Some(policy) = self.slots[*place].of(context.found.identity.as_deref()) else { continue };
            if let Some(body) = &mut body {
                policy.on_response_body(response, body);
            }
            policy.on_response(request, response, context);
        }
    }

    /// How many bytes a response may have of whose body one of the policies wants to see the whole.
    pub fn wants_response_body(&self, response: &ResponseView<'_>, identity: Option<&Identity>) -> Option<u64> {
        let policies = self.slots.iter().filter_map(|slot| slot.of(identity));
        policies.filter_map(|policy| policy.wants_response_body(response)).max()
    }

    /// One of its policies finds out who asks.
    pub fn finds_out(&self) -> bool {
        self.door.is_some()
    }

    /// Those of its policies that find out who asks.
    pub fn doors(&self) -> impl Iterator<Item = Kind> {
        self.slots.iter().map(|slot| slot.kind).filter(|kind| kind.authenticates())
    }

    /// Those up to the last of them.
    pub fn until_known(&self) -> &[Slot] {
        self.door.map_or(&[], |door| &self.slots[..=door])
    }

    /// Those, and the rest.
    pub fn divided(&self) -> [Option<Arc<Self>>; 2] {
        let (before, after) = self.slots.split_at(self.until_known().len());
        [before, after].map(|slots| Self::sorted(slots.to_vec()).map(Arc::new))
    }

    /// What the verdict of the policy at that place means beside those of its like. A credential that is wrong refuses
    /// the request at once; one that is missing only after nobody else has found one; and two are one too many.
    fn heard<'a>(&self, place: usize, verdict: Verdict<'a>, door: &mut Door) -> Verdict<'a> {
        let kind = self.slots[place].kind;
        if !kind.authenticates() {
            return verdict;
        }
        match verdict {
            Verdict::Reject(error) if error.is_for_want_of_credentials() => {
                door.missing.get_or_insert(error);
            }
            Verdict::Continue if door.is_open && kind != Kind::Anonymous => {
                return Verdict::Reject(Error::NotAlone(kind));
            }
            Verdict::Continue => door.is_open = true,
            verdict => return verdict,
        }
        match door.missing {
            Some(error) if self.door == Some(place) && !door.is_open => Verdict::Reject(error),
            _ => Verdict::Continue,
        }
    }
}

impl Slot {
    pub fn new(policy: Arc<Policy>, scope: Scope) -> Self {
        Self { kind: policy.kind(), policy: Some(policy), scope, overrides: None }
    }

    /// What a request of this identity meets here. It does nothing where it has no hook.
    fn of(&self, identity: Option<&Identity>) -> Option<&Policy> {
        let own = self.overrides.as_ref().and_then(|overrides| overrides.find(identity?.belonging.as_ref()?));
        own.or(self.policy.as_deref())
    }

    fn hooks(&self) -> Hooks {
        let everybodys = self.policy.as_ref().map_or(Hooks::default(), |policy| policy.hooks());
        self.overrides.as_ref().map_or(everybodys, |overrides| everybodys.and(overrides.hooks()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "every request",
            Self::Service => "the service",
            Self::Route => "the route",
            Self::Listener => "the listener",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bench, Config, Consumers, Declared, Key, Override, Pepper};
    use super::*;
    use crate::http::view::sample::Sample;

    fn policy(config: &str) -> Arc<Policy> {
        let config: Config = serde_saphyr::from_str(config).unwrap_or_else(|error| panic!("{config}: {error}"));
        Arc::new(Policy::new(config).unwrap_or_else(|invalid| panic!("{invalid:?}")))
    }

    fn slot(config: &str) -> Slot {
        Slot::new(policy(config), Scope::Route)
    }

    /// A policy that answers with this status.
    fn ends(status: u16) -> String {
        format!("request_termination: {{ status: {status} }}")
    }

    /// `ann` is in the groups 7 and 8, `bob` in none, `guest` in 9; the keys of the first two are their names.
    fn bench() -> Bench {
        let pepper = Pepper::new(b"pepper");
        let names = ["ann", "bob"];
        let key = |(id, name): (u32, &&str)| Key {
            id,
            prefix: name.to_string(),
            digest: pepper.digest(name.as_bytes()),
            expires_at_s: None,
        };
        let keys: Vec<Key> = (0..).zip(&names).map(key).collect();
        let declared = [
            Declared { id: 1, name: "ann", groups: &[7, 8], keys: vec![&keys[0]], ..Declared::default() },
            Declared { id: 2, name: "bob", keys: vec![&keys[1]], ..Declared::default() },
            Declared { id: 3, name: "guest", groups: &[9], ..Declared::default() },
        ];
        Bench::new(Consumers::new([], &declared, Some(pepper)))
    }

    /// What a chain says to a request with these lines: the status of an answer, why it refuses, or who asks.
    #[track_caller]
    fn check(chain: &Chain, lines: &str, want: &str) {
        let mut bench = bench();
        let mut sample = Sample::new(&format!("GET / HTTP/1.1\nHost: a{lines}"));
        sample.begin(|_| false);
        let mut context = bench.context();
        let got = match chain.on_request(0, &mut sample.view(), &mut context).0 {
            Verdict::Continue => {
                let identity = context.found.identity.as_ref().and_then(|identity| identity.consumer.clone());
                identity.map_or("nobody".to_owned(), String::from)
            }
            Verdict::Reject(error) => format!("{} {}", error.kind().name(), error.reason()),
            Verdict::Respond(response) => response.status.to_string(),
            Verdict::Buffer { .. } | Verdict::Call(_) => unreachable!("nobody asks for anything"),
        };
        assert_eq!(got, want, "{lines:?}");
    }

    const KEY: &str = "api_key: {}";
    const TOKEN: &str =
        "jwt: { issuers: [{ issuer: i, audiences: any, algorithms: [RS256], jwks_url: \"http://a/\" }] }";
    const GUEST: &str = "anonymous: { consumer: guest }";

    #[test]
    fn of_several_policies_that_ask_who_it_is_one_will_do() {
        let of =
            |configs: &[&str]| Chain::new(configs.iter().map(|config| slot(config)), &Order::default(), &[]).unwrap();
        let (key, bad_key, token) = ("\nX-API-Key: ann", "\nX-API-Key: eve", "\nAuthorization: Bearer x");
        let both = of(&[KEY, TOKEN]);
        check(&both, key, "ann");
        check(&both, "", "jwt token_missing");
        check(&both, bad_key, "api_key key_unknown");
        check(&both, token, "jwt token_malformed");
        check(&both, &[token, key].concat(), "jwt token_malformed");
        let open = of(&[GUEST, KEY, TOKEN]);
        check(&open, key, "ann");
        check(&open, "", "guest");
        check(&open, bad_key, "api_key key_unknown");
        check(&open, token, "jwt token_malformed");
        check(&of(&[KEY]), "", "api_key key_missing");
        check(&of(&[GUEST]), key, "guest");
        assert_eq!(both.doors().collect::<Vec<_>>(), [Kind::Jwt, Kind::ApiKey]);
        assert!(both.finds_out() && of(&[GUEST]).finds_out() && !of(&[&ends(200)]).finds_out());
    }

    #[test]
    fn two_credentials_of_different_kinds_are_one_too_many() {
        let chain = Chain::new([slot(TOKEN), slot(KEY)], &Order::default(), &[]).unwrap();
        let mut door = Door::default();
        assert_eq!(chain.heard(0, Verdict::Continue, &mut door), Verdict::Continue);
        assert_eq!(chain.heard(1, Verdict::Continue, &mut door), Verdict::Reject(Error::NotAlone(Kind::ApiKey)));
        let is_missing = |error: &&Error| error.kind() == Kind::ApiKey && error.is_for_want_of_credentials();
        let missing = *Error::ALL.iter().find(is_missing).expect("a key can be missing");
        let (missing, mut door) = (Verdict::Reject(missing), Door::default());
        assert_eq!(chain.heard(0, Verdict::Continue, &mut door), Verdict::Continue);
        assert_eq!(chain.heard(1, missing, &mut door), Verdict::Continue);
    }

    #[test]
    fn what_one_policy_has_told_the_service_another_does_not_take_back() {
        let claims = TOKEN.replace("issuers:", "claims_to_headers: { X-Consumer-Username: sub }, issuers:");
        let key_first = Order::new(vec![Kind::ApiKey, Kind::Jwt]);
        for (configs, order) in [
            ([KEY, "basic_auth: {}"], Order::default()),
            ([KEY, &claims], key_first),
            ([KEY, &claims], Order::default()),
        ] {
            let chain = Chain::new(configs.iter().map(|config| slot(config)), &order, &[]).unwrap();
            let mut bench = bench();
            let mut sample = Sample::new("GET / HTTP/1.1\nHost: a\nX-API-Key: ann\nX-Consumer-Username: root");
            sample.begin(|_| false);
            let verdict = chain.on_request(0, &mut sample.view(), &mut bench.context()).0;
            assert_eq!(verdict, Verdict::Continue, "{configs:?}");
            assert_eq!(sample.fields()[2..], ["X-Consumer-Username: ann"], "{configs:?}");
        }
    }

    #[test]
    fn a_consumers_own_policy_comes_before_its_groups_and_those_before_everybodys() {
        let one = |id: u32, status: u16| Override { id, name: id.to_string(), policy: policy(&ends(status)) };
        let overrides = |consumers: Vec<Override>, groups: Vec<Override>| {
            [(Kind::RequestTermination, Arc::new(Overrides::new(consumers, groups)))]
        };
        let (ann, bob, guest) = ("\nX-API-Key: ann", "\nX-API-Key: bob", "");
        let chain = |everybodys: Option<u16>, overrides: &[(Kind, Arc<Overrides>)]| {
            let slots = [slot(KEY), slot(GUEST)].into_iter().chain(everybodys.map(|status| slot(&ends(status))));
            Chain::new(slots, &Order::default(), overrides).unwrap()
        };
        let groups = || vec![one(8, 428), one(7, 427), one(9, 429)];
        let all = chain(Some(500), &overrides(vec![one(1, 401)], groups()));
        for (lines, want) in [(ann, "401"), (bob, "500"), (guest, "429")] {
            check(&all, lines, want);
        }
        let of_groups = chain(Some(500), &overrides(vec![one(6, 406)], groups()));
        for (lines, want) in [(ann, "427"), (bob, "500"), (guest, "429")] {
            check(&of_groups, lines, want);
        }
        let only = chain(None, &overrides(Vec::new(), vec![one(8, 428)]));
        for (lines, want) in [(ann, "428"), (bob, "bob"), (guest, "guest")] {
            check(&only, lines, want);
        }
    }
}

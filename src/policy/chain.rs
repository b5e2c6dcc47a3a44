//! The policies that a request meets, in their order.

use std::fmt;
use std::sync::Arc;

use super::{Body, Context, Hooks, Kind, Policy, Reply, Verdict};
use crate::http::view::{RequestView, ResponseView};

/// Never empty: who meets no policy has no chain.
#[derive(Debug, Eq, PartialEq)]
pub struct Chain {
    /// Sorted by the order, and no two of one kind.
    slots: Box<[Slot]>,
    hooks: Hooks,
}

/// One policy of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slot {
    pub policy: Arc<Policy>,
    pub scope: Scope,
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
        (-priority, Kind::ALL.iter().position(|other| *other == kind).unwrap_or(0))
    }
}

impl Chain {
    /// The chain of those policies, or none if there are none.
    pub fn of(slots: impl IntoIterator<Item = Slot>, order: &Order) -> Option<Self> {
        let mut kept: Vec<Slot> = Vec::new();
        for slot in slots {
            match kept.iter_mut().find(|other| other.policy.kind() == slot.policy.kind()) {
                Some(other) if other.scope < slot.scope => *other = slot,
                Some(_) => {}
                None => kept.push(slot),
            }
        }
        kept.sort_by_key(|slot| order.place(slot.policy.kind()));
        let hooks = kept.iter().fold(Hooks::default(), |hooks, slot| hooks.and(slot.policy.hooks()));
        (!kept.is_empty()).then(|| Self { slots: kept.into(), hooks })
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
        for (slot, policy) in self.with(Hooks::REQUEST).filter(|(slot, _)| *slot >= from) {
            match policy.on_request(request, context) {
                Verdict::Continue => {}
                verdict => return (verdict, slot),
            }
        }
        (Verdict::Continue, self.slots.len())
    }

    /// What the policy of a slot says to the body that it has asked for.
    pub fn on_request_body<'a>(
        &'a self,
        slot: usize,
        request: &mut RequestView<'_>,
        body: &mut Body<'_>,
        context: &mut Context<'_>,
    ) -> Verdict<'a> {
        self.slots[slot].policy.on_request_body(request, body, context)
    }

    /// What the policy of a slot says to what came of its question.
    pub fn on_reply<'a>(
        &'a self,
        slot: usize,
        request: &mut RequestView<'_>,
        reply: Reply,
        context: &mut Context<'_>,
    ) -> Verdict<'a> {
        self.slots[slot].policy.on_reply(request, reply, context)
    }

    /// `body` is that of a service's response, if one of the policies has asked for it.
    pub fn on_response(
        &self,
        request: &RequestView<'_>,
        response: &mut ResponseView<'_>,
        mut body: Option<&mut Body<'_>>,
        context: &Context<'_>,
    ) {
        for (_, policy) in self.with(Hooks::RESPONSE) {
            if let Some(body) = &mut body {
                policy.on_response_body(response, body);
            }
            policy.on_response(request, response, context);
        }
    }

    /// How many bytes a response may have of whose body one of the policies wants to see the whole.
    pub fn wants_response_body(&self, response: &ResponseView<'_>) -> Option<u64> {
        self.with(Hooks::RESPONSE_BODY).filter_map(|(_, policy)| policy.wants_response_body(response)).max()
    }

    fn with(&self, hook: Hooks) -> impl Iterator<Item = (usize, &Policy)> {
        let slots = if self.hooks.has(hook) { &*self.slots } else { &[] };
        let policies = slots.iter().map(|slot| &*slot.policy).enumerate();
        policies.filter(move |(_, policy)| policy.hooks().has(hook))
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

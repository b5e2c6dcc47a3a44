//! Questions of a shard's coroutines to other threads, and their answers: bounded, and whoever waits has a deadline.
//!
//! ```text
//!   Calls::ask --Asked--> a bounded box, common to all shards --> another thread: Asked::answer
//!     ^                                                                    |
//!     +-- the coroutine is woken <-- Calls::deliver <-- this shard's box <--+
//! ```

use super::core::Runtime;
use super::executor::TaskId;
use super::mailbox::{Bell, Inbox, Outbox, mailbox};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::Mono;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A shard's end: what has been asked and not been answered.
#[derive(Debug)]
pub struct Calls<Q, A> {
    questions: Outbox<Asked<Q, A>>,
    answers: Inbox<Answered<A>>,
    /// Where the answers are to come.
    back: Outbox<Answered<A>>,
    waiting: RefCell<Slab<Waiting<A>>>,
}

/// A question on its way. One that is dropped is answered too: by nobody.
#[derive(Debug)]
pub struct Asked<Q, A> {
    pub question: Q,
    /// Nobody waits for the answer any more.
    deadline: Mono,
    place: u64,
    back: Option<Outbox<Answered<A>>>,
}

#[derive(Debug)]
pub struct Answered<A> {
    place: u64,
    answer: Option<A>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unanswered {
    /// There are as many questions as there may be.
    Busy,
    /// It did not come in time, or who was to answer has failed.
    Late,
}

/// Keeps its place until the answer has come, waited for or not: so many are under way.
#[derive(Debug)]
struct Waiting<A> {
    /// For whom it is asked.
    client: u128,
    /// None when nobody waits any more.
    task: Option<TaskId>,
    answer: Option<Option<A>>,
}

/// An answer being waited for.
pub struct Answer<'a, Q, A> {
    calls: &'a Calls<Q, A>,
    runtime: &'a Runtime,
    place: Key<Waiting<A>>,
    deadline: Mono,
}

impl<Q, A> Calls<Q, A> {
    /// `questions` is where somebody takes them out; `bell` wakes this shard.
    pub fn new(questions: Outbox<Asked<Q, A>>, bell: Option<Arc<Bell>>) -> Self {
        // There is room for the answer to every question that may be under way.
        let (back, answers) = mailbox(CALLS_MAX, bell);
        Self { questions, answers, back, waiting: RefCell::default() }
    }

    /// Asks on behalf of a client (`board::client_key`), of whom only so many questions may be under way: one that asks
    /// much must not keep the others from asking. Only coroutines ask.
    pub fn ask<'a>(
        &'a self,
        runtime: &'a Runtime,
        client: u128,
        question: Q,
        deadline: Mono,
    ) -> Result<Answer<'a, Q, A>, Unanswered> {
        let mut waiting = self.waiting.borrow_mut();
        let of_client = waiting.iter().filter(|(_, waiting)| waiting.client == client).count();
        if waiting.len() == CALLS_MAX || of_client == CALLS_PER_CLIENT_MAX {
            return Err(Unanswered::Busy);
        }
        let place = waiting.insert(Waiting { client, task: runtime.current(), answer: None });
        let asked = Asked { question, deadline, place: place.to_bits(), back: Some(self.back.clone()) };
        if let Err(mut refused) = self.questions.post(asked) {
            refused.back = None;
            waiting.remove(place);
            return Err(Unanswered::Busy);
        }
        Ok(Answer { calls: self, runtime, place, deadline })
    }

    /// Wakes those whose answers have come.
    pub fn deliver(&self, runtime: &Runtime) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(Answered { place, answer }) = self.answers.take() {
            let place = Key::from_bits(place);
            let Some(asked) = waiting.get_mut(place) else { continue };
            match asked.task {
                Some(task) => {
                    asked.answer = Some(answer);
                    runtime.wake(task);
                }
                None => waiting.delete(place),
            }
        }
    }
}

impl<Q, A> Asked<Q, A> {
    /// Whoever has asked has given up: what takes long to find out need not be found out.
    pub fn is_late(&self, now: Mono) -> bool {
        now >= self.deadline
    }

    pub fn answer(mut self, answer: A) {
        self.tell(Some(answer));
    }

    fn tell(&mut self, answer: Option<A>) {
        if let Some(back) = self.back.take() {
            // Only a shard that has ended has no room.
            let _gone = back.post(Answered { place: self.place, answer });
        }
    }
}

impl<Q, A> Drop for Asked<Q, A> {
    fn drop(&mut self) {
        self.tell(None);
    }
}

impl<Q, A> Future for Answer<'_, Q, A> {
    type Output = Result<A, Unanswered>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.calls.waiting.borrow_mut();
        let asked = waiting.get_mut(self.place).expect("it keeps its place until it is over");
        if let Some(answer) = asked.answer.take() {
            waiting.delete(self.place);
            return Poll::Ready(answer.ok_or(Unanswered::Late));
        }
        if self.runtime.now().mono >= self.deadline {
            asked.task = None;
            return Poll::Ready(Err(Unanswered::Late));
        }
        self.runtime.wake_by(self.deadline);
        Poll::Pending
    }
}

impl<Q, A> Drop for Answer<'_, Q, A> {
    fn drop(&mut self) {
        let mut waiting = self.calls.waiting.borrow_mut();
        match waiting.get_mut(self.place) {
            Some(asked) if asked.answer.is_some() => waiting.delete(self.place),
            Some(asked) => asked.task = None,
            None => {}
        }
    }
}

/// Questions of one shard that are under way.
pub const CALLS_MAX: usize = 64;
/// Those of one client.
pub const CALLS_PER_CLIENT_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::driver::Driver;
    use crate::runtime::driver::sim::{Faults, World};
    use std::rc::Rc;
    use std::time::Duration;

    type Outcomes = Rc<RefCell<Vec<Result<u32, Unanswered>>>>;

    struct Kit {
        world: World,
        runtime: Runtime,
        calls: Rc<Calls<u32, u32>>,
        questions: Inbox<Asked<u32, u32>>,
        outcomes: Outcomes,
    }

    impl Kit {
        fn new(questions_max: usize) -> Self {
            let world = World::new(1, Faults::none());
            let runtime = Runtime::new(Driver::Sim(world.node("shard")), 1 << 20);
            let (outbox, questions) = mailbox(questions_max, None);
            Self { world, runtime, calls: Rc::new(Calls::new(outbox, None)), questions, outcomes: Outcomes::default() }
        }

        fn ask(&self, client: u8, question: u32, deadline: Mono) {
            let (calls, runtime, outcomes) = (self.calls.clone(), self.runtime.clone(), self.outcomes.clone());
            self.runtime.spawn(async move {
                let outcome = match calls.ask(&runtime, u128::from(client), question, deadline) {
                    Ok(answer) => answer.await,
                    Err(unanswered) => Err(unanswered),
                };
                outcomes.borrow_mut().push(outcome);
            });
        }

        fn turn(&self) -> Vec<Result<u32, Unanswered>> {
            for _ in 0..2 {
                self.calls.deliver(&self.runtime);
                self.runtime.turn(Mono::ZERO, &mut |_| ()).expect("a turn never fails");
            }
            self.outcomes.take()
        }

        fn is_empty(&self) -> bool {
            self.calls.waiting.borrow().is_empty()
        }
    }

    #[test]
    fn each_question_gets_its_own_answer() {
        let kit = Kit::new(8);
        (1..=3).for_each(|number| kit.ask(1, number, Mono::NEVER));
        assert_eq!(kit.turn(), []);
        let asked: Vec<_> = std::iter::from_fn(|| kit.questions.take()).collect();
        for asked in asked.into_iter().rev() {
            let question = asked.question;
            asked.answer(10 * question);
        }
        assert_eq!(kit.turn(), [Ok(30), Ok(20), Ok(10)]);
        assert!(kit.is_empty());
    }

    #[test]
    fn what_nobody_answers_is_late_and_keeps_its_place_until_it_is_answered() {
        let kit = Kit::new(8);
        let deadline = kit.runtime.now().mono + Duration::from_millis(5);
        kit.ask(1, 1, deadline);
        kit.ask(1, 2, Mono::NEVER);
        assert_eq!(kit.turn(), []);
        let [first, second] = [kit.questions.take(), kit.questions.take()];
        drop(second);
        assert_eq!(kit.turn(), [Err(Unanswered::Late)]);
        // Timers are of whole milliseconds.
        kit.world.advance(Some(deadline + Duration::from_millis(1)));
        assert_eq!(kit.turn(), [Err(Unanswered::Late)]);
        assert!(!kit.is_empty());
        let first = first.expect("it was asked");
        assert!(first.is_late(deadline) && !first.is_late(Mono::ZERO));
        first.answer(1);
        assert_eq!(kit.turn(), []);
        assert!(kit.is_empty());
    }

    #[test]
    fn no_more_are_asked_than_there_may_be() {
        let kit = Kit::new(CALLS_MAX);
        (0..=CALLS_PER_CLIENT_MAX as u32).for_each(|number| kit.ask(1, number, Mono::NEVER));
        assert_eq!(kit.turn(), [Err(Unanswered::Busy)], "of one client");
        let others = (CALLS_MAX - CALLS_PER_CLIENT_MAX) as u32;
        (0..=others).for_each(|number| kit.ask(2 + (number / 4) as u8, number, Mono::NEVER));
        assert_eq!(kit.turn(), [Err(Unanswered::Busy)], "of one shard");
        let small = Kit::new(1);
        (1..=2).for_each(|number| small.ask(number as u8, number, Mono::NEVER));
        assert_eq!(small.turn(), [Err(Unanswered::Busy)], "of all shards");
    }

    #[test]
    fn a_question_whose_coroutine_is_gone_is_answered_to_nobody() {
        let kit = Kit::new(8);
        kit.ask(1, 1, Mono::NEVER);
        kit.turn();
        kit.runtime.drop_tasks();
        kit.questions.take().expect("it was asked").answer(1);
        assert_eq!(kit.turn(), []);
        assert!(kit.is_empty());
    }
}

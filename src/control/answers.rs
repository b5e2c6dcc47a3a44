//! The threads that answer what policies ask of somebody beside the shards. They give way to them: whoever tries many
//! passwords waits for others of his kind, and no request without one waits for him.

use super::clock::clocks;
use crate::policy::{Answer, Question};
use crate::runtime::calls::Asked;
use crate::runtime::mailbox::{Outbox, mailbox};
use crate::stdx::time::Mono;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts them, by a thread that gives way: they inherit its niceness. They end when nobody can ask any more.
pub fn spawn(shards: usize) -> io::Result<Outbox<Asked<Question, Answer>>> {
    let (outbox, inbox) = mailbox::<Asked<Question, Answer>>(QUESTIONS_MAX, None);
    for number in 0..shards.div_ceil(SHARDS_A_THREAD).min(THREADS_MAX) {
        let inbox = inbox.clone();
        std::thread::Builder::new().name(format!("answers-{number}")).spawn(move || {
            while let Some(asked) = inbox.wait() {
                attend(asked, clocks().mono);
            }
        })?;
    }
    Ok(outbox)
}

/// One that nobody waits for any more, or that cannot be answered, is dropped, which says so.
fn attend(asked: Asked<Question, Answer>, now: Mono) {
    if asked.is_late(now) {
        return;
    }
    if let Ok(Some(answer)) = catch_unwind(AssertUnwindSafe(|| asked.question.answer())) {
        asked.answer(answer);
    }
}

/// Questions of all shards that wait for their turn.
const QUESTIONS_MAX: usize = 128;
/// One of them verifies some forty passwords a second, and takes one CPU for that.
const SHARDS_A_THREAD: usize = 8;
const THREADS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Secret;
    use crate::runtime::Runtime;
    use crate::runtime::calls::{Calls, Unanswered};
    use crate::runtime::driver::Driver;
    use crate::runtime::driver::sim::{Faults, World};
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    /// Of "secret", at the least cost there is.
    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2hhcmRnYXRlLXNhbHQxNg$kT6Amhi7GpkKW2dqX/aX6Lu9frrDHao18BSt2mctV5A";

    /// Asks about a password of this hash, which is attended to so long before the asker gives up.
    #[track_caller]
    fn check(hash: &str, before: Duration, want: Result<Answer, Unanswered>) {
        let world = World::new(1, Faults::none());
        let runtime = Runtime::new(Driver::Sim(world.node("shard")), 1 << 20);
        let (outbox, questions) = mailbox(1, None);
        let (calls, outcome) = (Rc::new(Calls::new(outbox, None)), Rc::new(Cell::new(None)));
        let deadline = runtime.now().mono + Duration::from_secs(1);
        let question = Question::Password { hash: hash.into(), password: Secret::new(b"secret") };
        runtime.spawn({
            let (calls, runtime, outcome) = (calls.clone(), runtime.clone(), outcome.clone());
            async move {
                let answer = calls.ask(&runtime, 1, question, deadline).expect("there is room");
                outcome.set(Some(answer.await));
            }
        });
        let turn = || {
            calls.deliver(&runtime);
            runtime.turn(Mono::ZERO, &mut |_| ()).expect("a turn never fails");
        };
        turn();
        attend(questions.take().expect("it was asked"), deadline - before);
        turn();
        turn();
        assert_eq!(outcome.take(), Some(want), "{before:?} before");
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_found_out() {
        check(HASH, Duration::from_millis(1), Ok(Answer::Password { is_right: true }));
        check(HASH, Duration::ZERO, Err(Unanswered::Late));
    }

    #[test]
    fn what_cannot_be_found_out_is_not_wrong() {
        check("", Duration::from_millis(1), Err(Unanswered::Late));
    }
}

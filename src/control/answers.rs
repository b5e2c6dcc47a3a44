//! The threads that answer what policies ask of somebody beside the shards. They give way to them: whoever tries many
//! passwords waits for others of his kind, and no request without one waits for him.

use super::cpus::give_way;
use crate::policy::{Answer, Question};
use crate::runtime::calls::Asked;
use crate::runtime::mailbox::{Outbox, mailbox};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts them. They end when nobody can ask any more.
pub fn spawn(shards: usize) -> io::Result<Outbox<Asked<Question, Answer>>> {
    let (outbox, inbox) = mailbox::<Asked<Question, Answer>>(QUESTIONS_MAX, None);
    for number in 0..shards.div_ceil(SHARDS_A_THREAD).min(THREADS_MAX) {
        let inbox = inbox.clone();
        std::thread::Builder::new().name(format!("answers-{number}")).spawn(move || {
            give_way();
            while let Some(asked) = inbox.wait() {
                // One that cannot be answered is dropped, which says so.
                if let Ok(Some(answer)) = catch_unwind(AssertUnwindSafe(|| asked.question.answer())) {
                    asked.answer(answer);
                }
            }
        })?;
    }
    Ok(outbox)
}

/// Questions of all shards that wait for their turn.
const QUESTIONS_MAX: usize = 128;
/// One of them verifies some forty passwords a second, and takes one CPU for that.
const SHARDS_A_THREAD: usize = 8;
const THREADS_MAX: usize = 4;

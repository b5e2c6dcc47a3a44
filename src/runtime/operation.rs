//! The future of one operation, with its deadline.

use super::core::Runtime;
use super::op::{Done, Error, Op, OpId, Owner};
use crate::stdx::time::Mono;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Submits `op` at its first poll. Fails with `Error::Deadline` if it is not over by `deadline`, and is cancelled then;
/// with `Error::Exhausted` if it still waits for memory.
pub fn operation(runtime: &Runtime, op: Op, deadline: Mono) -> Operation<'_> {
    Operation { runtime, stage: Stage::New(op), deadline }
}

/// Waits for an operation that was submitted before; this coroutine owns it from now on.
pub fn resume(runtime: &Runtime, id: OpId, deadline: Mono) -> Operation<'_> {
    if let Some(task) = runtime.current() {
        runtime.set_owner(id, Owner::Task(task));
    }
    Operation { runtime, stage: Stage::Armed(id), deadline }
}

/// Dropping it cancels the operation.
pub struct Operation<'a> {
    runtime: &'a Runtime,
    stage: Stage,
    deadline: Mono,
}

enum Stage {
    New(Op),
    Armed(OpId),
    Over,
}

impl Future for Operation<'_> {
    type Output = Result<Done, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let id = match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::New(op) => {
                let task = this.runtime.current().expect("operations are awaited inside coroutines");
                match this.runtime.submit(op, Owner::Task(task)) {
                    Ok(done) => return Poll::Ready(Ok(done)),
                    Err(id) => id,
                }
            }
            Stage::Armed(id) => match this.runtime.take(id) {
                Some(done) => return Poll::Ready(Ok(done)),
                None => id,
            },
            Stage::Over => unreachable!("polled after it was over"),
        };
        if this.runtime.now().mono >= this.deadline {
            let error = this.runtime.late(id);
            this.runtime.cancel(id);
            return Poll::Ready(Err(error));
        }
        this.stage = Stage::Armed(id);
        this.runtime.wake_by(this.deadline);
        Poll::Pending
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Stage::Armed(id) = self.stage {
            self.runtime.cancel(id);
        }
    }
}

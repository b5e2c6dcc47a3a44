//! The coroutines of one shard: local futures, polled when a completion, a timer or another coroutine wakes them.
//!
//! What a future waits for is recorded by the runtime (an operation's owner, `wake_by`), not by a waker: everything a
//! coroutine can wait for belongs to its own shard. The standard waker it is polled with therefore does nothing.

use super::op::Owner;
use super::timer::Entry;
use crate::stdx::slab::{Key, Slab};
use crate::stdx::time::Mono;
use std::collections::VecDeque;
use std::pin::Pin;

pub type TaskId = Key<Task>;

pub type BoxedFuture = Pin<Box<dyn Future<Output = ()>>>;

/// One coroutine.
pub struct Task {
    /// Absent while it is being polled.
    future: Option<BoxedFuture>,
    queued: bool,
    /// When it wants to be polled at the latest.
    wake_at: Mono,
    /// When its entry of the timer wheel fires; `NEVER` if it has none.
    timer_at: Mono,
}

/// All coroutines, and those that are to be polled.
#[derive(Default)]
pub struct Tasks {
    slab: Slab<Task>,
    queue: VecDeque<TaskId>,
}

impl Tasks {
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn insert(&mut self, future: BoxedFuture) -> TaskId {
        let id =
            self.slab.insert(Task { future: Some(future), queued: true, wake_at: Mono::NEVER, timer_at: Mono::NEVER });
        self.queue.push_back(id);
        id
    }

    /// Queues the coroutine unless it is queued or gone.
    pub fn wake(&mut self, id: TaskId) {
        if let Some(task) = self.slab.get_mut(id)
            && !task.queued
        {
            task.queued = true;
            self.queue.push_back(id);
        }
    }

    /// The next coroutine to poll, taken out of its slot.
    pub fn pop(&mut self) -> Option<(TaskId, BoxedFuture)> {
        while let Some(id) = self.queue.pop_front() {
            let Some(task) = self.slab.get_mut(id) else { continue };
            task.queued = false;
            if let Some(future) = task.future.take() {
                return Some((id, future));
            }
        }
        None
    }

    /// Puts a coroutine back that is not done and wants to be polled by `wake_at`. Returns the timer it needs.
    pub fn park(&mut self, id: TaskId, future: BoxedFuture, wake_at: Mono) -> Option<Entry> {
        let task = self.slab.get_mut(id)?;
        task.future = Some(future);
        task.wake_at = wake_at;
        if wake_at >= task.timer_at {
            return None;
        }
        task.timer_at = wake_at;
        Some(Entry { at: wake_at, owner: Owner::Task(id) })
    }

    pub fn remove(&mut self, id: TaskId) {
        self.slab.remove(id);
    }

    /// A timer of the coroutine fired: wakes it, or returns the later timer that it needs by now.
    pub fn timer_fired(&mut self, id: TaskId, at: Mono, now: Mono) -> Option<Entry> {
        let task = self.slab.get_mut(id)?;
        if task.timer_at != at {
            return None;
        }
        task.timer_at = Mono::NEVER;
        if task.wake_at <= now {
            self.wake(id);
            return None;
        }
        if task.wake_at == Mono::NEVER {
            return None;
        }
        task.timer_at = task.wake_at;
        Some(Entry { at: task.wake_at, owner: Owner::Task(id) })
    }

    /// Every future, for a shard that ends: they are dropped outside of any borrow.
    pub fn drain(&mut self) -> Vec<BoxedFuture> {
        self.queue.clear();
        let ids: Vec<TaskId> = self.slab.iter().map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| self.slab.remove(id)?.future).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(ms)
    }

    fn parked(tasks: &mut Tasks) -> (TaskId, BoxedFuture) {
        tasks.insert(Box::pin(std::future::pending()));
        tasks.pop().unwrap()
    }

    #[test]
    fn a_coroutine_is_queued_once_however_often_it_is_woken() {
        let mut tasks = Tasks::default();
        let (id, future) = parked(&mut tasks);
        tasks.wake(id);
        tasks.wake(id);
        assert_eq!(tasks.park(id, future, Mono::NEVER), None);
        assert!(tasks.pop().is_some() && tasks.pop().is_none());
    }

    #[test]
    fn a_deadline_that_moves_away_costs_no_timer_until_the_old_one_fires() {
        let mut tasks = Tasks::default();
        let (id, future) = parked(&mut tasks);
        assert_eq!(tasks.park(id, future, at(10)).map(|entry| entry.at), Some(at(10)));
        tasks.wake(id);
        let (_, future) = tasks.pop().unwrap();
        assert_eq!(tasks.park(id, future, at(50)), None);
        assert_eq!(tasks.timer_fired(id, at(10), at(10)).map(|entry| entry.at), Some(at(50)));
        assert_eq!(tasks.queued(), 0);
        assert_eq!(tasks.timer_fired(id, at(50), at(50)), None);
        assert_eq!(tasks.queued(), 1);
    }

    #[test]
    fn a_stale_timer_wakes_nobody() {
        let mut tasks = Tasks::default();
        let (id, future) = parked(&mut tasks);
        tasks.park(id, future, at(50));
        tasks.wake(id);
        let (_, future) = tasks.pop().unwrap();
        assert_eq!(tasks.park(id, future, at(10)).map(|entry| entry.at), Some(at(10)));
        assert_eq!(tasks.timer_fired(id, at(50), at(50)), None);
        assert_eq!(tasks.queued(), 0);
    }
}

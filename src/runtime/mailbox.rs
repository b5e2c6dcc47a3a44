//! Messages from other threads to one shard: bounded, never waiting, and silent while the shard is awake anyway.

use crossbeam_channel::{Receiver, Sender, TrySendError};
use crossbeam_queue::ArrayQueue;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends a shard's sleep from another thread.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
    /// Rung since the shard last fell asleep, or about to be.
    rung: AtomicBool,
    eventfd: OwnedFd,
}

/// The writing end of a shard's mailbox.
#[derive(Debug)]
pub struct Outbox<T> {
    sender: Sender<T>,
    bell: Option<Arc<Bell>>,
}

/// The end where messages are taken out: the shard's, or that of threads that share it.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
}

/// A place for one message, where the next one takes the place of one that nobody has read.
#[derive(Debug)]
pub struct Latest<T> {
    cell: Arc<ArrayQueue<T>>,
    bell: Option<Arc<Bell>>,
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self { cell: self.cell.clone(), bell: self.bell.clone() }
    }
}

impl<T> Latest<T> {
    pub fn new(bell: Option<Arc<Bell>>) -> Self {
        Self { cell: Arc::new(ArrayQueue::new(1)), bell }
    }

    /// Leaves a message. Returns the one that lay there.
    pub fn publish(&self, message: T) -> Option<T> {
        let displaced = self.cell.force_push(message);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        displaced
    }

    pub fn take(&self) -> Option<T> {
        self.cell.pop()
    }
}

/// A mailbox for `capacity` messages. Without a bell the reader is one that looks by itself: the simulation's.
pub fn mailbox<T>(capacity: usize, bell: Option<Arc<Bell>>) -> (Outbox<T>, Inbox<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (Outbox { sender, bell }, Inbox { receiver })
}

impl<T> Outbox<T> {
    /// Leaves a message, or gives it back when the box is full or its shard is gone.
    pub fn post(&self, message: T) -> Result<(), T> {
        self.sender.try_send(message).map_err(TrySendError::into_inner)?;
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        Ok(())
    }

    /// Wakes the shard without a message.
    pub fn nudge(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: self.bell.clone() }
    }
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone() }
    }
}

impl<T> Inbox<T> {
    /// The next message, when there is one; `None` when there can be none any more. Not for shards, which never wait.
    pub fn wait(&self) -> Option<T> {
        self.receiver.recv().ok()
    }

    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl Bell {
    pub(super) fn new(eventfd: OwnedFd) -> Self {
        Self { asleep: AtomicBool::new(false), rung: AtomicBool::new(false), eventfd }
    }

    /// Wakes the shard; costs a system call only when it sleeps.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // Full means that it has been rung already.
            let _full = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// Says that the shard is about to sleep; false when it must not, because the bell was rung meanwhile.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.rung.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Whether the bell was rung since this was last asked. Who asks before looking at what was left misses nothing.
    pub(super) fn take_rung(&self) -> bool {
        // Looking costs less than swapping, and the answer is nearly always no.
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::SeqCst)
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.eventfd
    }

    pub(super) fn clear(&self) {
        let mut count = [0; 8];
        // Empty means that another reading got there first.
        let _empty = rustix::io::read(&self.eventfd, &mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::EventfdFlags;

    fn bell() -> Arc<Bell> {
        Arc::new(Bell::new(rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap()))
    }

    #[test]
    fn a_full_box_gives_the_message_back() {
        let (outbox, inbox) = mailbox(1, None);
        assert_eq!(outbox.post(1), Ok(()));
        assert_eq!(outbox.post(2), Err(2));
        assert_eq!((inbox.take(), inbox.take()), (Some(1), None));
    }

    #[test]
    fn of_messages_that_nobody_read_the_latest_stays() {
        let latest = Latest::new(Some(bell()));
        assert_eq!((latest.publish(1), latest.publish(2), latest.publish(3)), (None, Some(1), Some(2)));
        assert_eq!((latest.take(), latest.take()), (Some(3), None));
    }

    #[test]
    fn a_message_posted_before_the_sleep_prevents_it() {
        let bell = bell();
        let (outbox, _inbox) = mailbox(1, Some(bell.clone()));
        outbox.post(()).unwrap();
        assert!(!bell.fall_asleep() && !bell.fall_asleep());
        assert!(bell.take_rung() && !bell.take_rung());
        assert!(bell.fall_asleep());
    }

    #[test]
    fn only_a_sleeping_shard_costs_a_system_call() {
        let bell = bell();
        let mut count = [0; 8];
        bell.ring();
        assert!(rustix::io::read(&bell.eventfd, &mut count).is_err());
        assert!(!bell.fall_asleep() && bell.take_rung() && bell.fall_asleep());
        bell.ring();
        assert_eq!(rustix::io::read(&bell.eventfd, &mut count), Ok(8));
    }
}

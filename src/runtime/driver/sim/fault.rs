//! What can go wrong in the simulated kernel, how often, and how often it did.

use std::fmt;

/// One way of things going wrong. Those marked "seen" are not thrown as dice but noticed when they happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A receive brings one byte although more are there.
    OneByteRead,
    /// A send takes fewer bytes than there is room for.
    ShortSend,
    /// A completion comes milliseconds to seconds after it could have.
    DelayedCompletion,
    /// Completions of one turn come in another order than they became due.
    ReorderedCompletion,
    /// A direction of a connection holds at most a few bytes.
    SmallWindow,
    /// A reset within the first bytes: in the middle of a head.
    ResetEarly,
    /// A reset after a kilobyte or more: in the middle of a body.
    ResetLate,
    /// A reset at a time: it counts when it meets a receive that a record, not a coroutine, waits for.
    ResetIdle,
    ConnectRefused,
    /// A connect to which nothing ever answers.
    ConnectLost,
    /// An accept finds no descriptor; the connection is closed at once.
    AcceptExhausted,
    /// A receive finds no buffer and waits for one.
    ReceiveParked,
    /// From some byte on nothing is taken from a sender, whose sends then never end.
    PeerStopsReading,
    /// From some byte on nothing reaches a receiver, whose receive then never ends.
    PeerStopsSending,
    /// A byte a second.
    SlowPeer,
    /// Seen: an operation was cancelled before it did anything.
    CancelWins,
    /// A cancelled operation had done its work: bytes, a connection or an accept are there for the driver to reclaim.
    CancelLoses,
    /// Seen: one side said that it sends no more, and received on.
    HalfClose,
    /// Seen: the end of the stream met a receive that a record, not a coroutine, waits for.
    EndAtIdle,
    /// A coroutine is woken for nothing.
    SpuriousWake,
    /// The calendar jumps by up to an hour, forwards or backwards.
    WallClockJump,
}

/// How often each fault is thrown, in a thousand occasions.
#[derive(Clone, Debug)]
pub struct Faults {
    per_mille: [u32; Fault::COUNT],
}

/// How often each fault has happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Census {
    counts: [u64; Fault::COUNT],
}

impl Fault {
    pub const ALL: [Self; 21] = [
        Self::OneByteRead,
        Self::ShortSend,
        Self::DelayedCompletion,
        Self::ReorderedCompletion,
        Self::SmallWindow,
        Self::ResetEarly,
        Self::ResetLate,
        Self::ResetIdle,
        Self::ConnectRefused,
        Self::ConnectLost,
        Self::AcceptExhausted,
        Self::ReceiveParked,
        Self::PeerStopsReading,
        Self::PeerStopsSending,
        Self::SlowPeer,
        Self::CancelWins,
        Self::CancelLoses,
        Self::HalfClose,
        Self::EndAtIdle,
        Self::SpuriousWake,
        Self::WallClockJump,
    ];
    pub const COUNT: usize = Self::ALL.len();
}

impl Faults {
    pub const fn none() -> Self {
        Self { per_mille: [0; Fault::COUNT] }
    }

    /// Everything that a correct program does not notice except by the time it takes.
    pub fn benign() -> Self {
        Self::none()
            .with(Fault::OneByteRead, 150)
            .with(Fault::ShortSend, 150)
            .with(Fault::DelayedCompletion, 20)
            .with(Fault::ReorderedCompletion, 300)
            .with(Fault::SmallWindow, 60)
            .with(Fault::ReceiveParked, 30)
            .with(Fault::SpuriousWake, 30)
            .with(Fault::WallClockJump, 5)
    }

    /// The benign ones, and peers and networks that fail.
    pub fn hostile() -> Self {
        Self::benign()
            .with(Fault::ResetEarly, 30)
            .with(Fault::ResetLate, 40)
            .with(Fault::ResetIdle, 60)
            .with(Fault::ConnectRefused, 30)
            .with(Fault::ConnectLost, 20)
            .with(Fault::AcceptExhausted, 20)
            .with(Fault::PeerStopsReading, 20)
            .with(Fault::PeerStopsSending, 20)
            .with(Fault::SlowPeer, 10)
            .with(Fault::CancelLoses, 500)
    }

    #[must_use]
    pub const fn with(mut self, fault: Fault, per_mille: u32) -> Self {
        self.per_mille[fault as usize] = per_mille;
        self
    }

    pub(super) const fn per_mille(&self, fault: Fault) -> u32 {
        self.per_mille[fault as usize]
    }
}

impl Census {
    pub fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    pub const fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    /// The faults that have happened less often than `times`.
    pub fn below(&self, times: u64) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.of(*fault) < times).collect()
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            writeln!(f, "{:>12}  {fault:?}", self.of(fault))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_place() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
    }

    #[test]
    fn the_census_names_what_is_missing() {
        let mut census = Census::default();
        for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::SlowPeer) {
            census.count(fault);
        }
        assert_eq!(census.below(1), [Fault::SlowPeer]);
    }
}

//! What an operator chooses about event loops; each has a default that suits nearly everybody.

/// How many shards there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shards {
    /// One for each CPU that this process may use, within the cgroup's quota.
    #[default]
    Auto,
    Count(usize),
}

/// Whether each shard keeps to one CPU.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pin {
    /// If there are as many shards as CPUs that this process may use.
    #[default]
    Auto,
    Always,
    Never,
}

/// Which interface of the kernel carries the event loops.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EventLoop {
    /// The better of those that work.
    #[default]
    Auto,
    Uring,
    Epoll,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RuntimeOptions {
    pub shards: Shards,
    pub pin: Pin,
    pub event_loop: EventLoop,
}

/// More than any machine needs, and few enough for a table of them.
pub const SHARDS_MAX: usize = 1024;

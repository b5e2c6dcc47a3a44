//! The threads of the data path and of its log, started.

use crate::config::snapshot::{Listener, Snapshot};
use crate::control::answers;
use crate::control::cpus::Cpus;
use crate::control::journal::say;
use crate::control::log::{self, LogWriter};
use crate::control::nursery::Nursery;
use crate::control::sockets::Sockets;
use crate::control::start::StartError;
use crate::control::workers::{Beginning, Workers};
use crate::policy::jwt::jwks::KeyBook;
use crate::runtime::driver::choice::Choice;
use crate::runtime::options::EventLoop;
use crate::stdx::ledger::Ledger;
use crate::telemetry::log_ring;
use crate::telemetry::report::{self, Reports};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The threads, and what comes from them.
pub(super) struct Started {
    pub workers: Workers,
    pub writer: LogWriter,
    pub reports: Reports,
}

/// Starts them on what the configuration asks for. A ring that worked when it was tried may still not be had for every
/// shard, as memory and descriptors have limits: then all of them are on epoll.
pub(super) fn start_where_possible(
    nursery: &Nursery,
    shards: usize,
    snapshot: &Snapshot,
    sockets: &mut Sockets,
    keys: &KeyBook,
    ledger: Option<Arc<Ledger>>,
) -> Result<(Started, mpsc::UnboundedReceiver<usize>, Choice), StartError> {
    let mut event_loop = Choice::make(snapshot.runtime.event_loop);
    let mut started = start_shards(nursery, shards, snapshot, sockets, &event_loop, keys.clone(), ledger.clone());
    if let Err(StartError::EventLoop(error)) = &started
        && event_loop.event_loop == EventLoop::Uring
    {
        let reason = format!("io_uring does not work here for {shards} shards: {error}");
        event_loop = Choice { event_loop: EventLoop::Epoll, reason };
        // Nobody has accepted on them.
        sockets.take_back();
        started = start_shards(nursery, shards, snapshot, sockets, &event_loop, keys.clone(), ledger.clone());
    }
    let (started, ended) = started?;
    if (snapshot.runtime.event_loop, event_loop.event_loop) == (EventLoop::Uring, EventLoop::Epoll) {
        say!(Warn, "event_loop is uring, and it is epoll that runs: {}", event_loop.reason);
    }
    Ok((started, ended, event_loop))
}

/// Starts `shards` shards, on a ledger that there is already if there is one, and the log writer. Also returns where
/// the end of each shard is told.
pub(super) fn start_shards(
    nursery: &Nursery,
    shards: usize,
    snapshot: &Snapshot,
    sockets: &mut Sockets,
    event_loop: &Choice,
    keys: KeyBook,
    ledger: Option<Arc<Ledger>>,
) -> Result<(Started, mpsc::UnboundedReceiver<usize>), StartError> {
    let listeners = sockets.open(snapshot.listeners.iter(), shards).map_err(StartError::Listen)?;
    say!(Info, "event loop {}: {}", event_loop.name(), event_loop.reason);
    let (logs, drain) = log_ring::rings(shards);
    let (reporters, reports) = report::reports(shards);
    let out = log::stdout().map_err(StartError::Log)?;
    let writer = LogWriter::spawn(drain, out).map_err(StartError::Log)?;
    let (on_end, ended) = mpsc::unbounded_channel();
    let beginning = Beginning {
        plan: snapshot.plan.clone(),
        keys,
        questions: answers::spawn(shards).map_err(StartError::Thread)?,
        listeners,
        logs,
        reporters,
        event_loop: event_loop.clone(),
        pins: Cpus::read().pinning(snapshot.runtime.pin, shards),
        ledger,
        on_end,
    };
    let (workers, addresses) = nursery.start(shards, beginning)?;
    for Listener { name, .. } in &snapshot.listeners {
        if let Some((_, address)) = addresses.iter().find(|(of, _)| of == name) {
            say!(Info, "listening on {address} ({name})");
        }
    }
    Ok((Started { workers, writer, reports }, ended))
}

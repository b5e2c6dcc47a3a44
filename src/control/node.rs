//! A running gateway, seen from its control thread: how it starts, what it hears, and how it ends.

use super::cpus::{Cpus, give_way};
use super::listeners::{self, Changes};
use super::log::LogWriter;
use super::workers::{Beginning, Workers};
use crate::config::ids::Ids;
use crate::config::load::load;
use crate::config::snapshot::{Listener, Snapshot};
use crate::proxy::Plan;
use crate::runtime::driver::choice::Choice;
use crate::runtime::listener::Socket;
use crate::runtime::{Error, Stop, listener};
use crate::shard::{Listen, ListenError, Mail, Publication};
use crate::telemetry::log_ring;
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Why the gateway did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} ({name}): {what}", address = .0.address, name = .0.name, what = advice(.0))]
    Listen(ListenError),
    #[error("the event loop cannot be set up: {0}")]
    EventLoop(Error),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("there is no randomness to be had: {0}")]
    Random(std::io::Error),
    #[error("the control thread cannot be set up: {0}")]
    Control(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("the access log cannot be written: {0}")]
    Log(std::io::Error),
    #[error("a shard ended by itself")]
    ShardEnded,
}

/// Where the configuration comes from.
#[derive(Debug)]
pub struct Source {
    pub file: PathBuf,
    pub ids: Ids,
}

/// Runs the gateway until it is told to end and has drained.
pub fn run(snapshot: Snapshot, source: Source) -> Result<(), StartError> {
    raise_descriptor_limit(&snapshot);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Control)?;
    runtime.block_on(Node::run(snapshot, source))
}

/// What the control thread keeps.
struct Node {
    source: Source,
    snapshot: Snapshot,
    workers: Workers,
    generation: u64,
    /// Plans that a shard may still go by, and their generation: whoever drops one last frees it, and that is not to be
    /// a shard.
    retired: VecDeque<(u64, Arc<Plan>)>,
}

impl Node {
    async fn run(snapshot: Snapshot, source: Source) -> Result<(), StartError> {
        snapshot.listeners.iter().try_for_each(claim).map_err(StartError::Listen)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let mut reload = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        let options = snapshot.runtime;
        let event_loop = Choice::make(options.event_loop).map_err(StartError::EventLoop)?;
        eprintln!("shardgate: event loop {}: {}", event_loop.name(), event_loop.reason);
        let cpus = Cpus::read();
        let shards = cpus.shards(options.shards);
        let (logs, drain) = log_ring::rings(shards);
        let out = super::log::stdout().map_err(StartError::Log)?;
        let writer = LogWriter::spawn(drain, out).map_err(StartError::Log)?;
        let (on_end, mut ended) = mpsc::unbounded_channel();
        let listeners = listen(snapshot.listeners.iter(), shards).map_err(StartError::Listen)?;
        let pins = cpus.pinning(options.pin, shards);
        let beginning = Beginning { plan: snapshot.plan.clone(), listeners, logs, event_loop, pins, on_end };
        let (workers, addresses) = Workers::start(shards, beginning)?;
        // Only now: threads inherit the niceness of the one that starts them.
        give_way();
        for (name, address) in addresses.iter().take(snapshot.listeners.len()) {
            eprintln!("shardgate: listening on {address} ({name})");
        }
        let mut node = Self { source, snapshot, workers, generation: 0, retired: VecDeque::new() };
        let mut chores = tokio::time::interval(CHORES_INTERVAL);
        let mut patience = None;
        let mut left = shards;
        while left > 0 {
            tokio::select! {
                _ = ended.recv() => {
                    left -= 1;
                    if patience.is_none() {
                        break;
                    }
                }
                _ = terminate.recv() => node.drain(&mut patience),
                _ = interrupt.recv() => node.drain(&mut patience),
                _ = reload.recv() => node.reload(),
                _ = chores.tick() => node.chores(),
            }
        }
        if patience.is_none() {
            // The others cannot do what that one did.
            node.end(Duration::ZERO);
        }
        let healthy = node.workers.finish(patience.is_some());
        writer.finish(LOG_PATIENCE);
        if healthy { Ok(()) } else { Err(StartError::ShardEnded) }
    }

    fn reload(&mut self) {
        let Source { file, ids } = &mut self.source;
        match load(file, ids) {
            Ok(snapshot) => match self.apply(snapshot) {
                Ok(()) => eprintln!("shardgate: configuration {} is in force", self.generation),
                Err(failed) => eprintln!("shardgate: the old configuration stays: {}", StartError::Listen(failed)),
            },
            Err(problems) => eprint!("shardgate: the old configuration stays:\n{problems}"),
        }
    }

    /// Puts a configuration in force. With an error nothing has changed.
    fn apply(&mut self, snapshot: Snapshot) -> Result<(), ListenError> {
        let changes = Changes::between(&self.snapshot.listeners, &snapshot.listeners);
        for listener in changes.opened.iter().filter(|new| !listeners::has(&self.snapshot.listeners, new.address)) {
            claim(listener)?;
        }
        let opened = listen(changes.opened.iter().copied(), self.workers.len())?;
        for (shard, listens) in opened.into_iter().enumerate() {
            for was in &changes.closed {
                self.workers.tell(shard, Mail::Unlisten(*was));
            }
            for (was, Listener { id, name, .. }) in &changes.renamed {
                self.workers.tell(shard, Mail::Rename { was: *was, id: *id, name: name.clone() });
            }
            for listen in listens {
                self.workers.tell(shard, Mail::Listen(listen));
            }
        }
        self.retired.push_back((self.generation, self.snapshot.plan.clone()));
        self.generation += 1;
        self.workers.publish(&Publication { generation: self.generation, plan: snapshot.plan.clone() });
        self.snapshot = snapshot;
        Ok(())
    }

    fn chores(&mut self) {
        self.workers.deliver();
        let oldest = self.workers.board.oldest_generation();
        while self.retired.pop_front_if(|(generation, _)| *generation < oldest).is_some() {}
    }

    /// Whoever asks twice does not want to wait.
    fn drain(&mut self, patience: &mut Option<Duration>) {
        let now = patience.map_or(self.snapshot.drain_timeout, |_| Duration::ZERO);
        *patience = Some(now);
        eprintln!("shardgate: draining for {} ms at most", now.as_millis());
        self.end(now);
    }

    fn end(&mut self, patience: Duration) {
        for shard in 0..self.workers.len() {
            self.workers.tell(shard, Mail::Drain { patience, stop: Stop::Dry });
        }
    }
}

/// A socket of each listener for each shard.
fn listen<'a>(listeners: impl Iterator<Item = &'a Listener>, shards: usize) -> Result<Vec<Vec<Listen>>, ListenError> {
    let mut of_shards: Vec<_> = (0..shards).map(|_| Vec::new()).collect();
    for Listener { id, name, address } in listeners {
        let mut address = *address;
        for of_shard in &mut of_shards {
            let failed = |errno: rustix::io::Errno| ListenError { name: name.clone(), address, error: errno.into() };
            let socket = listener::open(address).map_err(failed)?;
            // Of port 0 the first socket chooses for all.
            address = net::getsockname(&socket).and_then(SocketAddr::try_from).map_err(failed)?;
            of_shard.push(Listen { id: *id, name: name.clone(), address, socket: Socket::Adopt(socket) });
        }
    }
    Ok(of_shards)
}

/// Fails if somebody listens there. Shards share their ports (SO_REUSEPORT) and so would a second gateway: each of the
/// two would get some of the connections. A socket that does not share finds out.
fn claim(listener: &Listener) -> Result<(), ListenError> {
    let Listener { name, address, .. } = listener;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let bound = net::socket(family, SocketType::STREAM, None).and_then(|probe| {
        // Connections of an earlier process that linger in TIME_WAIT are no obstacle.
        sockopt::set_socket_reuseaddr(&probe, true)?;
        net::bind(&probe, address)
    });
    bound.map_err(|errno| ListenError { name: name.clone(), address: *address, error: errno.into() })
}

/// Uses all descriptors that the system allows us, and says so if they are too few for the configured connections.
fn raise_descriptor_limit(snapshot: &Snapshot) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        // Not being allowed to leaves the limit where it was, which the warning then tells.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // A connection on each side for every exchange.
    let wanted = 2 * snapshot.plan.settings.limits.connections_max as u64 + DESCRIPTORS_OWN;
    if allowed < wanted {
        eprintln!(
            "shardgate: warning: open files are limited to {allowed}, and limits.connections_max needs {wanted}: \
             raise the limit (`ulimit -n {wanted}`, systemd's LimitNOFILE) or lower limits.connections_max"
        );
    }
}

fn advice(failed: &ListenError) -> String {
    match failed.error {
        Error::Other(IN_USE) => "the address is in use: stop what uses it, or choose another port".to_owned(),
        Error::Other(NOT_PERMITTED) => "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE or a lower \
             net.ipv4.ip_unprivileged_port_start"
            .to_owned(),
        Error::Exhausted => "the address is not one of this machine's, or descriptors have run out".to_owned(),
        other => other.to_string(),
    }
}

/// How often it is seen to what nobody waits for.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);
/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// `EADDRINUSE` and `EACCES` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;

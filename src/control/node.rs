//! A running gateway, seen from its control thread: how it starts, what it hears, and how it ends.

use super::cpus::{Cpus, give_way};
use super::log::LogWriter;
use super::workers::{Beginning, Workers};
use crate::config::snapshot::{Listener, Snapshot};
use crate::runtime::listener::Socket;
use crate::runtime::{Error, Stop, listener};
use crate::shard::{Listen, ListenError, Mail};
use crate::telemetry::log_ring;
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
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

/// Runs the gateway until it is told to end and has drained.
pub fn run(snapshot: Snapshot) -> Result<(), StartError> {
    raise_descriptor_limit(&snapshot);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Control)?;
    runtime.block_on(Node::run(snapshot))
}

/// What the control thread keeps.
struct Node {
    snapshot: Snapshot,
    workers: Workers,
}

impl Node {
    async fn run(snapshot: Snapshot) -> Result<(), StartError> {
        snapshot.listeners.iter().try_for_each(claim).map_err(StartError::Listen)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let cpus = Cpus::read();
        let shards = cpus.shards();
        let (logs, drain) = log_ring::rings(shards);
        let out = super::log::stdout().map_err(StartError::Log)?;
        let writer = LogWriter::spawn(drain, out).map_err(StartError::Log)?;
        let (on_end, mut ended) = mpsc::unbounded_channel();
        let listeners = listen(&snapshot.listeners, shards).map_err(StartError::Listen)?;
        let pins = cpus.pinning(shards).unwrap_or_default().to_vec();
        let (workers, addresses) =
            Workers::start(shards, Beginning { plan: snapshot.plan.clone(), listeners, logs, pins, on_end })?;
        // Only now: threads inherit the niceness of the one that starts them.
        give_way();
        for (name, address) in addresses.iter().take(snapshot.listeners.len()) {
            eprintln!("shardgate: listening on {address} ({name})");
        }
        let node = Self { snapshot, workers };
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

    /// Whoever asks twice does not want to wait.
    fn drain(&self, patience: &mut Option<Duration>) {
        let now = patience.map_or(self.snapshot.drain_timeout, |_| Duration::ZERO);
        *patience = Some(now);
        eprintln!("shardgate: draining for {} ms at most", now.as_millis());
        self.end(now);
    }

    fn end(&self, patience: Duration) {
        for shard in 0..self.workers.len() {
            // A full mailbox holds the same message already.
            let _full = self.workers.tell(shard, Mail::Drain { patience, stop: Stop::Dry });
        }
    }
}

/// A socket of each listener for each shard.
fn listen(listeners: &[Listener], shards: usize) -> Result<Vec<Vec<Listen>>, ListenError> {
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

/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// `EADDRINUSE` and `EACCES` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;

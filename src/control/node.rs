//! A running gateway: its shards, its log writer and the signals that end it.

use super::log::LogWriter;
use crate::config::snapshot::{Listener, Snapshot};
use crate::runtime::driver::Driver;
use crate::runtime::driver::epoll::Epoll;
use crate::runtime::mailbox::{Outbox, mailbox};
use crate::runtime::{Error, Runtime};
use crate::shard::{ListenError, Mail, Parts, Shard};
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::{self, LogRing};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Why the gateway did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} ({name}): {what}", address = .0.address, name = .0.name, what = advice(.0))]
    Listen(ListenError),
    #[error("the event loop cannot be set up: {0}")]
    EventLoop(Error),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("the access log cannot be written: {0}")]
    Log(std::io::Error),
    #[error("a shard ended by itself")]
    ShardEnded,
}

/// One shard's thread.
struct Worker {
    thread: JoinHandle<Result<Counters, Error>>,
    outbox: Outbox<Mail>,
}

/// Runs the gateway until it is told to end and has drained.
pub fn run(snapshot: &Snapshot) -> Result<(), StartError> {
    raise_descriptor_limit(snapshot);
    snapshot.listeners.iter().try_for_each(claim).map_err(StartError::Listen)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(StartError::Signals)?;
    let (mut rings, writer) = if snapshot.access_log.enabled {
        let (rings, drain) = log_ring::rings(SHARDS);
        let out = super::log::stdout().map_err(StartError::Log)?;
        (rings, Some(LogWriter::spawn(drain, out).map_err(StartError::Log)?))
    } else {
        (Vec::new(), None)
    };
    let (ended, ends) = mpsc::channel();
    let mut workers = Vec::new();
    for index in 0..SHARDS {
        let (worker, addresses) = start(index, snapshot, rings.pop(), ended.clone())?;
        workers.push(worker);
        for (name, address) in addresses {
            eprintln!("shardgate: listening on {address} ({name})");
        }
    }
    let handle = signals.handle();
    let watch = move || {
        // A shard that ends before it was told to takes the process with it.
        let _ended = ends.recv();
        handle.close();
    };
    let watcher = std::thread::Builder::new().name("watch".to_owned()).spawn(watch).map_err(StartError::Thread)?;
    let mut patience = None;
    for _ in signals.forever() {
        // Whoever asks twice does not want to wait.
        let drain = patience.map_or(snapshot.drain_timeout, |_| Duration::ZERO);
        patience = Some(drain);
        eprintln!("shardgate: draining for {} ms at most", drain.as_millis());
        for worker in &workers {
            // A full mailbox holds the same message already.
            let _full = worker.outbox.post(Mail::Drain { patience: drain });
        }
    }
    let healthy = join(workers);
    drop(ended);
    // It waits for the shards alone, and they have ended.
    let _panicked = watcher.join();
    if let Some(writer) = writer {
        writer.finish(LOG_PATIENCE);
    }
    if patience.is_some() && healthy { Ok(()) } else { Err(StartError::ShardEnded) }
}

fn join(workers: Vec<Worker>) -> bool {
    let mut healthy = true;
    let mut counters = Counters::default();
    for worker in workers {
        match worker.thread.join() {
            Ok(Ok(of_shard)) => counters.merge(&of_shard),
            Ok(Err(error)) => {
                eprintln!("shardgate: a shard's event loop failed: {error}");
                healthy = false;
            }
            Err(_) => healthy = false,
        }
    }
    let (served, panics) = (counters.requests_total, counters.exchange_panics);
    eprintln!(
        "shardgate: served {served} requests, {panics} panicked, {} log lines dropped",
        counters.log_lines_dropped
    );
    healthy
}

/// A shard's thread and where it listens.
type Started = (Worker, Vec<(String, SocketAddr)>);

fn start(
    index: usize,
    snapshot: &Snapshot,
    log: Option<LogRing>,
    ended: mpsc::Sender<()>,
) -> Result<Started, StartError> {
    let (ready, is_ready) = mpsc::channel();
    let plan = snapshot.plan.clone();
    let listeners = snapshot.listeners.iter().map(|listener| (listener.name.clone(), listener.address)).collect();
    let seed = random_seed().map_err(StartError::Thread)?;
    let body = move || {
        let _ended = EndNotice(ended);
        let epoll = match Epoll::new() {
            Ok(epoll) => epoll,
            Err(error) => {
                let _gone = ready.send(Err(StartError::EventLoop(error)));
                return Err(error);
            }
        };
        let (outbox, inbox) = mailbox(MAILBOX_MESSAGES, Some(epoll.bell()));
        let runtime = Runtime::new(Driver::Epoll(Box::new(epoll)), plan.limits.receive_bytes_max);
        let (mut shard, addresses) = match Shard::new(Parts { runtime, plan, listeners, log, seed, inbox }) {
            Ok(started) => started,
            Err(error) => {
                let failed = error.error;
                let _gone = ready.send(Err(StartError::Listen(error)));
                return Err(failed);
            }
        };
        let _gone = ready.send(Ok((outbox, addresses)));
        shard.run()?;
        Ok(shard.counters())
    };
    let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(body).map_err(StartError::Thread)?;
    match is_ready.recv() {
        Ok(Ok((outbox, addresses))) => Ok((Worker { thread, outbox }, addresses)),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(StartError::ShardEnded),
    }
}

/// Says that a shard has ended, in a panic too.
struct EndNotice(mpsc::Sender<()>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens any more when the whole gateway ends.
        let _gone = self.0.send(());
    }
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
    let wanted = 2 * snapshot.plan.limits.connections_max as u64 + DESCRIPTORS_OWN;
    if allowed < wanted {
        eprintln!(
            "shardgate: warning: open files are limited to {allowed}, and limits.connections_max needs {wanted}: \
             raise the limit (`ulimit -n {wanted}`, systemd's LimitNOFILE) or lower limits.connections_max"
        );
    }
}

fn random_seed() -> Result<u64, std::io::Error> {
    use std::io::Read;
    let mut seed = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(u64::from_ne_bytes(seed))
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

/// One until the control thread can share a node's limits among several.
const SHARDS: usize = 1;
const MAILBOX_MESSAGES: usize = 16;
/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// `EADDRINUSE` and `EACCES` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;

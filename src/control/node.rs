//! A running gateway, seen from its control thread: how it starts, what it hears, and how it ends.

use super::admin;
use super::clock::clocks;
use super::cpus::{Cpus, give_way};
use super::listeners::{self, Changes};
use super::log::LogWriter;
use super::status::Status;
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
use crate::telemetry::report::{self, Reports};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
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
    tokio::task::LocalSet::new().block_on(&runtime, Node::run(snapshot, source))
}

/// What the control thread keeps.
struct Node {
    source: Source,
    snapshot: Snapshot,
    workers: Workers,
    writer: LogWriter,
    reports: Reports,
    status: Rc<RefCell<Status>>,
    phase: Phase,
    generation: u64,
    /// Plans that a shard may still go by, and their generation: whoever drops one last frees it, and that is not to be
    /// a shard.
    retired: VecDeque<(u64, Arc<Plan>)>,
}

/// ```text
///   Serving --told to end--> Leaving (still accepts, says that it is not ready) --delay over--> Draining
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Serving,
    Leaving { at: Instant },
    Draining,
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
        let admin = match snapshot.admin {
            Some(address) => Some(admin_socket(address).await?),
            None => None,
        };
        let (logs, drain) = log_ring::rings(shards);
        let (reporters, reports) = report::reports(shards);
        let out = super::log::stdout().map_err(StartError::Log)?;
        let writer = LogWriter::spawn(drain, out).map_err(StartError::Log)?;
        let (on_end, mut ended) = mpsc::unbounded_channel();
        let listeners = listen(snapshot.listeners.iter(), shards).map_err(StartError::Listen)?;
        let pins = cpus.pinning(options.pin, shards);
        let beginning = Beginning {
            plan: snapshot.plan.clone(),
            listeners,
            logs,
            reporters,
            event_loop: event_loop.clone(),
            pins,
            on_end,
        };
        let (workers, addresses) = Workers::start(shards, beginning)?;
        // Only now: threads inherit the niceness of the one that starts them.
        give_way();
        for (name, address) in addresses.iter().take(snapshot.listeners.len()) {
            eprintln!("shardgate: listening on {address} ({name})");
        }
        let status = Status::new(event_loop, workers.board.clone(), &snapshot, clocks().wall, clocks().now);
        let status = Rc::new(RefCell::new(status));
        if let Some((listener, address)) = admin {
            eprintln!("shardgate: admin on {address}");
            tokio::task::spawn_local(admin::serve(listener, status.clone()));
        }
        let mut node = Self {
            source,
            snapshot,
            workers,
            writer,
            reports,
            status,
            generation: 0,
            retired: VecDeque::new(),
            phase: Phase::Serving,
        };
        let mut chores = tokio::time::interval(CHORES_INTERVAL);
        let mut left = shards;
        while left > 0 {
            tokio::select! {
                _ = ended.recv() => {
                    left -= 1;
                    if node.phase == Phase::Serving {
                        break;
                    }
                }
                _ = terminate.recv() => node.shut_down(),
                _ = interrupt.recv() => node.shut_down(),
                _ = reload.recv() => node.reload(),
                _ = chores.tick() => node.chores(),
            }
        }
        node.finish()
    }

    /// Waits for the threads to end, which they have been told to.
    fn finish(mut self) -> Result<(), StartError> {
        let told = self.phase != Phase::Serving;
        if !told {
            // The others cannot do what that one did.
            self.end(Duration::ZERO);
        }
        let healthy = self.workers.finish(told);
        self.writer.finish(LOG_PATIENCE);
        if healthy { Ok(()) } else { Err(StartError::ShardEnded) }
    }

    fn reload(&mut self) {
        let Source { file, ids } = &mut self.source;
        match load(file, ids) {
            Ok(snapshot) => match self.apply(snapshot) {
                Ok(()) => eprintln!("shardgate: configuration {} is in force", self.generation),
                Err(failed) => self.reject(StartError::Listen(failed).to_string()),
            },
            Err(problems) => self.reject(problems.to_string()),
        }
    }

    fn reject(&self, why: String) {
        eprintln!("shardgate: the configuration in force stays: {}", why.trim_end());
        self.status.borrow_mut().rejected(why);
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
        self.status.borrow_mut().applied(self.generation, &snapshot, clocks().wall);
        self.snapshot = snapshot;
        Ok(())
    }

    fn chores(&mut self) {
        if let Phase::Leaving { at } = self.phase
            && clocks().now >= at
        {
            self.drain(self.snapshot.drain_timeout);
        }
        let mut status = self.status.borrow_mut();
        for _ in 0..REPORTS_MAX {
            let Some(mut report) = self.reports.next() else { break };
            status.told(&mut report);
            self.reports.give_back(report);
        }
        status.log_lines_lost = self.writer.lines_lost();
        drop(status);
        self.workers.deliver();
        let oldest = self.workers.board.oldest_generation();
        while self.retired.pop_front_if(|(generation, _)| *generation < oldest).is_some() {}
    }

    /// The signal to end. Not ready from now on; the listeners stop when the delay is over. Whoever asks twice does not
    /// want to wait.
    fn shut_down(&mut self) {
        self.status.borrow_mut().draining = true;
        let delay = self.snapshot.shutdown_delay.unwrap_or_else(usual_delay);
        match self.phase {
            Phase::Serving if !delay.is_zero() => {
                eprintln!("shardgate: accepting for {} ms more", delay.as_millis());
                self.phase = Phase::Leaving { at: clocks().now + delay };
            }
            Phase::Serving | Phase::Leaving { .. } => self.drain(self.snapshot.drain_timeout),
            Phase::Draining => self.drain(Duration::ZERO),
        }
    }

    fn drain(&mut self, patience: Duration) {
        eprintln!("shardgate: draining for {} ms at most", patience.as_millis());
        self.phase = Phase::Draining;
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        for shard in 0..self.workers.len() {
            self.workers.tell(shard, Mail::Drain { patience, stop: Stop::Dry });
        }
    }
}

async fn admin_socket(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|error: std::io::Error| {
        let error = rustix::io::Errno::from_io_error(&error).map_or(Error::Exhausted, Error::from);
        StartError::Listen(ListenError { name: "admin".to_owned(), address, error })
    })
}

/// Kubernetes goes on sending for a while to a pod that it has told to end.
#[expect(clippy::disallowed_methods, reason = "where the gateway runs is what the environment is for")]
fn usual_delay() -> Duration {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { KUBERNETES_DELAY } else { Duration::ZERO }
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

const KUBERNETES_DELAY: Duration = Duration::from_secs(5);
/// Reports that are read before anything else has a turn.
const REPORTS_MAX: usize = 1024;
/// How often it is seen to what nobody waits for.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);
/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// `EADDRINUSE` and `EACCES` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;

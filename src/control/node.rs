//! A running gateway, seen from its control thread: how it starts, what it hears, and how it ends.

use super::admin;
use super::clock::clocks;
use super::cpus::{Cpus, give_way};
use super::listeners::{self, Changes};
use super::log::LogWriter;
use super::source::{News, Source};
use super::start::{StartError, admin_socket, claim, listen, raise_descriptor_limit};
use super::status::Status;
use super::watch::Watch;
use super::workers::{Beginning, Workers};
use crate::config::diff::Diff;
use crate::config::problem::Problems;
use crate::config::snapshot::{Listener, Snapshot};
use crate::proxy::Plan;
use crate::runtime::Stop;
use crate::runtime::driver::choice::Choice;
use crate::shard::{ListenError, Mail, Publication};
use crate::telemetry::log_ring;
use crate::telemetry::report::{self, Reports};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Runs the gateway until it is told to end and has drained.
pub fn run(source: Source) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Control)?;
    tokio::task::LocalSet::new().block_on(&runtime, Node::run(source))
}

/// What the control thread keeps.
struct Node {
    source: Source,
    /// What the file said when it was put in force.
    text: String,
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
    async fn run(mut source: Source) -> Result<(), StartError> {
        let beginning = source.begin().map_err(StartError::Configuration)?;
        let snapshot = beginning.snapshot;
        raise_descriptor_limit(&snapshot);
        snapshot.listeners.iter().try_for_each(claim).map_err(StartError::Listen)?;
        let mut signals = Signals::new().map_err(StartError::Signals)?;
        let mut watch = Watch::new(&source.file);
        let admin = match snapshot.admin {
            Some(address) => Some(admin_socket(address).await?),
            None => None,
        };
        let event_loop = Choice::make(snapshot.runtime.event_loop).map_err(StartError::EventLoop)?;
        let (started, mut ended) = start_shards(&snapshot, &event_loop)?;
        // Only now: threads inherit the niceness of the one that starts them.
        give_way();
        let Started { workers, writer, reports } = started;
        let status = Status::new(event_loop, workers.board.clone(), &snapshot, clocks().wall, clocks().now);
        let status = Rc::new(RefCell::new(status));
        if let Some((listener, address)) = admin {
            eprintln!("shardgate: admin on {address}");
            tokio::task::spawn_local(admin::serve(listener, status.clone()));
        }
        let (text, retired) = (beginning.text, VecDeque::new());
        let phase = Phase::Serving;
        let mut node = Self { source, text, snapshot, workers, writer, reports, status, generation: 0, retired, phase };
        node.begun(beginning.from_last_good);
        let mut chores = tokio::time::interval(CHORES_INTERVAL);
        let mut left = node.workers.len();
        while left > 0 {
            tokio::select! {
                _ = ended.recv() => {
                    left -= 1;
                    if node.phase == Phase::Serving {
                        break;
                    }
                }
                signal = signals.next() => match signal {
                    Heard::End => node.shut_down(),
                    Heard::Reload => node.look(true).await,
                },
                () = watch.changed() => node.look(false).await,
                _ = chores.tick() => node.chores(),
            }
        }
        node.finish()
    }

    /// The gateway serves with what it has begun with.
    fn begun(&mut self, from_last_good: Option<Problems>) {
        match from_last_good {
            Some(problems) => {
                eprintln!("shardgate: beginning with the last good configuration: {}", line(&problems));
                let configuration = &mut self.status.borrow_mut().configuration;
                (configuration.from_last_good, configuration.error) = (true, Some(line(&problems)));
            }
            None => self.keep(),
        }
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

    /// Looks at the file, and puts what it says in force if that is new and good. `asked`: somebody waits for an answer.
    async fn look(&mut self, asked: bool) {
        match self.source.look(&self.text).await {
            News::Nothing if asked => eprintln!("shardgate: the configuration has not changed"),
            News::Nothing => {}
            News::Good(snapshot, text) => {
                let diff = Diff::between(&self.snapshot, &snapshot);
                match self.apply(*snapshot) {
                    Ok(()) => {
                        let restart = if diff.needs_restart() { "; some of it at the next start" } else { "" };
                        eprintln!(
                            "shardgate: configuration {} is in force: {}{restart}",
                            self.generation,
                            diff.summary()
                        );
                        self.text = text;
                        self.keep();
                    }
                    Err(failed) => self.reject(StartError::Listen(failed).to_string()),
                }
            }
            News::Bad(problems) => self.reject(problems.to_string()),
            News::Unreadable(problems) => self.reject(line(&problems)),
        }
    }

    /// Says once why what the file says is not in force.
    fn reject(&self, why: String) {
        let mut status = self.status.borrow_mut();
        if status.configuration.error.as_ref() != Some(&why) {
            eprintln!("shardgate: the configuration in force stays: {}", why.trim_end());
            status.rejected(why);
        }
    }

    fn keep(&self) {
        let kept = self.source.keep(&self.text, &self.snapshot);
        let configuration = &mut self.status.borrow_mut().configuration;
        configuration.keeping_error = kept.err();
        if let Some(error) = &configuration.keeping_error {
            configuration.keeping_failed += 1;
            eprintln!("shardgate: warning: {error}");
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

/// The threads, and what comes from them.
struct Started {
    workers: Workers,
    writer: LogWriter,
    reports: Reports,
}

/// Starts the shards and the log writer. Also returns where the end of each shard is told.
fn start_shards(
    snapshot: &Snapshot,
    event_loop: &Choice,
) -> Result<(Started, mpsc::UnboundedReceiver<()>), StartError> {
    eprintln!("shardgate: event loop {}: {}", event_loop.name(), event_loop.reason);
    let (options, cpus) = (snapshot.runtime, Cpus::read());
    let shards = cpus.shards(options.shards);
    let (logs, drain) = log_ring::rings(shards);
    let (reporters, reports) = report::reports(shards);
    let out = super::log::stdout().map_err(StartError::Log)?;
    let writer = LogWriter::spawn(drain, out).map_err(StartError::Log)?;
    let (on_end, ended) = mpsc::unbounded_channel();
    let beginning = Beginning {
        plan: snapshot.plan.clone(),
        listeners: listen(snapshot.listeners.iter(), shards).map_err(StartError::Listen)?,
        logs,
        reporters,
        event_loop: event_loop.clone(),
        pins: cpus.pinning(options.pin, shards),
        on_end,
    };
    let (workers, addresses) = Workers::start(shards, beginning)?;
    for (name, address) in addresses.iter().take(snapshot.listeners.len()) {
        eprintln!("shardgate: listening on {address} ({name})");
    }
    Ok((Started { workers, writer, reports }, ended))
}

/// The signals that the gateway obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Heard {
    End,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::End,
            _ = self.interrupt.recv() => Heard::End,
            _ = self.hangup.recv() => Heard::Reload,
        }
    }
}

/// The first problem, for where there is one line.
fn line(problems: &Problems) -> String {
    problems.list.first().map_or_else(String::new, ToString::to_string)
}

/// Kubernetes goes on sending for a while to a pod that it has told to end.
#[expect(clippy::disallowed_methods, reason = "where the gateway runs is what the environment is for")]
fn usual_delay() -> Duration {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { KUBERNETES_DELAY } else { Duration::ZERO }
}

const KUBERNETES_DELAY: Duration = Duration::from_secs(5);
/// Reports that are read before anything else has a turn.
const REPORTS_MAX: usize = 1024;
/// How often it is seen to what nobody waits for.
const CHORES_INTERVAL: Duration = Duration::from_millis(250);
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

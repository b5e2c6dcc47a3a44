//! A running gateway, seen from its control thread: how it starts, what it hears, and how it ends.

mod begin;
mod fallback;
mod keep;
mod reload;
mod succession;

use self::begin::{Started, start_where_possible};
use self::keep::Keeping;
use self::reload::{Done, Looking};
use super::admin;
use super::clock::clocks;
use super::cpus::{Cpus, give_way};
use super::handover::{self, Asked, Refused};
use super::journal;
use super::jwks::Issuers;
use super::log::LogWriter;
use super::notify::Notify;
use super::nursery::Nursery;
use super::sharing::link::Link;
use super::signals::{Heard, Signals};
use super::sockets::Sockets;
use super::source::{Known, Look, Source};
use super::start::{StartError, inherited, raise_descriptor_limit};
use super::status::{Status, authentication};
use super::warnings::Warnings;
use super::watch::Watch;
use super::workers::{Workers, random_seed};
use crate::config::problem::Problems;
use crate::config::snapshot::Snapshot;
use crate::control::journal::say;
use crate::proxy::Plan;
use crate::runtime::Stop;
use crate::shard::Mail;
use crate::stdx::ledger::Ledger;
use crate::telemetry::report::Reports;
use rustix::process::getuid;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Runs the gateway until it is told to end and has drained.
pub fn run(source: Source) -> Result<(), StartError> {
    // Before anything is opened that could have one of their numbers.
    let inherited = inherited();
    journal::begin().map_err(StartError::Control)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Control)?;
    let ended = tokio::task::LocalSet::new().block_on(&runtime, Node::run(source, inherited));
    // A look at the file may still wait for a resolver or a disk that does not answer.
    runtime.shutdown_background();
    ended
}

/// What the control thread keeps.
struct Node {
    source: Source,
    /// What the file was when that was put in force; `None` while something else is.
    known: Option<Known>,
    /// One look at the file at a time.
    looking: Option<Looking>,
    keeping: Option<Keeping>,
    snapshot: Snapshot,
    sockets: Sockets,
    nursery: Nursery,
    workers: Workers,
    writer: LogWriter,
    reports: Reports,
    issuers: Issuers,
    link: Link,
    status: Rc<RefCell<Status>>,
    /// What serves the admin listener.
    admin: Option<JoinHandle<()>>,
    notify: Notify,
    warnings: Warnings,
    phase: Phase,
    generation: u64,
    /// Plans that a shard may still go by, and their generation: whoever drops one last frees it, and that is not to be
    /// a shard.
    retired: VecDeque<(u64, Arc<Plan>)>,
}

/// Whom others are asked by before the first request comes, and what it was for.
struct AskedFirst {
    issuers: Issuers,
    link: Link,
    /// Of limits that nodes share, if there are any.
    ledger: Option<Arc<Ledger>>,
}

/// ```text
///   Serving --told to end--> Leaving (still accepts, says that it is not ready) --delay over--> Draining
///     | ^                                                                                          ^
///     | +--the other one gave up--+                                                                |
///     +--another process asks--> HandingOver (accepts no more, keeps the sockets) --it accepts-----+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Serving,
    Leaving { at: Instant },
    HandingOver,
    Draining,
}

impl Node {
    async fn run(mut source: Source, inherited: Vec<OwnedFd>) -> Result<(), StartError> {
        let beginning = source.begin().map_err(StartError::Configuration)?;
        raise_descriptor_limit(&beginning.snapshot);
        let mut signals = Signals::new().map_err(StartError::Signals)?;
        let mut watch = Watch::new();
        watch.follow(source.folders(&beginning.known.named));
        let (tell, mut asked) = mpsc::unbounded_channel();
        let (mut issuers, mut keys) = Issuers::new();
        issuers.configure(&beginning.snapshot);
        issuers.begin(&beginning.keys, &mut keys).await;
        let mut link = Link::new(random_seed()?);
        let shards = Cpus::read().shards(beginning.snapshot.runtime.shards);
        let ledger = link.begin(&beginning.snapshot, shards, random_seed()?).await;
        let asked_first = AskedFirst { issuers, link, ledger };
        let started = Self::start(source, beginning.snapshot, beginning.known, asked_first, inherited, tell)?;
        let (mut node, mut ended) = started;
        node.begun(beginning.from_last_good);
        let mut chores = tokio::time::interval(CHORES_INTERVAL);
        let mut left = node.workers.len();
        while left > 0 {
            tokio::select! {
                shard = ended.recv() => match node.fall_back(shard) {
                    Some(anew) => (ended, left) = (anew, node.workers.len()),
                    None if node.phase == Phase::Draining => left -= 1,
                    None => break,
                },
                signal = signals.next() => match signal {
                    Heard::End => node.shut_down(),
                    Heard::Reload => node.look(true),
                },
                () = watch.changed() => node.look(false),
                done = node.done() => match done {
                    Done::Looked(Look { news, folders }) => {
                        folders.into_iter().for_each(|folders| watch.follow(folders));
                        node.reload(news);
                    }
                    Done::Kept(kept) => node.kept(kept),
                },
                Some(asked) = asked.recv() => node.handed_over(asked).await,
                Some(answer) = keys.recv() => {
                    if node.issuers.answered(answer) {
                        node.workers.publish_keys(&node.issuers.book());
                        node.keep_keys();
                    }
                }
                _ = chores.tick() => node.chores(),
            }
        }
        node.keep_last().await;
        node.finish().await
    }

    /// Takes over from another process if one runs, starts the shards, and only then lets that one go.
    fn start(
        source: Source,
        snapshot: Snapshot,
        known: Known,
        AskedFirst { issuers, link, ledger }: AskedFirst,
        mut inherited: Vec<OwnedFd>,
        tell: mpsc::UnboundedSender<Asked>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<usize>), StartError> {
        announce(&snapshot);
        let nursery = Nursery::new().map_err(StartError::Thread)?;
        give_way();
        let (old, control) = match source.control.as_deref().map(|path| handover::take(path, getuid())).transpose() {
            Ok(taken) => (taken.flatten(), source.control.clone()),
            // The other one goes on, and so does this one, alone.
            Err(stranger @ Refused::Stranger(_)) => {
                say!(Warn, "{stranger}");
                (None, None)
            }
            Err(failed) => return Err(StartError::Handover(failed)),
        };
        let stranger = control.is_none() && source.control.is_some();
        let old = old.map(|taken| {
            inherited.extend(taken.sockets);
            taken.old
        });
        let mut sockets = Sockets::new(inherited);
        let admin = snapshot.admin.map(|address| sockets.admin(address)).transpose().map_err(StartError::Listen)?;
        let shards = ledger.as_ref().map_or_else(|| Cpus::read().shards(snapshot.runtime.shards), |of| of.shards());
        let (Started { workers, writer, reports }, ended, event_loop) =
            start_where_possible(&nursery, shards, &snapshot, &mut sockets, &issuers.book(), ledger)?;
        sockets.begun();
        let mut status = Status::new(event_loop, workers.board.clone(), &snapshot, clocks().wall, clocks().now);
        status.handovers_failed += u64::from(stranger);
        let mut node = Self {
            source,
            known: Some(known),
            looking: None,
            keeping: None,
            snapshot,
            sockets,
            nursery,
            workers,
            writer,
            reports,
            issuers,
            link,
            status: Rc::new(RefCell::new(status)),
            admin: None,
            notify: Notify::from_environment(),
            warnings: Warnings::default(),
            phase: Phase::Serving,
            generation: 0,
            retired: VecDeque::new(),
        };
        if let Some(address) = admin {
            say!(Info, "admin on {address}");
            node.serve_admin();
        }
        node.succeed(old, control.as_deref(), tell)?;
        Ok((node, ended))
    }

    fn serve_admin(&mut self) {
        if let Some(listener) = self.sockets.admin_listener() {
            self.admin = Some(tokio::task::spawn_local(admin::serve(listener, self.status.clone())));
        }
    }

    /// The gateway serves with what it has begun with.
    fn begun(&mut self, from_last_good: Option<Problems>) {
        match from_last_good {
            Some(problems) => {
                say!(Error, "beginning with the last good configuration: {}", line(&problems));
                let configuration = &mut self.status.borrow_mut().configuration;
                (configuration.from_last_good, configuration.error) = (true, Some(line(&problems)));
                // Whatever the file says once it can be read is news: other names' addresses, another profile.
                self.known = None;
            }
            None => self.keep(),
        }
        self.notify.ready();
    }

    /// Waits for the threads to end, which they have been told to.
    async fn finish(mut self) -> Result<(), StartError> {
        let told = self.phase == Phase::Draining;
        if !told {
            // The others cannot do what that one did.
            self.end(Duration::ZERO);
        }
        let healthy = self.workers.finish(told);
        self.link.end().await;
        self.writer.finish(LOG_PATIENCE);
        if healthy { Ok(()) } else { Err(StartError::ShardEnded) }
    }

    fn chores(&mut self) {
        if let Phase::Leaving { at } = self.phase
            && clocks().now >= at
        {
            self.drain(self.snapshot.drain_timeout);
        }
        self.watch_look();
        let mut status = self.status.borrow_mut();
        for _ in 0..REPORTS_MAX {
            let Some(mut report) = self.reports.next() else { break };
            status.told(&mut report);
            self.issuers.wanted(&std::mem::take(&mut report.keys_wanted));
            self.reports.give_back(report);
        }
        status.log_lines_lost += self.writer.take_lines_lost();
        status.issuers = self.issuers.status();
        status.sharing = self.link.stats();
        let authentication = authentication(&status.counters());
        status.authentication.sample(clocks().mono, authentication);
        self.issuers.ask();
        let alive = status.is_alive(clocks().mono);
        for warning in self.warnings.due(&status, clocks().now) {
            say!(Warn, "{warning}");
        }
        drop(status);
        self.notify.alive(alive);
        self.workers.deliver();
        if let Some(ledger) = self.workers.board.ledger() {
            ledger.write_off_when_recalled(clocks().mono);
        }
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
                say!(Info, "accepting for {} ms more", delay.as_millis());
                self.phase = Phase::Leaving { at: clocks().now + delay };
            }
            Phase::Serving | Phase::HandingOver | Phase::Leaving { .. } => self.drain(self.snapshot.drain_timeout),
            Phase::Draining => self.drain(Duration::ZERO),
        }
    }

    fn drain(&mut self, patience: Duration) {
        say!(Info, "draining for {} ms at most", patience.as_millis());
        self.phase = Phase::Draining;
        self.end(patience);
    }

    fn end(&mut self, patience: Duration) {
        self.notify.stopping();
        // What the shards hold is the last of each socket.
        self.sockets.close_all();
        self.workers.tell_all(|| Mail::Drain { patience, stop: Stop::Dry });
    }
}

/// Says of a configuration that begins to be in force what nobody should overlook.
fn announce(snapshot: &Snapshot) {
    journal::set_level(snapshot.log_level);
    if snapshot.plan.settings.bypass_local {
        // Whatever the level.
        say!(
            Error,
            "authentication.bypass_local is on: whoever asks from this machine itself is let on without a credential; \
             never do this where others can reach it"
        );
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
/// How long the disk may take for what is kept, once the shards have ended.
const KEEP_PATIENCE: Duration = Duration::from_secs(2);
/// How long the log may take to be written once the shards have ended.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

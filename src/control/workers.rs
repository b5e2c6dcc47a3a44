//! The shards' threads: how they start, how they are told, and how they end.
//!
//! ```text
//!   thread 0 .. N-1                     control
//!     event loop, its bell  ------->  mailboxes between all of them
//!     shard               <---------  listeners, plan, mailboxes
//!     addresses             ------->  the gateway runs
//! ```

use super::clock::clocks;
use super::cpus;
use super::start::StartError;
use crate::control::journal::say;
use crate::policy::jwt::jwks::KeyBook;
use crate::policy::{Answer, Question};
use crate::proxy::Plan;
use crate::runtime::calls::{Asked, Calls};
use crate::runtime::driver::choice::Choice;
use crate::runtime::mailbox::{Bell, Latest, Outbox, mailbox};
use crate::runtime::pages::prefer_large;
use crate::runtime::{Error, Runtime};
use crate::shard::{Listen, Mail, Parts, Publication, Shard};
use crate::stdx::board::Board;
use crate::stdx::ledger::Ledger;
use crate::telemetry::counters::Counters;
use crate::telemetry::log_ring::LogRing;
use crate::telemetry::report::Reporter;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc::UnboundedSender;

/// All shards of this process.
pub struct Workers {
    pub board: Arc<Board>,
    workers: Vec<Worker>,
}

/// What the shards begin with.
pub struct Beginning {
    pub plan: Arc<Plan>,
    /// Those that were fetched.
    pub keys: KeyBook,
    /// Where policies of all shards ask.
    pub questions: Outbox<Asked<Question, Answer>>,
    /// Of each shard.
    pub listeners: Vec<Vec<Listen>>,
    /// Of each shard, or none.
    pub logs: Vec<LogRing>,
    pub reporters: Vec<Reporter>,
    pub event_loop: Choice,
    /// The CPU of each shard, or none.
    pub pins: Vec<usize>,
    /// What is there already: that of the shards before, if these begin anew.
    pub ledger: Option<Arc<Ledger>>,
    /// Told which shard has ended, in a panic too.
    pub on_end: UnboundedSender<usize>,
}

/// One shard's thread and where it is reached.
struct Worker {
    /// Until it has ended.
    thread: Option<JoinHandle<End>>,
    end: thread::Result<End>,
    outbox: Outbox<Mail>,
    /// What its mailbox has no room for yet.
    waiting: VecDeque<Mail>,
    publications: Latest<Publication>,
    keys: Latest<KeyBook>,
}

/// A thread that has an event loop, or will have, and waits for the rest of its shard.
struct Thread {
    handle: JoinHandle<End>,
    bell: mpsc::Receiver<Result<Arc<Bell>, StartError>>,
    parts: mpsc::Sender<Parts>,
    started: mpsc::Receiver<Result<Addresses, StartError>>,
}

/// What a shard has done, or how its event loop failed.
type End = Result<Counters, Error>;

/// Names of listeners, and where they listen.
pub type Addresses = Vec<(String, SocketAddr)>;

impl Workers {
    /// Starts them all, and says where they listen.
    pub fn start(shards: usize, beginning: Beginning) -> Result<(Self, Addresses), StartError> {
        let Beginning { plan, keys: book, questions, listeners, logs, reporters, .. } = beginning;
        let Beginning { event_loop, pins, ledger, on_end, .. } = beginning;
        let board = Board::new(shards, random_seed()?, HANDOFF_MARGIN_MIN).preparing(prefer_large);
        let board = Arc::new(match ledger {
            Some(ledger) => board.with(ledger),
            None => board,
        });
        board.limit(&plan.limits, clocks().mono);
        let receive_bytes_max = plan.settings.limits.receive_bytes_max;
        let spawn = |shard: usize| {
            let (pin, on_end) = (pins.get(shard).copied(), on_end.clone());
            Thread::spawn(shard, event_loop.clone(), receive_bytes_max, pin, on_end)
        };
        let threads = (0..shards).map(spawn).collect::<Result<Vec<_>, _>>()?;
        let bells = threads.iter().map(Thread::bell).collect::<Result<Vec<_>, _>>()?;
        let handoffs = bells.iter().map(|bell| mailbox(HANDOFFS_MAX, Some(bell.clone())));
        let (peers, inboxes): (Vec<_>, Vec<_>) = handoffs.unzip();
        let (mut workers, mut logs, mut reporters) = (Vec::new(), logs.into_iter(), reporters.into_iter());
        for (shard, ((bell, listeners), handoffs)) in bells.into_iter().zip(listeners).zip(inboxes).enumerate() {
            let (outbox, inbox) = mailbox(MAIL_MAX, Some(bell.clone()));
            let (publications, keys) = (Latest::new(Some(bell.clone())), Latest::new(Some(bell.clone())));
            let _empty_before = keys.publish(book.clone());
            let parts = Parts {
                shard,
                board: board.clone(),
                plan: plan.clone(),
                listeners,
                log: logs.next(),
                seed: random_seed()?,
                inbox,
                handoffs,
                peers: peers.clone(),
                publications: publications.clone(),
                keys: keys.clone(),
                calls: Calls::new(questions.clone(), Some(bell)),
                reporter: reporters.next(),
            };
            threads[shard].parts.send(parts).map_err(|_| StartError::ShardEnded)?;
            workers.push((outbox, publications, keys));
        }
        let mut addresses = Vec::new();
        for thread in &threads {
            addresses.extend(thread.started.recv().map_err(|_| StartError::ShardEnded)??);
        }
        let join = |(thread, (outbox, publications, keys)): (Thread, _)| Worker {
            thread: Some(thread.handle),
            end: Ok(Ok(Counters::default())),
            outbox,
            waiting: VecDeque::new(),
            publications,
            keys,
        };
        Ok((Self { board, workers: threads.into_iter().zip(workers).map(join).collect() }, addresses))
    }

    /// Gives one shard a message, as soon as its mailbox has room.
    pub fn tell(&mut self, shard: usize, mail: Mail) {
        self.workers[shard].waiting.push_back(mail);
        self.deliver();
    }

    pub fn tell_all(&mut self, mail: impl Fn() -> Mail) {
        (0..self.len()).for_each(|shard| self.tell(shard, mail()));
    }

    /// Gives each shard what it is to accept on.
    pub fn listen(&mut self, of_shards: Vec<Vec<Listen>>) {
        for (shard, listens) in of_shards.into_iter().enumerate() {
            listens.into_iter().for_each(|listen| self.tell(shard, Mail::Listen(listen)));
        }
    }

    /// Delivers what has waited for room.
    pub fn deliver(&mut self) {
        for worker in &mut self.workers {
            while let Some(mail) = worker.waiting.pop_front() {
                if let Err(mail) = worker.outbox.post(mail) {
                    worker.waiting.push_front(mail);
                    break;
                }
            }
        }
    }

    /// From now on requests meet this plan.
    pub fn publish(&self, publication: &Publication) {
        self.board.limit(&publication.plan.limits, clocks().mono);
        for worker in &self.workers {
            // What nobody has read is older.
            let _displaced = worker.publications.publish(publication.clone());
        }
    }

    /// From now on tokens are verified with these.
    pub fn publish_keys(&self, book: &KeyBook) {
        for worker in &self.workers {
            let _displaced = worker.keys.publish(book.clone());
        }
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// How the event loop of a shard that has ended failed; `None` if it did not.
    pub fn failure_of(&mut self, shard: usize) -> Option<Error> {
        self.workers[shard].join().as_ref().ok()?.as_ref().err().copied()
    }

    /// Waits for all of them, and says in one line what they did. False if one ended in another way than it was told.
    pub fn finish(self, told: bool) -> bool {
        let (mut counters, mut healthy) = (Counters::default(), told);
        for mut worker in self.workers {
            match worker.join() {
                Ok(Ok(of_shard)) => counters.merge(of_shard),
                Ok(Err(error)) => {
                    say!(Error, "a shard's event loop failed: {error}");
                    healthy = false;
                }
                Err(_) => healthy = false,
            }
        }
        let (served, panics) = (counters.requests_total, counters.exchange_panics);
        let dropped = counters.log_lines_dropped;
        say!(Info, "served {served} requests, {panics} panicked, {dropped} log lines dropped");
        healthy
    }
}

impl Worker {
    fn join(&mut self) -> &thread::Result<End> {
        if let Some(thread) = self.thread.take() {
            self.end = thread.join();
        }
        &self.end
    }
}

impl Thread {
    fn spawn(
        shard: usize,
        event_loop: Choice,
        receive_bytes_max: usize,
        pin: Option<usize>,
        on_end: UnboundedSender<usize>,
    ) -> Result<Self, StartError> {
        let (says_bell, bell) = mpsc::channel();
        let (parts, its_parts) = mpsc::channel();
        let (says_started, started) = mpsc::channel();
        let body = move || {
            let _ended = EndNotice(shard, on_end);
            if let Some(cpu) = pin
                && let Err(errno) = cpus::pin(cpu)
            {
                say!(Warn, "shard {shard} is not pinned to CPU {cpu}: {errno}");
            }
            // The event loop is made on the thread that uses it: a ring knows who its one submitter is.
            let driver = match event_loop.open() {
                Ok(driver) => driver,
                Err(error) => {
                    let _gone = says_bell.send(Err(StartError::EventLoop(error)));
                    return Err(error);
                }
            };
            let _gone = says_bell.send(driver.bell().ok_or(StartError::ShardEnded));
            let runtime = Runtime::new(driver, receive_bytes_max);
            // Nobody sends them if another thread could not start.
            let Ok(parts) = its_parts.recv() else { return Ok(Counters::default()) };
            let mut shard = match Shard::new(runtime, parts) {
                Ok((shard, addresses)) => {
                    let _gone = says_started.send(Ok(addresses));
                    shard
                }
                Err(failed) => {
                    let error = failed.error;
                    let _gone = says_started.send(Err(StartError::Listen(failed)));
                    return Err(error);
                }
            };
            shard.run()?;
            Ok(shard.counters())
        };
        let handle = std::thread::Builder::new().name(format!("shard-{shard}")).spawn(body);
        Ok(Self { handle: handle.map_err(StartError::Thread)?, bell, parts, started })
    }

    fn bell(&self) -> Result<Arc<Bell>, StartError> {
        self.bell.recv().map_err(|_| StartError::ShardEnded)?
    }
}

/// Says that a shard has ended, in a panic too.
struct EndNotice(usize, UnboundedSender<usize>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Nobody listens any more when the whole gateway ends.
        let _gone = self.1.send(self.0);
    }
}

pub fn random_seed() -> Result<u64, StartError> {
    use std::io::Read;
    let mut seed = [0; 8];
    let mut random = std::fs::File::open("/dev/urandom").map_err(StartError::Random)?;
    random.read_exact(&mut seed).map_err(StartError::Random)?;
    Ok(u64::from_ne_bytes(seed))
}

/// Messages of the control thread that a shard has not read.
const MAIL_MAX: usize = 64;
/// A shard serves what it accepts unless it has so many connections more than another, at least: a hand-off costs more
/// than a small difference.
const HANDOFF_MARGIN_MIN: u32 = 8;
/// Connections on their way to a shard.
const HANDOFFS_MAX: usize = 256;

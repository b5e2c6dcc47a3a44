//! The connection to Redis: does what [`Sharing`] says, on the control thread, and never blocks it.

use super::{CONNECT_TIMEOUT, Shared, Sharing, Stats, Step};
use crate::config::snapshot::Snapshot;
use crate::config::store::Server;
use crate::control::clock::clocks;
use crate::control::{journal, tls};
use crate::runtime::pages::prefer_large;
use crate::stdx::board::{Board, ledger};
use crate::stdx::ledger::Ledger;
use crate::stdx::time::Mono;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Of the control thread.
pub struct Link {
    sharing: Rc<RefCell<Sharing>>,
    /// Another configuration is in force, or there has been an answer.
    changed: Rc<Notify>,
    driving: Option<JoinHandle<()>>,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        let sharing = Rc::new(RefCell::new(Sharing::new(seed)));
        Self { sharing, changed: Rc::default(), driving: None }
    }

    /// What the shards are to begin with, if limits are shared: this node has a share, or a while has passed, so that
    /// the first request finds what it holds.
    pub async fn begin(&mut self, snapshot: &Snapshot, shards: usize, seed: u64) -> Option<Arc<Ledger>> {
        if snapshot.plan.shared.is_empty() {
            return None;
        }
        let ledger = ledger(shards, seed, prefer_large);
        self.configure_on(snapshot, &ledger);
        let answered = async {
            while self.stats().is_none_or(|stats| stats.holding.share == 0 && stats.failures == 0) {
                sleep(START_LOOK).await;
            }
        };
        // Who is late is asked again later.
        let _late = timeout(START_PATIENCE, answered).await;
        Some(ledger)
    }

    /// Goes by another configuration.
    pub fn configure(&mut self, snapshot: &Snapshot, board: &Board) {
        if self.driving.is_some() || !snapshot.plan.shared.is_empty() {
            self.configure_on(snapshot, board.ledger_made());
        }
    }

    pub fn stats(&self) -> Option<Stats> {
        self.sharing.borrow().stats()
    }

    /// The node ends, and leaves its share to the others.
    pub async fn end(self) {
        let Some(driving) = self.driving else { return };
        driving.abort();
        let said = self.sharing.borrow_mut().farewell();
        if let Some((server, bytes)) = said {
            // Who does not hear it finds out in a minute.
            let _late = timeout(END_PATIENCE, say(server, &bytes)).await;
        }
    }

    fn configure_on(&mut self, snapshot: &Snapshot, ledger: &Arc<Ledger>) {
        let limits = Shared::all(&snapshot.plan);
        let store = snapshot.store.as_ref().filter(|_| !limits.is_empty());
        self.sharing.borrow_mut().configure(store, limits, ledger, clocks().mono);
        self.changed.notify_one();
        let (sharing, ledger, changed) = (self.sharing.clone(), ledger.clone(), self.changed.clone());
        self.driving.get_or_insert_with(|| tokio::task::spawn_local(drive(sharing, ledger, changed)));
    }
}

async fn drive(sharing: Rc<RefCell<Sharing>>, ledger: Arc<Ledger>, changed: Rc<Notify>) {
    let mut line = Line::Down;
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let (step, news) = {
            let mut sharing = sharing.borrow_mut();
            (sharing.next(&ledger, clocks().mono), sharing.take_news())
        };
        news.iter().for_each(|(level, words)| journal::write(*level, format_args!("{words}")));
        let failed = match step {
            Step::Rest => {
                line = Line::Down;
                changed.notified().await;
                None
            }
            Step::Part(until) => {
                line = Line::Down;
                wait(until, &changed).await;
                None
            }
            Step::Connect(server) => {
                line = Line::Connecting(Box::pin(connect(server)));
                None
            }
            Step::Send(out) => match &mut line {
                // It has room for a round, unless the other side has not read for long.
                Line::Up(stream) => timeout(super::ANSWER_TIMEOUT, send(stream, &out))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .err()
                    .map(|error| format!("the connection is lost: {error}")),
                Line::Connecting(_) | Line::Down => Some("there is no connection".to_owned()),
            },
            Step::Listen(until) => match &mut line {
                Line::Connecting(connecting) => tokio::select! {
                    connected = connecting => match connected {
                        Ok(stream) => {
                            line = Line::Up(stream);
                            sharing.borrow_mut().connected(clocks().mono);
                            None
                        }
                        Err(error) => {
                            line = Line::Down;
                            Some(format!("it cannot be reached: {error}"))
                        }
                    },
                    () = wait(until, &changed) => None,
                },
                Line::Up(stream) => tokio::select! {
                    read = stream.read(&mut bytes) => match read {
                        Ok(0) => Some("it has closed the connection".to_owned()),
                        Ok(count) => {
                            sharing.borrow_mut().received(&bytes[..count], &ledger, clocks().mono);
                            None
                        }
                        Err(error) => Some(format!("the connection is lost: {error}")),
                    },
                    () = wait(until, &changed) => None,
                },
                Line::Down => Some("there is no connection".to_owned()),
            },
        };
        if let Some(why) = failed {
            sharing.borrow_mut().lost(&why, &ledger, clocks().mono);
        }
    }
}

/// To the store. While it is sought the keys of a node may have to begin to earn, so nothing waits for it alone.
enum Line {
    Down,
    Connecting(Pin<Box<dyn Future<Output = io::Result<Connection>>>>),
    Up(Connection),
}

/// Encrypted or not.
type Connection = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

async fn connect(server: Server) -> io::Result<Connection> {
    timeout(CONNECT_TIMEOUT, reach(&server)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn reach(Server { address, tls }: &Server) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host.trim_matches(['[', ']']));
    Ok(Box::new(tls::connect(stream, host, tls).await?))
}

/// What is encrypted has not left before it is flushed.
async fn send(stream: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// On a connection of its own: the other one may be in the middle of a round.
async fn say(server: Server, bytes: &[u8]) -> io::Result<()> {
    let mut stream = connect(server).await?;
    stream.write_all(bytes).await?;
    // It has been carried out when the last answer is there, which is the last command's.
    stream.shutdown().await?;
    let mut answers = Vec::new();
    stream.take(READ_BYTES as u64).read_to_end(&mut answers).await?;
    Ok(())
}

async fn wait(until: Mono, changed: &Notify) {
    let left = until.since(clocks().mono);
    tokio::select! {
        () = sleep(left.max(LEAST_WAIT)) => {}
        () = changed.notified() => {}
    }
}

const READ_BYTES: usize = 16 << 10;
/// Timers are no finer.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// How long the gateway waits for the store before it serves without it.
const START_PATIENCE: Duration = Duration::from_millis(500);
const START_LOOK: Duration = Duration::from_millis(2);
/// How long a node that ends waits for its share to be the others'.
const END_PATIENCE: Duration = Duration::from_millis(500);

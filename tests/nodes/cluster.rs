//! Several nodes and one Redis on virtual time: the gateway's own ledger and its own part of the talk, and between them
//! a network that delays, cuts and garbles.

use std::collections::VecDeque;
use std::time::Duration;

use shardgate::config::store::{self, OnFailure, Store};
use shardgate::control::sharing::shares::{Holding, SHARES};
use shardgate::control::sharing::{Shared, Sharing, Stats, Step};
use shardgate::stdx::ledger::{Algorithm, Charge, Leases, Ledger, Terms};
use shardgate::stdx::rng::Rng;
use shardgate::stdx::time::Mono;

use crate::model;
use crate::server::Server;

pub const MILLI: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLI;
const LIMIT: u16 = 1;
const SHARDS: usize = 2;

pub struct Cluster {
    pub server: Server,
    /// Those that died leave a gap.
    pub nodes: Vec<Option<Node>>,
    pub terms: Terms,
    /// Connections whose other end is gone; a server reads what had arrived on them.
    orphans: Vec<Connection>,
    pub network: Network,
    now: u64,
    rng: Rng,
    /// When requests were admitted, of each key.
    pub admitted: Vec<Vec<u64>>,
    pub asked: u64,
}

/// What lies between nodes and the server.
#[derive(Clone, Debug)]
pub struct Network {
    /// Nobody is listening.
    pub is_gone: bool,
    /// The server is there and does nothing.
    pub is_stuck: bool,
    /// One way.
    pub delay: u64,
    /// Nodes whose packets go nowhere.
    pub cut_off: Vec<usize>,
    /// Every answer is this instead.
    pub garbage: Option<Vec<u8>>,
}

pub struct Node {
    ledger: Ledger,
    shards: Vec<Leases>,
    sharing: Sharing,
    connection: Option<Connection>,
    /// Clocks of nodes have nothing in common.
    clock: u64,
}

#[derive(Debug, Default)]
struct Connection {
    to_server: VecDeque<(u64, Vec<u8>)>,
    to_node: VecDeque<(u64, Vec<u8>)>,
    inbox: VecDeque<u8>,
}

impl Cluster {
    pub fn new(nodes: usize, terms: Terms, on_failure: OnFailure, seed: u64) -> Self {
        let network = Network { is_gone: false, is_stuck: false, delay: MILLI / 4, cut_off: Vec::new(), garbage: None };
        let mut cluster = Self {
            server: Server::new(seed),
            nodes: Vec::new(),
            terms,
            orphans: Vec::new(),
            network,
            now: SECOND,
            rng: Rng::new(seed),
            admitted: vec![Vec::new(); KEYS],
            asked: 0,
        };
        (0..nodes).for_each(|_| cluster.join(on_failure));
        cluster
    }

    /// A node more.
    pub fn join(&mut self, on_failure: OnFailure) {
        let (seed, clock) = (self.rng.next_u64(), self.rng.below(1 << 50));
        let ledger = Ledger::new(SHARDS, seed, 1 << 10, 1);
        let store = store(on_failure);
        let limit = Shared { number: LIMIT, name: 7, terms: self.terms };
        let mut sharing = Sharing::new(seed);
        sharing.configure(Some(&store), vec![limit], &ledger, Mono::from_nanos(clock + self.now));
        let shards = (0..SHARDS).map(|shard| Leases::new(shard, 64)).collect();
        self.nodes.push(Some(Node { ledger, shards, sharing, connection: None, clock }));
    }

    /// A node is gone with all that it holds.
    pub fn kill(&mut self, node: usize) {
        let gone = self.nodes[node].take().expect("it lived");
        self.orphans.extend(gone.connection);
    }

    /// The server forgets what it was told after `remembered`, and is another run of itself.
    pub fn restart(&mut self, remembered: model::Store) {
        let run = self.rng.next_u64();
        self.server = Server { store: remembered, ..Server::new(run) };
        self.drop_connections();
    }

    /// As a server that ends, or a router that does.
    pub fn drop_connections(&mut self) {
        self.orphans.clear();
        let now = self.now;
        for node in self.nodes.iter_mut().flatten() {
            if node.connection.take().is_some() {
                node.sharing.lost("reset", &node.ledger, Mono::from_nanos(node.clock + now));
            }
        }
    }

    /// Lets time pass; meanwhile `rate` requests a second come to the nodes, of which each is as likely as its weight.
    pub fn run(&mut self, duration: Duration, rate: u64, weights: &[u64]) {
        let end = self.now + duration.as_nanos() as u64;
        let gap = (SECOND / rate.max(1)).max(1);
        let mut next = if rate == 0 { u64::MAX } else { self.now + self.rng.below(2 * gap) };
        while self.now < end {
            let tick = self.now + MILLI;
            while next < tick {
                self.request(next, weights);
                next += self.rng.below(2 * gap + 1);
            }
            self.now = tick;
            self.turn();
        }
    }

    pub fn stats(&self, node: usize) -> Stats {
        self.nodes[node].as_ref().and_then(|node| node.sharing.stats()).expect("it lives and shares")
    }

    /// What a node that comes or goes may add to a burst.
    pub fn held_by_one(&self, nodes: u32) -> u32 {
        Holding { share: SHARES / nodes, nodes, is_apart: false }.of(self.terms).size
    }

    fn request(&mut self, at: u64, weights: &[u64]) {
        let mut dice = self.rng.below(weights.iter().sum());
        let place = weights.iter().position(|weight| {
            let is_it = dice < *weight;
            dice = dice.saturating_sub(*weight);
            is_it
        });
        let (key, shard) = (self.rng.below(KEYS as u64) as usize, self.rng.below(SHARDS as u64) as usize);
        self.asked += 1;
        let Some(node) = &mut self.nodes[place.expect("weights have a sum")] else { return };
        let now = Mono::from_nanos(node.clock + at);
        let charge = Charge { tag: node.ledger.tag(LIMIT, key), cost: 1 };
        if node.shards[shard].admit(&node.ledger, &[charge], now).is_ok() {
            self.admitted[key].push(at);
        }
    }

    fn turn(&mut self) {
        let (now, is_stuck) = (self.now, self.network.is_stuck || self.network.is_gone);
        let server_us = SERVER_US + now / 1_000;
        for (place, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            let own = Mono::from_nanos(node.clock + now);
            for leases in &mut node.shards {
                if leases.due().is_some_and(|due| due <= own) {
                    leases.reconcile(&node.ledger, own);
                }
            }
            let is_cut_off = self.network.cut_off.contains(&place);
            if let Some(connection) = &mut node.connection
                && !is_stuck
                && !is_cut_off
            {
                serve(&mut self.server, connection, &self.network, now, server_us);
            }
            node.turn(&self.network, is_cut_off, now, &mut self.orphans);
        }
        if !is_stuck {
            for orphan in &mut self.orphans {
                serve(&mut self.server, orphan, &self.network, now, server_us);
            }
            self.orphans.retain(|orphan| !orphan.to_server.is_empty());
        }
    }
}

/// The server reads what has arrived, and answers.
fn serve(server: &mut Server, connection: &mut Connection, network: &Network, now: u64, server_us: u64) {
    while let Some((_, bytes)) = connection.to_server.pop_front_if(|(at, _)| *at <= now) {
        connection.inbox.extend(bytes);
    }
    let answer = server.receive(&mut connection.inbox, server_us);
    if !answer.is_empty() {
        let answer = network.garbage.clone().unwrap_or(answer);
        connection.to_node.push_back((now + network.delay, answer));
    }
}

impl Node {
    /// Does what the state machine says, until it waits.
    fn turn(&mut self, network: &Network, is_cut_off: bool, now: u64, orphans: &mut Vec<Connection>) {
        let Self { ledger, sharing, connection, .. } = self;
        let own = Mono::from_nanos(self.clock + now);
        while !is_cut_off
            && let Some(arrived) = connection.as_mut()
            && let Some((_, bytes)) = arrived.to_node.pop_front_if(|(at, _)| *at <= now)
        {
            // In two pieces, as TCP may.
            let (first, second) = bytes.split_at(bytes.len() / 3);
            [first, second].iter().for_each(|piece| sharing.received(piece, ledger, own));
        }
        for _ in 0..STEPS_MAX {
            match sharing.next(ledger, own) {
                Step::Rest => panic!("something is shared"),
                Step::Part(_) => {
                    orphans.extend(connection.take());
                    return;
                }
                Step::Connect(_) if network.is_gone || is_cut_off => sharing.lost("refused", ledger, own),
                Step::Connect(server) => {
                    assert_eq!(server.address, "redis:6379");
                    orphans.extend(connection.replace(Connection::default()));
                    sharing.connected(own);
                }
                Step::Send(bytes) => {
                    assert!(bytes.len() < 1 << 20, "a round is bounded");
                    let connection = connection.as_mut().expect("it sends on a connection");
                    connection.to_server.push_back((now + network.delay, bytes));
                }
                Step::Listen(until) if until > own => return,
                Step::Listen(_) => {}
            }
        }
        panic!("it never waits");
    }
}

pub fn store(on_failure: OnFailure) -> Store {
    Store {
        server: store::Server { address: "redis:6379".to_owned(), tls: None },
        username: None,
        password: None,
        database: 3,
        prefix: "test".to_owned(),
        on_failure,
    }
}

pub fn terms(rate: u32, burst: u32) -> Terms {
    Terms { algorithm: Algorithm::TokenBucket, count: rate, period: Duration::from_secs(1), burst }
}

pub const KEYS: usize = 2;
/// Steps of a node in one turn.
const STEPS_MAX: usize = 10;
/// The server's clock is its own.
const SERVER_US: u64 = 1_700_000_000_000_000;

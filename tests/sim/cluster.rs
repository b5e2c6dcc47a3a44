//! One simulated cluster: a gateway of one to eight shards, clients and origins, from the first byte to the last leak.
//! Its plan is swapped while it serves, connections are handed from shard to shard, and it may be told to end.

use crate::client::Client;
use crate::generate::{self, Customs, Manners};
use crate::judge::{Measure, judge};
use crate::ledger::Ledger;
use crate::limits::{Events, Key, Limits};
use crate::origin::Origin;
use crate::plan::{CONSUMER, GATEWAY, ORIGINS, numbered, plan, with_policies};
use crate::script::Script;
use shardgate::policy::{Answer, Question};
use shardgate::proxy::limits::Limits as Bounds;
use shardgate::proxy::{Calls, Plan};
use shardgate::runtime::calls::Asked;
use shardgate::runtime::driver::Driver;
use shardgate::runtime::driver::sim::{Census, Fault, Faults, Line, World};
use shardgate::runtime::listener::Socket;
use shardgate::runtime::mailbox::{Inbox, Latest, Outbox, mailbox};
use shardgate::runtime::{Runtime, Stop, TcpListener};
use shardgate::shard::{Listen, Mail, Parts, Publication, Shard};
use shardgate::stdx::board::Board;
use shardgate::stdx::rng::Rng;
use shardgate::telemetry::counters::Counters;
use shardgate::upstream::service::{Retry, Timeouts};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What one seed showed.
pub struct Report {
    pub wrong: Vec<String>,
    pub exchanges: usize,
    pub swaps: u64,
    /// What the gateway counted.
    pub counters: Counters,
    pub limits: Events,
    pub census: Census,
    pub transcript_hash: u64,
    pub transcript: Vec<Line>,
}

struct Cluster {
    world: World,
    rng: Rng,
    shards: Vec<Node>,
    board: Arc<Board>,
    limits: Option<Limits>,
    has_policies: bool,
    /// All that have been in force, one after the other.
    plans: Vec<Arc<Plan>>,
    /// Before which rounds the next ones are, the last first.
    swaps: Vec<usize>,
    counters: Counters,
    origin: Runtime,
    clients: Runtime,
    ledger: Rc<Ledger>,
    measure: Measure,
    /// The gateway is told to end after so many rounds, whatever is under way.
    drain_after: Option<usize>,
    /// And when a shard first holds a lease.
    drains_at_lease: bool,
    /// How long the shards are given that are still to be told to end, each when it happens.
    draining: Option<Duration>,
    questions: Inbox<Asked<Question, Answer>>,
    /// What has been asked and not been answered yet.
    asked: Vec<Asked<Question, Answer>>,
    /// At any time, and at times not at all.
    answers_late: bool,
}

/// One shard, until it has ended, and where it is told.
struct Node {
    runtime: Runtime,
    shard: Option<Shard>,
    is_told: bool,
    outbox: Outbox<Mail>,
    publications: Latest<Publication>,
}

/// The kinds of run, from the friendliest on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sky {
    Clear,
    /// Everything takes its time.
    Mild,
    /// The gateway has next to no memory for bytes.
    Scarce,
    /// Clients and origins misbehave.
    Rude,
    /// And descriptors run out.
    Crowded,
    /// And the network fails.
    Hostile,
}

/// What may go wrong in a run.
struct Weather {
    faults: Faults,
    manners: Manners,
    measure: Measure,
    plan: Plan,
    has_policies: bool,
    patience: Duration,
    scarce: bool,
}

pub fn run(seed: u64, record: bool) -> Report {
    let mut cluster = Cluster::new(seed, record);
    let mut wrong = cluster.serve().err().into_iter().collect::<Vec<_>>();
    if wrong.is_empty() {
        wrong.extend(cluster.end());
        wrong.extend(judge(&cluster.ledger, cluster.measure, cluster.limits.as_ref()));
    }
    let mut limits = Events::default();
    if let Some(in_force) = &mut cluster.limits {
        if wrong.is_empty() {
            wrong.extend(in_force.judge(&cluster.ledger, cluster.measure, cluster.world.now()));
        }
        in_force.events.handoffs = cluster.counters.handoffs_received;
        limits = in_force.events;
    }
    Report {
        wrong,
        exchanges: cluster.ledger.scripts.len(),
        swaps: cluster.plans.len() as u64 - 1,
        counters: cluster.counters,
        limits,
        census: cluster.world.census(),
        transcript_hash: cluster.world.transcript_hash(),
        transcript: cluster.world.transcript(),
    }
}

impl Cluster {
    fn new(seed: u64, record: bool) -> Self {
        let mut rng = Rng::new(seed);
        let Weather { faults, manners, measure, plan, has_policies, patience, scarce } = weather(&mut rng);
        let world = World::new(rng.next_u64(), faults);
        if record {
            world.record_transcript();
        }
        let shards = rng.between(1, 8) as usize;
        let mut limits = rng.chance(300).then(|| draw_limits(&mut rng, shards, has_policies));
        let is_crowded = !scarce && limits.as_ref().is_some_and(|limits| limits.is_crowded);
        let ledger = Rc::new(Ledger::new(scripts(&mut rng, (manners, has_policies, scarce), is_crowded)));
        let swaps = swaps(&mut rng, is_crowded);
        let plan = if swaps.is_empty() { plan } else { numbered(&plan, 0) };
        let plan = Arc::new(with_policies(plan, has_policies, limits.as_ref(), 0));
        let board = Board::new(shards, rng.next_u64(), rng.below(3) as u32);
        let board = Arc::new(match &mut limits {
            Some(limits) => {
                limits.put_in_force(&plan.limits, world.now());
                board.with(limits.tokens.clone())
            }
            None => board,
        });
        let (ask, questions) = mailbox(QUESTIONS_MAX, None);
        let shards = start_shards(&world, &plan, &board, &ask, &mut rng);
        let node = |name| Runtime::new(Driver::Sim(world.node(name)), HARNESS_BUFFER_BYTES);
        let (origin, clients) = (node("origin"), node("client"));
        start_origins(&origin, &ledger, patience, &mut rng);
        let clients_max = if is_crowded { 16 } else { 4 };
        let count = if scarce { 8 } else { rng.between(1, clients_max) as usize };
        start_clients(&clients, &ledger, count, patience, &mut rng);
        // As often while all connect as when they are long there.
        let rounds_max = 1 << rng.between(2, 12);
        let drain_after = rng.chance(250).then(|| rng.below(rounds_max) as usize);
        let drains_at_lease = is_crowded && rng.chance(600);
        let (counters, plans) = (Counters::default(), vec![plan]);
        let (draining, answers_late, asked) = (None, manners == Manners::Any, Vec::new());
        Self {
            world,
            rng,
            shards,
            board,
            limits,
            has_policies,
            plans,
            swaps,
            counters,
            origin,
            clients,
            ledger,
            measure,
            drain_after,
            drains_at_lease,
            draining,
            questions,
            asked,
            answers_late,
        }
    }

    /// Turns everybody until the clients are done.
    fn serve(&mut self) -> Result<(), String> {
        let mut rounds = 0;
        while self.clients.tasks() > 0 {
            self.round();
            rounds += 1;
            while self.swaps.pop_if(|round| *round <= rounds).is_some() {
                self.swap();
            }
            if self.drain_after == Some(rounds) || self.drains_at_lease && self.on_lease() > 0 {
                self.drains_at_lease = false;
                self.drain_early();
            }
            if rounds > ROUNDS_MAX {
                return Err("it goes round in circles".into());
            }
            if !self.advance() && self.clients.tasks() > 0 {
                return Err("nothing will ever happen, and the clients wait".into());
            }
        }
        Ok(())
    }

    /// One turn of everybody, in any order.
    fn round(&mut self) {
        self.tell();
        self.answer();
        let turns = self.shards.len() + 2;
        let first = self.rng.below(turns as u64) as usize;
        for turn in (0..turns).map(|turn| (first + turn) % turns) {
            match turn {
                0 => turn_host(&self.origin),
                1 => turn_host(&self.clients),
                shard => self.turn_shard(shard - 2),
            }
        }
        self.note_plan();
    }

    /// Tokens that shards hold.
    fn on_lease(&self) -> u32 {
        self.limits.as_ref().map_or(0, |limits| limits.on_lease(self.world.now()))
    }

    fn turn_shard(&mut self, shard: usize) {
        let before = self.on_lease();
        let Some(running) = &mut self.shards[shard].shard else { return };
        let goes_on = running.turn(self.world.now()).expect("a turn never fails");
        let after = self.limits.as_ref().map_or(0, |limits| limits.on_lease(self.world.now()));
        if let Some(limits) = &mut self.limits {
            limits.events.leases += u64::from(before == 0 && after > 0);
            limits.events.returns += u64::from(!goes_on && after < before);
        }
        if !goes_on {
            self.counters.merge(&running.counters());
            self.shards[shard].shard = None;
        }
    }

    /// Answers what policies have asked, where it may be at any time and at times not at all.
    fn answer(&mut self) {
        self.asked.extend(std::iter::from_fn(|| self.questions.take()));
        for asked in std::mem::take(&mut self.asked) {
            match self.rng.below(100) {
                0..3 if self.answers_late => drop(asked),
                3..60 if self.answers_late => self.asked.push(asked),
                _ => {
                    let answer = asked.question.answer().expect("the hash is a good one");
                    asked.answer(answer);
                }
            }
        }
    }

    /// From now on requests meet another plan, which each shard finds when it looks.
    fn swap(&mut self) {
        let generation = self.plans.len() as u64;
        let plan = numbered(&self.plans[0], generation);
        let plan = with_policies(plan, self.has_policies, self.limits.as_ref(), generation);
        if let Some(limits) = &mut self.limits {
            limits.put_in_force(&plan.limits, self.world.now());
        }
        let plan = Arc::new(plan);
        self.plans.push(plan.clone());
        for node in &self.shards {
            let _displaced = node.publications.publish(Publication { generation, plan: plan.clone() });
        }
    }

    /// Notes when the last shard has come to go by a plan.
    fn note_plan(&self) {
        let (generation, mut adopted) = (self.board.oldest_generation(), self.ledger.adopted.borrow_mut());
        if self.plans.len() > 1 && adopted.last().is_none_or(|(_, last)| generation > *last) {
            adopted.push((self.world.now(), generation));
        }
    }

    fn advance(&self) -> bool {
        let shards = self.shards.iter().filter_map(|node| node.shard.as_ref()?.wakes_at());
        let others = [self.origin.wakes_at(), self.clients.wakes_at()].into_iter().flatten();
        self.world.advance(shards.chain(others).min())
    }

    /// Told to end while clients are still there. Where nothing goes wrong, whoever is in has all the time he needs: no
    /// exchange may fail for it. Elsewhere not every one need end.
    fn drain_early(&mut self) {
        self.measure.drained = true;
        if self.measure.all_succeed {
            self.draining = Some(VERY_LONG);
            return;
        }
        self.measure.all_end = false;
        self.draining = Some(self.drain_patience());
    }

    /// At times so short that shards end in the middle of things.
    fn drain_patience(&mut self) -> Duration {
        let most = if self.rng.chance(500) { DRAIN_PATIENCE_MS_MAX } else { DRAIN_IMPATIENCE_MS_MAX };
        Duration::from_millis(self.rng.below(most))
    }

    /// Tells some of those that are to end, as threads hear of it when they do.
    fn tell(&mut self) {
        let Some(patience) = self.draining else { return };
        for node in self.shards.iter_mut().filter(|node| !node.is_told) {
            node.is_told = self.rng.chance(300);
            if node.is_told {
                // A box that is full has told the shard already.
                let _told = node.outbox.post(Mail::Drain { patience, stop: Stop::Dry });
            }
        }
    }

    /// Drains the gateway, then everybody goes; says what is left that should not be.
    fn end(&mut self) -> Vec<String> {
        self.draining = Some(self.drain_patience());
        self.shards.iter_mut().for_each(|node| node.is_told = false);
        let mut rounds = 0;
        while self.shards.iter().any(|node| node.shard.is_some()) && rounds < ROUNDS_MAX {
            self.round();
            self.advance();
            rounds += 1;
        }
        self.origin.drop_tasks();
        let mut wrong = Vec::new();
        let shards = self.shards.iter().map(|node| ("the gateway", &node.runtime));
        for (name, runtime) in shards.chain([("the origin", &self.origin), ("the client", &self.clients)]) {
            if runtime.leftovers() != ([0; 3], 0) || runtime.tasks() > 0 {
                let (left, tasks) = (runtime.leftovers(), runtime.tasks());
                wrong.push(format!(
                    "{name} leaves sockets, listeners, operations; bytes: {left:?}, coroutines: {tasks}"
                ));
            }
            if runtime.panics() > 0 {
                wrong.push(format!("{name} panicked"));
            }
        }
        if self.world.open_links() > 0 {
            wrong.push(format!("{} connections were never closed", self.world.open_links()));
        }
        let counted: u32 = (0..self.board.shards()).map(|shard| self.board.connections_of(shard)).sum();
        let (connections, requests) = (self.board.connections.taken(), self.board.requests.taken());
        if (counted, connections, requests) != (0, 0, 0) {
            wrong.push(format!("the board still counts {counted} connections, and {connections}, {requests} places"));
        }
        // What came for a shard that had ended by then.
        self.shards.iter().for_each(|node| drop(node.publications.take()));
        let is_held = |plan: &&Arc<Plan>| Arc::strong_count(plan) > 1 || Arc::strong_count(&plan.routes[0]) > 1;
        if self.plans.iter().any(|plan| is_held(&plan)) {
            wrong.push("somebody still holds a plan, or a part of it".to_owned());
        }
        wrong
    }
}

fn turn_host(runtime: &Runtime) {
    let mut on_event = |event| panic!("nobody but the gateway has records: {event:?}");
    runtime.turn(runtime.now().mono, &mut on_event).expect("a turn never fails");
}

fn start_shards(
    world: &World,
    plan: &Arc<Plan>,
    board: &Arc<Board>,
    ask: &Outbox<Asked<Question, Answer>>,
    rng: &mut Rng,
) -> Vec<Node> {
    // One without any room is always full.
    let boxes = (0..board.shards()).map(|_| mailbox(rng.below(3) as usize, None));
    let (peers, handoffs): (Vec<_>, Vec<_>) = boxes.unzip();
    let start = |(shard, handoffs)| {
        let runtime = Runtime::new(Driver::Sim(world.node("gateway")), plan.settings.limits.receive_bytes_max);
        let ((outbox, inbox), publications) = (mailbox(1, None), Latest::new(None));
        let address = GATEWAY.into();
        let parts = Parts {
            shard,
            board: board.clone(),
            plan: plan.clone(),
            listeners: vec![Listen {
                id: 0,
                name: "public".to_owned(),
                address,
                proxies: [].into(),
                socket: Socket::Bind(address),
            }],
            log: None,
            seed: rng.next_u64(),
            inbox,
            handoffs,
            peers: peers.clone(),
            publications: publications.clone(),
            keys: Latest::new(None),
            calls: Calls::new(ask.clone(), None),
            reporter: None,
        };
        let shard = Shard::new(runtime.clone(), parts);
        let (shard, _) = shard.unwrap_or_else(|_| panic!("the simulation lets anybody listen"));
        Node { runtime, shard: Some(shard), is_told: false, outbox, publications }
    };
    handoffs.into_iter().enumerate().map(start).collect()
}

fn start_origins(origin: &Runtime, ledger: &Rc<Ledger>, patience: Duration, rng: &mut Rng) {
    for (number, address) in ORIGINS.into_iter().enumerate() {
        let listener = TcpListener::bind(origin, address.into()).expect("the simulation lets anybody listen");
        let (ledger, runtime, seed) = (ledger.clone(), origin.clone(), rng.next_u64());
        origin.spawn(Origin { ledger, runtime, number, seed, patience }.listen(listener));
    }
}

/// So many share the scripts.
fn start_clients(clients: &Runtime, ledger: &Rc<Ledger>, count: usize, patience: Duration, rng: &mut Rng) {
    let mut shares = vec![Vec::new(); count];
    for id in 0..ledger.scripts.len() {
        let share = rng.below(shares.len() as u64) as usize;
        shares[share].push(id);
    }
    for ids in shares {
        let (ledger, runtime, seed) = (ledger.clone(), clients.clone(), rng.next_u64());
        clients.spawn(Client { ledger, runtime, gateway: GATEWAY.into(), ids, seed, patience }.run());
    }
}

fn draw_limits(rng: &mut Rng, shards: usize, has_policies: bool) -> Limits {
    // The host behind those of the shards and of the origin.
    let client = IpAddr::from([10, 0, 0, shards as u8 + 2]);
    let who = if has_policies { Key::Consumer(CONSUMER) } else { Key::Client(client) };
    let key = if rng.chance(500) { Key::Global } else { who };
    Limits::draw(rng, shards, key)
}

/// What clients are to do; more of it and all at once where shards are to come to hold leases.
fn scripts(rng: &mut Rng, (manners, has_policies, scarce): (Manners, bool, bool), is_crowded: bool) -> Vec<Script> {
    let body_bytes_max = if is_crowded { SMALL_BODY_BYTES_MAX } else { u64::MAX };
    let customs = Customs { manners, has_policies, body_bytes_max };
    let (few, many) = if is_crowded { (40, 100) } else { (4, 16) };
    let count = rng.between(few, many) as usize;
    let script = |id| {
        let script = generate::script(rng, id, customs);
        let pause_ms = if scarce || is_crowded { 0 } else { script.pause_ms };
        Script { pipelined: script.pipelined && !scarce, pause_ms, ..script }
    };
    (0..count).map(script).collect()
}

/// Before which rounds the plan is swapped, the last first.
fn swaps(rng: &mut Rng, is_crowded: bool) -> Vec<usize> {
    if !rng.chance(if is_crowded { 800 } else { 500 }) {
        return Vec::new();
    }
    let mut swaps: Vec<_> = (0..rng.between(1, SWAPS_MAX)).map(|_| rng.below(SWAP_ROUNDS) as usize).collect();
    swaps.sort_unstable_by(|a, b| b.cmp(a));
    swaps
}

fn weather(rng: &mut Rng) -> Weather {
    let sky = match rng.below(14) {
        0 => Sky::Clear,
        1 | 2 => Sky::Mild,
        3 | 4 => Sky::Scarce,
        5 => Sky::Rude,
        6 => Sky::Crowded,
        _ => Sky::Hostile,
    };
    let (faults, manners) = match sky {
        Sky::Clear => (Faults::none(), Manners::Strict),
        Sky::Mild | Sky::Scarce => (Faults::benign(), Manners::Strict),
        Sky::Rude => (Faults::benign(), Manners::Any),
        Sky::Crowded => (Faults::benign().with(Fault::AcceptExhausted, 100), Manners::Any),
        Sky::Hostile => (Faults::hostile(), Manners::Any),
    };
    let (mut limits, mut timeouts, mut retry) = (Bounds::default(), Timeouts::default(), Retry::default());
    if manners == Manners::Strict {
        be_patient(&mut limits, &mut timeouts);
    } else {
        tighten(rng, &mut limits);
        if rng.chance(300) {
            timeouts.connect = Duration::from_millis(1 << rng.below(12));
        }
        timeouts.total = rng.chance(300).then(|| Duration::from_secs(rng.between(1, 200)));
    }
    if sky == Sky::Scarce {
        limits.receive_bytes_max = rng.between(180, 220) as usize * 1024;
        // Whoever keeps bytes for later (a body that may be sent again, a request behind this one) while it waits for
        // memory may wait for itself, until a timeout ends it.
        retry.enabled = false;
    }
    let all_end = sky != Sky::Hostile;
    let measure = Measure { all_succeed: matches!(sky, Sky::Clear | Sky::Mild), all_end, drained: false };
    let patience = if all_end { 2 * VERY_LONG } else { PATIENCE };
    // They hold bodies, for which there is no memory under a scarce sky.
    let has_policies = sky != Sky::Scarce && rng.chance(500);
    let plan = plan(limits, timeouts, retry);
    Weather { faults, manners, measure, plan, has_policies, patience, scarce: sky == Sky::Scarce }
}

/// Nobody is to fail for being slow.
fn be_patient(limits: &mut Bounds, timeouts: &mut Timeouts) {
    limits.body_rate_min = 0;
    limits.header_read_timeout = VERY_LONG;
    limits.idle_timeout = VERY_LONG;
    limits.send_timeout = VERY_LONG;
    limits.linger_timeout = VERY_LONG;
    timeouts.connect = VERY_LONG;
    timeouts.first_byte = VERY_LONG;
    timeouts.idle = VERY_LONG;
}

/// Limits so low that some exchanges meet them.
fn tighten(rng: &mut Rng, limits: &mut Bounds) {
    if rng.chance(200) {
        limits.requests_per_connection_max = rng.between(1, 4) as u32;
    }
    if rng.chance(50) {
        limits.connections_max = rng.between(1, 3) as usize;
    }
    if rng.chance(50) {
        limits.requests_in_flight_max = 1;
    }
    if rng.chance(100) {
        limits.body_bytes_max = Some(rng.below(5000));
    }
    if rng.chance(100) {
        limits.head_bytes_max = rng.between(500, 4000) as usize;
    }
    if rng.chance(150) {
        limits.receive_bytes_max = rng.between(160, 800) as usize * 1024;
    } else if rng.chance(150) {
        // A batch of a body is narrowed by what is free.
        limits.receive_bytes_max = 1 << rng.between(20, 26);
    }
}

/// Of all shards.
const QUESTIONS_MAX: usize = 64;
const HARNESS_BUFFER_BYTES: usize = 1 << 30;
/// Of runs with many exchanges.
const SMALL_BODY_BYTES_MAX: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(600);
const VERY_LONG: Duration = Duration::from_secs(1_000_000);
const DRAIN_PATIENCE_MS_MAX: u64 = 5000;
const DRAIN_IMPATIENCE_MS_MAX: u64 = 20;
const SWAPS_MAX: u64 = 8;
/// Most runs take some hundreds.
const SWAP_ROUNDS: u64 = 1000;
/// More than any run takes.
const ROUNDS_MAX: usize = 5_000_000;

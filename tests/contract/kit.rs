//! Two runtimes that reach each other through the driver under test, and the loop that turns them.

use shardgate::runtime::driver::Driver;
use shardgate::runtime::driver::choice::Choice;
use shardgate::runtime::driver::epoll::Epoll;
use shardgate::runtime::driver::sim::{Fault, Faults, World};
use shardgate::runtime::op::{Error, Pieces, Received};
use shardgate::runtime::options::EventLoop;
use shardgate::runtime::wait::sleep_until;
use shardgate::runtime::{Buf, Class, Event, Runtime, TcpListener, TcpStream};
use shardgate::stdx::time::Mono;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// The two hosts of a scenario: the near one listens, the far one connects.
pub struct Kit {
    pub near: Runtime,
    pub far: Runtime,
    /// What happened to records of the near host.
    pub near_events: Rc<RefCell<Vec<Event>>>,
    world: Option<World>,
    panics_expected: Cell<u64>,
}

/// Two connected streams are given to their coroutines, each with its runtime.
pub async fn accept_one(listener: TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection comes").0
}

pub async fn connect(far: &Runtime, to: SocketAddr) -> TcpStream {
    TcpStream::connect(far, to, Mono::NEVER).await.expect("somebody listens")
}

pub fn with_epoll(scenario: fn(&Kit)) {
    let epoll = || Driver::Epoll(Box::new(Epoll::new().expect("epoll is there")));
    Kit::new(epoll(), epoll(), None).check(scenario);
}

/// On io_uring, if it works here; else on what the gateway falls back on. `choice::` says which it is.
pub fn with_uring(scenario: fn(&Kit)) {
    let choice = choice();
    let open = || {
        let driver = choice.open().expect("it was tried");
        let is_ring = matches!(driver, Driver::Uring(_));
        assert_eq!(is_ring, choice.event_loop == EventLoop::Uring, "what was chosen is what is run: {choice:?}");
        driver
    };
    Kit::new(open(), open(), None).check(scenario);
}

/// What the gateway runs on here where `uring` is configured.
pub fn choice() -> Choice {
    Choice::make(EventLoop::Uring)
}

pub fn with_sim(scenario: fn(&Kit)) {
    with_world(scenario, &Faults::none());
}

pub fn with_benign_faults(scenario: fn(&Kit)) {
    // Some scenarios send a few bytes to nobody, for which every real window has room.
    with_world(scenario, &Faults::benign().with(Fault::SmallWindow, 0));
}

fn with_world(scenario: fn(&Kit), faults: &Faults) {
    for seed in 0..SEEDS {
        let transcript = || {
            let world = World::new(seed, faults.clone());
            let kit = Kit::new(Driver::Sim(world.node("near")), Driver::Sim(world.node("far")), Some(world.clone()));
            kit.check(scenario);
            assert_eq!(world.open_links(), 0, "seed {seed}: a connection was never closed");
            world.transcript_hash()
        };
        assert_eq!(transcript(), transcript(), "seed {seed}: two runs differ");
    }
}

impl Kit {
    fn new(near: Driver, far: Driver, world: Option<World>) -> Self {
        Self {
            near: Runtime::new(near, POOL_BYTES),
            far: Runtime::new(far, 64 << 20),
            near_events: Rc::default(),
            world,
            panics_expected: Cell::new(0),
        }
    }

    /// Where the near host listens, on a port that is free.
    pub fn listen(&self) -> TcpListener {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        TcpListener::bind(&self.near, address).expect("a free port is there")
    }

    /// Runs a coroutine for each end of one connection until both are over.
    pub fn converse<N, F>(&self, near: impl FnOnce(Runtime, TcpStream) -> N, far: impl FnOnce(Runtime, TcpStream) -> F)
    where
        N: Future<Output = ()> + 'static,
        F: Future<Output = ()> + 'static,
    {
        let (streams, listener) = (Rc::new(RefCell::new([None, None])), self.listen());
        let (address, both) = (listener.address(), streams.clone());
        self.near.spawn(async move { both.borrow_mut()[0] = Some(accept_one(listener).await) });
        let (runtime, both) = (self.far.clone(), streams.clone());
        self.far.spawn(async move {
            let stream = connect(&runtime, address).await;
            both.borrow_mut()[1] = Some(stream);
        });
        self.run();
        let [near_stream, far_stream] = streams.take().map(|stream| stream.expect("it is connected"));
        self.near.spawn(near(self.near.clone(), near_stream));
        self.far.spawn(far(self.far.clone(), far_stream));
        self.run();
    }

    /// Turns both hosts until no coroutine is left.
    pub fn run(&self) {
        self.run_until(|| self.near.tasks() + self.far.tasks() == 0);
    }

    pub fn run_until(&self, is_over: impl Fn() -> bool) {
        let mut turns = 0;
        loop {
            self.turn();
            if is_over() {
                break;
            }
            self.advance();
            turns += 1;
            assert!(turns < TURNS_MAX, "the scenario never ends");
        }
    }

    fn turn(&self) {
        for (index, runtime) in [&self.near, &self.far].into_iter().enumerate() {
            let sleep = if self.world.is_some() { Duration::ZERO } else { EPOLL_SLEEP };
            let by = runtime.now().mono + sleep;
            let mut on_event = |event| {
                assert_eq!(index, 0, "only the near host has records");
                self.near_events.borrow_mut().push(event);
            };
            runtime.turn(by, &mut on_event).expect("a turn never fails");
        }
    }

    /// What has just been undone, a buffer given back say, is seen to before time passes.
    fn advance(&self) {
        if let Some(world) = &self.world {
            let wakes_at = [self.near.wakes_at(), self.far.wakes_at()].into_iter().flatten().min();
            world.advance(wakes_at);
        }
    }

    pub fn expect_panics(&self, count: u64) {
        self.panics_expected.set(count);
    }

    /// Runs the scenario and looks for what it left behind.
    fn check(&self, scenario: fn(&Self)) {
        scenario(self);
        assert_eq!(self.near.panics() + self.far.panics(), self.panics_expected.get(), "a coroutine panicked");
        for runtime in [&self.near, &self.far] {
            assert_eq!(runtime.leftovers(), ([0; 3], 0), "sockets, listeners, operations; bytes of buffers");
            assert_eq!(runtime.tasks(), 0);
        }
    }
}

/// Sends a copy of `bytes`, as many buffers at a time as one send takes.
pub async fn send(runtime: &Runtime, stream: &TcpStream, bytes: &[u8]) -> Result<(), Error> {
    for bytes in bytes.chunks(Pieces::default().room() * Class::Head.payload_bytes()) {
        let mut pieces = Pieces::default();
        for piece in bytes.chunks(bytes.len().div_ceil(pieces.room())) {
            pieces.extend(Pieces::one(filled(runtime, piece)));
        }
        stream.send_all(pieces, Duration::from_secs(600), Mono::NEVER).await?;
    }
    Ok(())
}

pub fn filled(runtime: &Runtime, bytes: &[u8]) -> Buf {
    let mut buf = runtime.pool().take(Class::Head).expect("the pool has a buffer");
    assert!(buf.push(bytes), "it fits");
    buf
}

/// Receives until the stream ends or fails, and says how.
pub async fn receive_all(stream: &TcpStream) -> (Vec<u8>, Result<(), Error>) {
    let mut all = Vec::new();
    loop {
        match stream.receive(Class::Head, Mono::NEVER).await {
            Ok(Received::Data(buf)) => all.extend_from_slice(buf.bytes()),
            Ok(Received::End(buf)) => {
                assert!(buf.is_none(), "an end uses no buffer");
                return (all, Ok(()));
            }
            Err(error) => return (all, Err(error)),
        }
    }
}

/// Receives exactly `count` bytes.
pub async fn receive_exactly(stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let Ok(Received::Data(buf)) = stream.receive(Class::Head, Mono::NEVER).await else {
            panic!("the stream ended after {} of {count} bytes", all.len());
        };
        all.extend_from_slice(buf.bytes());
    }
    assert_eq!(all.len(), count);
    all
}

/// Bytes that differ from place to place, so that lost, doubled or swapped ones show.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8).wrapping_mul(31)) as u8).collect()
}

/// What one coroutine tells another.
#[derive(Clone, Default)]
pub struct Flag(Rc<Cell<bool>>);

impl Flag {
    pub fn set(&self) {
        self.0.set(true);
    }

    pub fn is_set(&self) -> bool {
        self.0.get()
    }

    pub async fn wait(&self, runtime: &Runtime) {
        wait_until(runtime, || self.is_set()).await;
    }
}

pub async fn wait_until(runtime: &Runtime, condition: impl Fn() -> bool) {
    while !condition() {
        sleep_until(runtime, runtime.now().mono + Duration::from_millis(1)).await;
    }
}

/// Room for two large buffers beside the eighth that is kept for small ones.
const POOL_BYTES: usize = 160 << 10;
const SEEDS: u64 = 50;
const TURNS_MAX: usize = 2_000_000;
const EPOLL_SLEEP: Duration = Duration::from_micros(200);

//! The two kinds of coroutine a shard runs: one that accepts, and those that serve.

use super::connections::Slot;
use super::listeners::Listening;
use super::state::{Desk, Job, Order, State};
use crate::proxy::{Scratch, serve};
use crate::runtime::Error;
use crate::runtime::wait::{sleep_until, yield_now};
use crate::stdx::slab::Key;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Accepts until the listener stops, and with it what it has to bring.
pub async fn accept(state: Rc<State>, listening: Rc<Listening>) {
    let runtime = &state.shared.runtime;
    let mut accepted_in_turn = 0;
    loop {
        match listening.listener.accept().await {
            Ok((stream, peer)) => state.arrived(stream, peer, &listening.info.borrow()),
            Err(Error::Stopped) => break,
            // That connection is gone; the listener is not. A machine that is out of memory gets a rest.
            Err(Error::Exhausted) => sleep_until(runtime, runtime.now().mono + ACCEPT_REST).await,
            Err(_) => {}
        }
        accepted_in_turn += 1;
        if accepted_in_turn == ACCEPTS_MAX {
            accepted_in_turn = 0;
            yield_now(runtime).await;
        }
    }
    state.forget_listener(&listening);
}

/// Serves one connection after another, each until it is idle or has ended. The first lies on the desk.
pub async fn work(state: Rc<State>, desk: Desk) {
    let me = state.shared.runtime.current().expect("workers are coroutines");
    let mut scratch = Scratch::default();
    while let Some((key, mut downstream)) = next_job(&desk).await {
        let mut place = Place { state: &state, key: Some(key) };
        if downstream.awaits_proxy_header {
            if state.introduce(key, &mut downstream).await {
                place.key = None;
                state.resume(key, downstream);
            }
        } else if let Some(idle) = serve(&state.shared, &mut scratch, downstream).await {
            place.key = None;
            state.park(key, idle, state.shared.idle_timeout());
        }
        if !state.wait_for_job(me, &desk) {
            return;
        }
    }
}

async fn next_job(desk: &Desk) -> Option<Job> {
    poll_fn(|_| match desk.take() {
        Order::Wait => Poll::Pending,
        Order::Serve(job) => Poll::Ready(Some(job)),
        Order::End => Poll::Ready(None),
    })
    .await
}

/// A connection's place in the table, given back when its coroutine is done with it, in a panic too.
struct Place<'a> {
    state: &'a State,
    /// Absent when the connection keeps its place.
    key: Option<Key<Slot>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.state.connections.borrow_mut().release(key);
        }
    }
}

/// After a connection was turned away for want of memory or descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(1);
/// Connections one listener brings into a turn.
const ACCEPTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::limits::Limits;
    use crate::proxy::{Calls, Entrance, ListenerInfo, Plan, Settings, Shared};
    use crate::route::Table;
    use crate::runtime::driver::Driver;
    use crate::runtime::driver::epoll::Epoll;
    use crate::runtime::mailbox::mailbox;
    use crate::runtime::{Class, Pieces, Runtime, Stop, TcpListener, TcpStream};
    use crate::shard::Described;
    use crate::stdx::board::Board;
    use crate::stdx::rng::Rng;
    use crate::stdx::time::Mono;
    use crate::upstream::Pools;
    use std::cell::Cell;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    const CLIENTS: u64 = 5;
    const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn runtime() -> Runtime {
        let epoll = Epoll::new().expect("epoll is there");
        Runtime::new(Driver::Epoll(Box::new(epoll)), 1 << 20)
    }

    fn state() -> Rc<State> {
        let (services, routes, settings) = (Vec::new(), Vec::new(), Settings::default());
        let plan = Arc::new(Plan {
            services,
            routes,
            table: Table::compile(&[]),
            chains: Vec::new(),
            limits: Vec::new(),
            shared: Vec::new(),
            settings,
        });
        let board = Arc::new(Board::new(1, 1, 8));
        let shared = Shared::new(
            runtime(),
            plan,
            board,
            Pools::new(0, (0, 1)),
            Rng::new(1),
            Calls::new(mailbox(1, None).0, None),
            None,
        );
        Rc::new(State::new(shared, 0, Vec::new()))
    }

    /// Uses up, once told to, what a turn may complete without asking the kernel again.
    async fn hog(runtime: Runtime, to: SocketAddr, told: Rc<Cell<bool>>) {
        let stream = TcpStream::connect(&runtime, to, Mono::NEVER).await.expect("somebody listens");
        while !told.get() {
            yield_now(&runtime).await;
        }
        for _ in 0..1_000 {
            let mut buf = runtime.pool().take(Class::Head).expect("the pool has a buffer");
            assert!(buf.push(b"x"), "it fits");
            stream.send_all(Pieces::one(buf), Duration::MAX, Mono::NEVER).await.expect("somebody reads");
        }
    }

    async fn connect(far: Runtime, to: SocketAddr) {
        let _stream = TcpStream::connect(&far, to, Mono::NEVER).await.expect("somebody listens");
        std::future::pending::<()>().await;
    }

    #[test]
    fn a_drain_in_a_busy_turn_accepts_all_who_have_connected() {
        let (state, far) = (state(), runtime());
        let runtime = state.shared.runtime.clone();
        let sink = TcpListener::bind(&far, LOCAL).expect("a free port is there");
        let told = Rc::new(Cell::new(false));
        runtime.spawn(hog(runtime.clone(), sink.address(), told.clone()));
        let listener = TcpListener::bind(&runtime, LOCAL).expect("a free port is there");
        let address = listener.address();
        let (name, entrance) = ("public".to_owned(), Entrance::new(address, 0));
        state.listen(listener, ListenerInfo { id: 0, entrance, name, address, proxies: [].into() });
        let turn = || runtime.turn(Mono::ZERO, &mut |event| state.on_event(event)).expect("a turn never fails");
        (0..20).for_each(|_| turn());
        for _ in 0..CLIENTS {
            far.spawn(connect(far.clone(), address));
        }
        (0..20).for_each(|_| far.turn(Mono::ZERO, &mut |_| ()).expect("a turn never fails"));
        told.set(true);
        state.drain(Stop::Dry);
        (0..20).for_each(|_| turn());
        assert_eq!(state.counters().connections_accepted, CLIENTS);
        assert!(!state.is_empty(), "they are served");
        state.end();
        far.drop_tasks();
    }

    #[test]
    fn listeners_that_change_names_are_not_taken_for_one_another() {
        let state = state();
        let of_shard = |name: &str, id| {
            let listener = TcpListener::bind(&state.shared.runtime, LOCAL).expect("a free port is there");
            let address = listener.address();
            let (name, entrance) = (name.to_owned(), Entrance::new(address, id));
            state.listen(listener, ListenerInfo { id, entrance, name, address, proxies: [].into() });
            address
        };
        let (first, second) = (of_shard("a", 0), of_shard("b", 1));
        let network = |text: &str| [text.parse().expect("a network")].into();
        state.describe(&[
            Described { was: 1, id: 0, name: "a".to_owned(), proxies: network("10.0.0.0/8") },
            Described { was: 0, id: 1, name: "b".to_owned(), proxies: network("10.1.0.0/16") },
        ]);
        let listeners = state.listeners.borrow();
        let infos: Vec<_> = listeners.iter().map(|listening| listening.info.borrow().clone()).collect();
        let told: Vec<_> = infos.iter().map(|info| (info.address, &*info.name, info.id)).collect();
        assert_eq!(told, [(first, "b", 1), (second, "a", 0)]);
        let entrances: Vec<_> = infos.iter().map(|info| info.entrance).collect();
        assert_eq!(entrances, [Entrance::new(first, 0), Entrance::new(second, 1)], "sockets stay what they are");
        let trusted: Vec<_> = infos.iter().map(|info| info.is_proxy([10, 9, 0, 1].into())).collect();
        assert_eq!(trusted, [false, true]);
    }

    #[test]
    fn a_panic_in_an_exchange_costs_its_connection_and_is_counted() {
        let state = state();
        let admit = |state: &State| {
            state.shared.board.arrive(0);
            state.connections.borrow_mut().admit(Some(LOCAL.ip()), &Limits::default())
        };
        let (failing, other) = (admit(&state).expect("there is room"), admit(&state).expect("there is room"));
        let exchange = state.clone();
        state.shared.runtime.spawn(async move {
            let _place = Place { state: &exchange, key: Some(failing) };
            let _in_flight = exchange.shared.enter(&Settings::default()).expect("there is room");
            panic!("as an exchange might");
        });
        state.shared.runtime.turn(Mono::ZERO, &mut |event| state.on_event(event)).expect("a turn never fails");
        let counters = state.counters();
        assert_eq!((counters.exchange_panics, counters.connections_active, counters.requests_in_flight), (1, 1, 0));
        state.connections.borrow_mut().release(other);
        assert!(state.is_empty());
    }

    #[test]
    fn an_exchange_is_small() {
        let worker = work(state(), Rc::new(Cell::new(Order::End)));
        let bytes = size_of_val(&worker);
        assert!(bytes <= 8 << 10, "a worker takes {bytes} bytes");
    }
}

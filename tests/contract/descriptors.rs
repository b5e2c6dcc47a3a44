//! Running out of descriptors: the connection is turned away and nothing spins.

use shardgate::runtime::driver::Driver;
use shardgate::runtime::driver::epoll::Epoll;
use shardgate::runtime::driver::sim::{Fault, Faults, World};
use shardgate::runtime::op::Error;
use shardgate::runtime::{Runtime, TcpListener};
use std::cell::Cell;
use std::net::{SocketAddr, TcpStream as Client};
use std::rc::Rc;
use std::time::Duration;

const IN_CHILD: &str = "SHARDGATE_TEST_FEW_DESCRIPTORS";

const DESCRIPTORS_MAX: u64 = 64;

/// In a process of its own, because the limit is the process's.
#[test]
#[expect(clippy::disallowed_methods, reason = "the child is told by its environment that it is one")]
fn epoll_turns_a_connection_away_without_a_descriptor_and_does_not_spin() {
    if std::env::var_os(IN_CHILD).is_some() {
        return run_with_few_descriptors();
    }
    let name = "descriptors::epoll_turns_a_connection_away_without_a_descriptor_and_does_not_spin";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(IN_CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child ran the test");
}

#[expect(clippy::disallowed_methods, reason = "the clients are not under test")]
fn run_with_few_descriptors() {
    let runtime = Runtime::new(Driver::Epoll(Box::new(Epoll::new().unwrap())), 1 << 20);
    let shed = Rc::new(Cell::new(0));
    let address = accept_for_ever(&runtime, SocketAddr::from(([127, 0, 0, 1], 0)), &shed);
    runtime.turn(runtime.now().mono, &mut |_| {}).unwrap();
    let clients: Vec<Client> = (0..3).map(|_| Client::connect(address).unwrap()).collect();
    let limit = rustix::process::Rlimit { current: Some(DESCRIPTORS_MAX), maximum: Some(DESCRIPTORS_MAX) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let _all_others: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let mut turns = 0;
    while shed.get() < clients.len() {
        runtime.turn(runtime.now().mono + Duration::from_millis(50), &mut |_| {}).unwrap();
        turns += 1;
        assert!(turns < 100, "{} of {} turned away", shed.get(), clients.len());
    }
    assert_eq!(runtime.driver_counters().accepts_shed, clients.len() as u64);
    let quiet_from = runtime.now().mono;
    for _ in 0..5 {
        runtime.turn(runtime.now().mono + Duration::from_millis(20), &mut |_| {}).unwrap();
    }
    assert!(runtime.now().mono.since(quiet_from) >= Duration::from_millis(90), "it sleeps when nobody connects");
    for mut client in clients {
        assert_eq!(std::io::Read::read(&mut client, &mut [0; 1]).unwrap_or(0), 0, "the peer is told");
    }
}

#[test]
fn the_simulation_turns_connections_away_and_goes_on() {
    let world = World::new(1, Faults::none().with(Fault::AcceptExhausted, 500));
    let runtime = Runtime::new(Driver::Sim(world.node("host")), 1 << 20);
    let shed = Rc::new(Cell::new(0));
    let address = accept_for_ever(&runtime, SocketAddr::from(([10, 0, 0, 1], 80)), &shed);
    for _ in 0..40 {
        let client = runtime.clone();
        runtime.spawn(async move {
            let stream = crate::kit::connect(&client, address).await;
            drop(stream);
        });
    }
    while runtime.tasks() > 1 {
        runtime.turn(world.now(), &mut |_| {}).unwrap();
        world.advance(runtime.wakes_at());
    }
    while world.advance(runtime.wakes_at()) {
        runtime.turn(world.now(), &mut |_| {}).unwrap();
    }
    assert!((5..35).contains(&shed.get()), "{} of 40", shed.get());
    assert_eq!(runtime.driver_counters().accepts_shed, world.census().of(Fault::AcceptExhausted));
    runtime.drop_tasks();
    assert_eq!((runtime.leftovers(), world.open_links()), (([0; 3], 0), 0));
}

/// Accepts and drops whatever comes, and counts those turned away.
fn accept_for_ever(runtime: &Runtime, address: SocketAddr, shed: &Rc<Cell<usize>>) -> SocketAddr {
    let listener = TcpListener::bind(runtime, address).unwrap();
    let (address, shed) = (listener.address(), shed.clone());
    runtime.spawn(async move {
        loop {
            match listener.accept().await {
                Ok(_) => {}
                Err(Error::Exhausted) => shed.set(shed.get() + 1),
                Err(error) => panic!("the accept failed: {error}"),
            }
        }
    });
    address
}

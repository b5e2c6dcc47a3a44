//! Heap allocations a request on the shard's thread, HTTP/1.1 to HTTP/1.1 in clear text: none, once it is warm.
//!
//! The slope between two exact request counts, as the other counts are measured.

#![allow(unsafe_code, reason = "a counting allocator is one")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "clients and origin are ordinary threads"
)]

use shardgate::config::ids::Ids;
use shardgate::config::load::load_text;
use shardgate::proxy::Calls;
use shardgate::runtime::driver::{Driver, epoll::Epoll};
use shardgate::runtime::listener::Socket;
use shardgate::runtime::mailbox::{Latest, mailbox};
use shardgate::runtime::{Runtime, Stop};
use shardgate::shard::{Listen, Mail, Parts, Shard};
use shardgate::stdx::board::Board;
use shardgate::stdx::time::Mono;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the thread that asked to be counted.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn a_request_allocates_nothing() {
    let (few, many) = count("service: origin", "");
    if let Ok(file) = std::env::var("SHARDGATE_ALLOCATIONS") {
        let slope = many.saturating_sub(few) as f64 / 10_000.0;
        std::fs::write(file, format!("{{\"allocations_per_request\": {slope}}}\n")).unwrap();
    }
    // Nor one of a route that demands and rewrites, and whose head every policy changes. One after the other, as
    // allocations are counted in one place.
    count(DEMANDING, "");
    let secret = Path::new(env!("CARGO_TARGET_TMPDIR")).join("allocations.secret");
    std::fs::write(&secret, SECRET).unwrap();
    let policies = POLICIES.replace("SECRET", secret.to_str().unwrap());
    count("service: origin", &policies);
    count(DEMANDING, &policies);
    // Nor one of a consumer that has policies of its own.
    count("service: origin", KEYED);
}

/// Allocations in 2,000 requests and in 12,000 more, of which there must be none.
fn count(route: &str, policies: &str) -> (u64, u64) {
    let origin = origin();
    let (gateway, outbox, ended) = gateway(origin, route, policies);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| TcpStream::connect(gateway).unwrap()).collect();
    ask(&mut clients, WARM_UP_REQUESTS);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    ask(&mut clients, 2_000);
    let few = ALLOCATIONS.load(Ordering::Relaxed) - before;
    ask(&mut clients, 12_000);
    let many = ALLOCATIONS.load(Ordering::Relaxed) - before - few;
    println!("allocations: {few} in 2,000 requests, {many} in 12,000");
    drop(clients);
    outbox.post(Mail::Drain { patience: Duration::from_secs(5), stop: Stop::Dry }).unwrap();
    ended.recv_timeout(Duration::from_secs(20)).expect("the shard drains");
    assert!(before > 0, "the shard's thread is counted");
    assert!(many < 10, "{many} allocations in 12,000 requests");
    (few, many)
}

/// Each client sends a request and reads its answer, in turn, until `requests` are answered.
fn ask(clients: &mut [TcpStream], requests: usize) {
    let mut answer = [0; 4096];
    for _ in 0..requests / clients.len() {
        for client in clients.iter_mut() {
            client.write_all(REQUEST).unwrap();
        }
        for client in clients.iter_mut() {
            let mut length = 0;
            while !answer[..length].ends_with(BODY) {
                let received = client.read(&mut answer[length..]).unwrap();
                assert!(received > 0, "the gateway closed");
                length += received;
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    }
}

/// A shard on its own thread, counted.
fn gateway(
    origin: SocketAddr,
    route: &str,
    policies: &str,
) -> (SocketAddr, shardgate::runtime::mailbox::Outbox<Mail>, mpsc::Receiver<()>) {
    let text = format!(
        "version: 1\nlisteners: [{{ name: public, address: \"127.0.0.1:0\" }}]\n\
         services: [{{ name: origin, endpoints: [\"{origin}\"] }}]\nroutes: [{{ name: all, {route} }}]\n\
         {policies}"
    );
    let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
    let snapshot = load_text("test.yaml", &text, &mut Ids::default(), &resolve).unwrap();
    let (ready, is_ready) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || {
        COUNTED.set(true);
        let epoll = Epoll::new().unwrap();
        let (outbox, inbox) = mailbox(1, Some(epoll.bell()));
        let (peer, handoffs) = mailbox(1, None);
        let runtime = Runtime::new(Driver::Epoll(Box::new(epoll)), 1 << 24);
        let address = snapshot.listeners[0].address;
        let listen =
            Listen { id: 0, name: "public".to_owned(), address, proxies: [].into(), socket: Socket::Bind(address) };
        let board = Board::new(1, 1, 8);
        board.limit(&snapshot.plan.limits, Mono::ZERO);
        let parts = Parts {
            shard: 0,
            board: Arc::new(board),
            plan: snapshot.plan.clone(),
            listeners: vec![listen],
            log: None,
            seed: 1,
            inbox,
            handoffs,
            peers: vec![peer],
            publications: Latest::new(None),
            keys: Latest::new(None),
            calls: Calls::new(mailbox(1, None).0, None),
            reporter: None,
        };
        let (mut shard, addresses) = Shard::new(runtime, parts).unwrap();
        ready.send((addresses[0].1, outbox)).unwrap();
        shard.run().unwrap();
        end.send(()).unwrap();
    });
    let (address, outbox) = is_ready.recv().unwrap();
    (address, outbox, ended)
}

/// Answers every request of every connection with the same bytes.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut bytes = [0; 4096];
                while let Ok(received) = connection.read(&mut bytes)
                    && received > 0
                {
                    request.extend_from_slice(&bytes[..received]);
                    if request.ends_with(b"\r\n\r\n") {
                        request.clear();
                        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n";
                        connection.write_all(&[head, BODY].concat()).unwrap();
                    }
                }
            });
        }
    });
    address
}

/// Everything that a route can ask for and do on the way to a service.
const DEMANDING: &str = "paths: [{ regex: \"/a/.*\" }], methods: [GET], cookies: [{ name: id }],
  headers: [{ name: User-Agent, regex: \"te.*\" }], query: [{ name: c, exact: d }],
  split: { sticky_by: { header: user-agent }, arms: [{ service: origin, percent: 100 }] },
  rewrite: { host: inner, path: { regex: { matches: \"/(.*)\", to: \"/x/./$1/y\" } } }";
/// Every kind that changes or looks at heads.
const POLICIES: &str = "policies:
- ip_filter: { deny: [10.0.0.0/8] }
- cors: { origins: [\"https://a.test\"] }
- request_size: { body_bytes_max: 1000 }
- request_id: { header_name: X-Id, generator: uuid, echo_downstream: true }
- request_transform: { remove: { headers: [User-Agent], querystring: [c] }, add: { headers: [\"X-A:1\"] } }
- response_transform: { rename: { headers: [\"Content-Type:X-Type\"] } }
- security_headers: {}
- jwt:
    issuers: [{ issuer: me, audiences: api, algorithms: [HS256], keys: [{ secret_file: \"SECRET\" }] }]
    consumer_claim: sub
    claims_to_headers: { X-User: sub, X-Roles: roles }
- rate_limit: { requests_per_second: 1000000, key: [consumer], limits: [{ requests_per_hour: 1000000 }] }
";
/// Requests have a key, whose consumer and whose group have policies in the place of everybody's.
const KEYED: &str = "api_keys: { pepper_file: config/example.pepper }
consumer_groups: [{ name: gold, policies: [{ security_headers: {} }] }]
consumers:
- name: ann
  groups: [gold]
  keys: [{ prefix: sg_d, hash: \"-Ym1gilVkrlLXHGilK-qY4PJPweJ5S8YjPmrmHRWFVY\" }]
  policies: [{ request_transform: { add: { headers: [\"X-A:1\"] } } }]
policies:
- api_key: { places: [{ query: c }], hide_key: true }
- anonymous: { consumer: ann }
- security_headers: {}
";
/// What the token below is signed with.
const SECRET: &str = "a secret of thirty-two bytes, ok.";
const REQUEST: &[u8] = b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nCookie: id=7\r\n\
    Origin: https://a.test\r\n\
    Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.\
    eyJpc3MiOiJtZSIsInN1YiI6ImFubiIsImF1ZCI6ImFwaSIsInNjb3BlIjoicmVhZCB3cml0ZSIsInJvbGVzIjpbImEiLCJiIl19.\
    Grr_D3MmXYdAREcM3UIiMQ1GUw8G-BGMvFJf4w7NMVo\r\n\r\n";
const CLIENTS: usize = 8;
const WARM_UP_REQUESTS: usize = 4_000;
const BODY: &[u8] = b"hello world";

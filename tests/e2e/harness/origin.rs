//! An upstream that does as a test says: one thread a connection, every byte it hears kept.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use super::wire::find;
use super::{Message, Wire, wait_until};

pub struct Origin {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What each connection received, in order of arrival.
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    /// Those that came whole.
    requests: Mutex<Vec<Message>>,
    /// Connections whose script ended.
    finished: Mutex<usize>,
    /// What went wrong in a script.
    panics: Mutex<usize>,
}

/// A connection to the origin, for its script.
pub struct Peer {
    /// 0 for the first connection that the origin accepted.
    pub number: usize,
    wire: Wire,
    state: Arc<State>,
}

impl Origin {
    /// Runs `script` for each connection, which closes when it returns.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = state.clone();
        let script = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peer = Peer::new(stream, shared.clone());
                let script = script.clone();
                thread::spawn(move || run(peer, &*script));
            }
        });
        Self { address, state }
    }

    /// Answers every request, once it is there whole, with the same bytes.
    pub fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |peer| while peer.request().is_some() && peer.send(&answer) {})
    }

    /// Reads a head and then answers, whatever the head announced; then closes.
    pub fn blurting(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(move |peer| {
            if peer.request_head().is_some() {
                peer.send(&answer);
            }
        })
    }

    pub fn requests(&self) -> Vec<Message> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The only request that came.
    #[track_caller]
    pub fn only_request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:#?}");
        requests.remove(0)
    }

    pub fn targets(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.target().to_owned()).collect()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }

    /// Waits until every connection's script came to its end.
    #[track_caller]
    pub fn wait_finished(&self, count: usize) {
        wait_until("the origin's connections end", || *self.state.finished.lock().unwrap() >= count);
    }

    /// What connection `number` received.
    pub fn bytes(&self, number: usize) -> Vec<u8> {
        let connections = self.state.connections.lock().unwrap();
        connections.get(number).map(|bytes| bytes.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Some connection received `text` in its raw bytes.
    pub fn heard(&self, text: &str) -> bool {
        (0..self.connections()).any(|number| find(&self.bytes(number), text.as_bytes()).is_some())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(*self.state.panics.lock().unwrap(), 0, "an origin's script failed: see above");
        }
    }
}

impl Peer {
    fn new(stream: TcpStream, state: Arc<State>) -> Self {
        let wire = Wire::new(stream);
        let mut connections = state.connections.lock().unwrap();
        let number = connections.len();
        connections.push(wire.record());
        drop(connections);
        Self { number, wire, state }
    }

    /// A whole request, which is also noted in the origin's list.
    #[track_caller]
    pub fn request(&mut self) -> Option<Message> {
        let request = self.wire.request()?;
        self.state.requests.lock().unwrap().push(request.clone());
        Some(request)
    }
}

impl Deref for Peer {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// An address of this machine at which nobody listens: of a host of its own, so that no other test is given its port.
pub fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::new(127, 0, 0, 77), 0)).unwrap().local_addr().unwrap()
}

/// An address whose connections are never completed: a listener whose queue is full. It lasts as long as what is
/// returned beside it.
pub fn black_hole() -> (SocketAddr, impl Sized) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address: SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let client = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
            // In progress is all that is wanted of it.
            connect(&client, &address).ok();
            client
        })
        .collect();
    (address, (listener, waiting))
}

fn run(mut peer: Peer, script: &dyn Fn(&mut Peer)) {
    let state = peer.state.clone();
    let result = catch_unwind(AssertUnwindSafe(|| script(&mut peer)));
    drop(peer);
    if result.is_err() {
        *state.panics.lock().unwrap() += 1;
    }
    *state.finished.lock().unwrap() += 1;
}

//! Every listening socket of this process: opened here, or taken over from who had it before.
//!
//! One that is opened here is bound to its address, so that nobody else can be, and does not listen yet: the shard that
//! is to accept on it has it do so when it can, and until then the kernel sends nobody there.
//!
//! The shards accept on descriptors of their own; those that are kept here are for the next process. While one is kept,
//! nothing that the shards do closes the socket, so it is let go of before they are told to accept dry.

use super::start::{CLAIM_PATIENCE, claim, failed};
use crate::config::snapshot::Listener;
use crate::control::journal::say;
use crate::runtime::listener::{self, Socket};
use crate::shard::{Listen, ListenError};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, sockopt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

#[derive(Debug, Default)]
pub struct Sockets {
    kept: Vec<(SocketAddr, OwnedFd)>,
    /// Where the admin listener is.
    admin: Option<(SocketAddr, std::net::TcpListener)>,
    /// From another process, and not yet asked for.
    inherited: Vec<(SocketAddr, OwnedFd)>,
    /// How long an address that is in use is waited for.
    patience: Duration,
}

impl Sockets {
    pub fn new(inherited: Vec<OwnedFd>) -> Self {
        let addressed = inherited.into_iter().filter_map(|socket| {
            let address = net::getsockname(&socket).and_then(SocketAddr::try_from).ok()?;
            Some((address, socket))
        });
        Self { inherited: addressed.collect(), patience: CLAIM_PATIENCE, ..Self::default() }
    }

    /// What each of `shards` shards accepts on for these listeners. Of sockets that were inherited every one is served
    /// by somebody: what waits in its queue is nobody else's.
    pub fn open<'a>(
        &mut self,
        listeners: impl Iterator<Item = &'a Listener>,
        shards: usize,
    ) -> Result<Vec<Vec<Listen>>, ListenError> {
        let mut of_shards: Vec<Vec<Listen>> = (0..shards).map(|_| Vec::new()).collect();
        // Of a list that fails nothing stays open: who connected there would wait for nobody.
        let mut all_kept = Vec::new();
        for listener in listeners {
            let sockets = self.sockets_of(listener, shards)?;
            for (place, (_, socket)) in sockets.into_iter().enumerate() {
                let kept = socket.try_clone().map_err(|error| failed(&listener.name, listener.address, &error))?;
                all_kept.push((listener.address, kept));
                of_shards[place % shards].push(Listen {
                    id: listener.id,
                    name: listener.name.clone(),
                    address: listener.address,
                    proxies: listener.proxies.clone(),
                    socket: Socket::Adopt(socket),
                });
            }
        }
        self.kept.append(&mut all_kept);
        Ok(of_shards)
    }

    /// Opens the admin listener's, and says where that is.
    pub fn admin(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        let failed = |error: std::io::Error| failed("admin", address, &error);
        let inherited = self.inherited.iter().position(|(other, _)| *other == address);
        let socket = match inherited {
            Some(place) => self.inherited.swap_remove(place).1,
            None => {
                let socket = claim("admin", address, self.patience)?;
                listener::listen(&socket).map_err(|errno| failed(errno.into()))?;
                socket
            }
        };
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        self.admin = Some((bound, socket));
        Ok(bound)
    }

    /// Another descriptor of the admin listener's, to accept on.
    pub fn admin_listener(&self) -> Option<TcpListener> {
        let (_, socket) = self.admin.as_ref()?;
        TcpListener::from_std(socket.try_clone().ok()?).ok()
    }

    /// The shards accept dry next: what they hold is the last of it.
    pub fn close(&mut self, address: SocketAddr) {
        self.kept.retain(|(other, _)| *other != address);
    }

    pub fn close_all(&mut self) {
        self.kept.clear();
    }

    /// The gateway serves. What was inherited and no listener asked for is closed with what it has in its queue, and
    /// from now on others have something to do while an address is in use.
    pub fn begun(&mut self) {
        self.patience = Duration::ZERO;
        for (address, _) in self.inherited.drain(..) {
            say!(Warn, "no listener is configured for {address}, which was handed over: closed");
        }
    }

    /// Another descriptor of every socket, for another process.
    pub fn copies(&self) -> std::io::Result<Vec<OwnedFd>> {
        let admin = self.admin.iter().map(|(_, socket)| socket.try_clone().map(OwnedFd::from));
        self.kept.iter().map(|(_, socket)| socket.try_clone()).chain(admin).collect()
    }

    /// What was given away comes back: the sockets are as if they were inherited.
    pub fn take_back(&mut self) {
        self.inherited.append(&mut self.kept);
    }

    fn sockets_of(&mut self, listener: &Listener, shards: usize) -> Result<Vec<(SocketAddr, OwnedFd)>, ListenError> {
        let is_its = |(address, _): &mut (SocketAddr, OwnedFd)| *address == listener.address;
        let mut sockets: Vec<_> = self.inherited.extract_if(.., is_its).collect();
        let given = sockets.len();
        let failed = |error: std::io::Error| failed(&listener.name, listener.address, &error);
        if given == 0 {
            let first = claim(&listener.name, listener.address, self.patience)?;
            // Of port 0 the first socket chooses for all.
            let bound = net::getsockname(&first).and_then(SocketAddr::try_from);
            sockets.push((bound.map_err(|errno| failed(errno.into()))?, first));
        }
        let (address, first) = &sockets[0];
        let (address, shares) = (*address, sockopt::socket_reuseport(first).unwrap_or(false));
        for place in sockets.len()..shards {
            let opened = if shares { listener::bind(address) } else { Err(Errno::ADDRINUSE) };
            let socket = match opened {
                // One that does not share its address, or with no other user, is shared itself.
                Err(Errno::ADDRINUSE) if given > 0 => sockets[place % given].1.try_clone(),
                opened => opened.map_err(Into::into),
            };
            sockets.push((address, socket.map_err(failed)?));
        }
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(shares: bool) -> OwnedFd {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = listener::bind(any).expect("a free port");
        listener::listen(&socket).expect("nobody else listens there");
        sockopt::set_socket_reuseport(&socket, shares).expect("it is a socket");
        socket
    }

    #[track_caller]
    fn check(inherited: usize, shares: bool, shards: usize, want: &[usize]) {
        let first = listening(shares);
        let address = net::getsockname(&first).and_then(SocketAddr::try_from).expect("it is bound");
        let mut all = vec![first];
        while all.len() < inherited {
            all.push(all[0].try_clone().expect("a descriptor"));
        }
        let mut sockets = Sockets::new(all);
        let listener = Listener { id: 0, name: "a".to_owned(), address, proxies: [].into() };
        let of_shards = sockets.open([&listener].into_iter(), shards).expect("it can be opened");
        assert_eq!(of_shards.iter().map(Vec::len).collect::<Vec<_>>(), want);
        assert_eq!(sockets.copies().expect("descriptors").len(), want.iter().sum::<usize>());
        sockets.close(address);
        assert!(sockets.copies().expect("descriptors").is_empty());
    }

    #[test]
    fn of_a_list_that_cannot_be_opened_whole_nothing_is_open() {
        let any = || net::getsockname(listening(true)).and_then(SocketAddr::try_from).expect("it is bound");
        let taken = listening(true);
        let taken = (net::getsockname(&taken).and_then(SocketAddr::try_from).expect("it is bound"), taken);
        let listener = |name: &str, address| Listener { id: 0, name: name.to_owned(), address, proxies: [].into() };
        let (first, second) = (listener("first", any()), listener("second", taken.0));
        let mut sockets = Sockets::new(Vec::new());
        sockets.begun();
        let failed = sockets.open([&first, &second].into_iter(), 2).expect_err("somebody listens at the second");
        assert_eq!(failed.name, "second");
        assert!(sockets.copies().expect("descriptors").is_empty());
        drop(taken);
        assert!(sockets.open([&first, &second].into_iter(), 2).is_ok(), "the first one's address is free again");
    }

    /// What std opens has SO_REUSEADDR.
    #[expect(clippy::disallowed_methods, reason = "a stranger, who has what std opens")]
    #[track_caller]
    fn assert_is_claimed(port: u16) {
        for address in ["127.0.0.1", "0.0.0.0", "::"] {
            let address: std::net::IpAddr = address.parse().expect("it is one");
            let opened = std::net::TcpListener::bind((address, port)).map_err(|error| error.kind());
            assert_eq!(opened.err(), Some(std::io::ErrorKind::AddrInUse), "{address}");
            assert!(listener::claim((address, port).into()).is_err(), "{address}");
        }
    }

    #[test]
    fn an_address_is_claimed_before_anybody_listens_there_and_afterwards() {
        let mut sockets = Sockets::new(Vec::new());
        let any = Listener { id: 0, name: "a".to_owned(), address: ([127, 0, 0, 1], 0).into(), proxies: [].into() };
        let of_shards = sockets.open([&any].into_iter(), 2).expect("a free port");
        let all: Vec<_> = of_shards.iter().flatten().collect();
        let of = |listen: &Listen| match &listen.socket {
            Socket::Adopt(socket) => socket.try_clone().expect("a descriptor"),
            Socket::Bind(address) => unreachable!("{address} is not bound"),
        };
        let port = net::getsockname(of(all[0])).and_then(SocketAddr::try_from).expect("it is bound").port();
        assert_is_claimed(port);
        for listen in all {
            listener::listen(&of(listen)).expect("its shard's alone");
            assert_is_claimed(port);
        }
    }

    #[test]
    fn an_address_within_another_of_one_list_is_in_use() {
        let port = net::getsockname(listening(true)).and_then(SocketAddr::try_from).expect("it is bound").port();
        let listener = |name: &str, address: &str| {
            let address = SocketAddr::new(address.parse().expect("it is one"), port);
            Listener { id: 0, name: name.to_owned(), address, proxies: [].into() }
        };
        for (first, second) in [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "::")] {
            let (first, second) = (listener("first", first), listener("second", second));
            let mut sockets = Sockets::new(Vec::new());
            sockets.begun();
            let failed = sockets.open([&first, &second].into_iter(), 2).expect_err("they overlap");
            assert_eq!(failed.name, "second");
        }
    }

    /// Those of an earlier gateway, and those of another program, whose sockets did not share their address.
    #[expect(clippy::disallowed_methods, reason = "a client of its own")]
    #[test]
    fn connections_that_linger_are_no_obstacle() {
        for shares in [true, false] {
            let socket = listening(shares);
            let address = net::getsockname(&socket).and_then(SocketAddr::try_from).expect("it is bound");
            let client = std::net::TcpStream::connect(address).expect("somebody listens");
            // Whoever closes first lingers.
            drop(net::accept(&socket).expect("one has come"));
            drop((client, socket));
            let listener = Listener { id: 0, name: "a".to_owned(), address, proxies: [].into() };
            let mut sockets = Sockets::new(Vec::new());
            sockets.begun();
            let of_shards = sockets.open([&listener].into_iter(), 2).expect("nobody listens");
            for listen in of_shards.into_iter().flatten() {
                let Socket::Adopt(socket) = listen.socket else { unreachable!("it is bound") };
                listener::listen(&socket).expect("nobody else does");
            }
        }
    }

    #[test]
    fn every_inherited_socket_is_served_and_every_shard_has_one() {
        check(1, true, 1, &[1]);
        check(1, true, 3, &[1, 1, 1]);
        check(1, false, 3, &[1, 1, 1]);
        check(4, true, 2, &[2, 2]);
        check(3, true, 2, &[2, 1]);
    }
}

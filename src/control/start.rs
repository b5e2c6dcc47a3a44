//! What it takes to start: sockets, limits, and one clear line for whatever stands in the way.

use crate::config::problem::Problems;
use crate::config::snapshot::{Listener, Snapshot};
use crate::runtime::listener::Socket;
use crate::runtime::{Error, listener};
use crate::shard::{Listen, ListenError};
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Why the gateway did not start. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Configuration(Problems),
    #[error("cannot listen on {address} ({name}): {what}", address = .0.address, name = .0.name, what = advice(.0))]
    Listen(ListenError),
    #[error("the event loop cannot be set up: {0}")]
    EventLoop(Error),
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("there is no randomness to be had: {0}")]
    Random(std::io::Error),
    #[error("the control thread cannot be set up: {0}")]
    Control(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("the access log cannot be written: {0}")]
    Log(std::io::Error),
    #[error("a shard ended by itself")]
    ShardEnded,
}

pub async fn admin_socket(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|error: std::io::Error| {
        let error = rustix::io::Errno::from_io_error(&error).map_or(Error::Exhausted, Error::from);
        StartError::Listen(ListenError { name: "admin".to_owned(), address, error })
    })
}

/// A socket of each listener for each shard.
pub fn listen<'a>(
    listeners: impl Iterator<Item = &'a Listener>,
    shards: usize,
) -> Result<Vec<Vec<Listen>>, ListenError> {
    let mut of_shards: Vec<_> = (0..shards).map(|_| Vec::new()).collect();
    for Listener { id, name, address } in listeners {
        let mut address = *address;
        for of_shard in &mut of_shards {
            let failed = |errno: rustix::io::Errno| ListenError { name: name.clone(), address, error: errno.into() };
            let socket = listener::open(address).map_err(failed)?;
            // Of port 0 the first socket chooses for all.
            address = net::getsockname(&socket).and_then(SocketAddr::try_from).map_err(failed)?;
            of_shard.push(Listen { id: *id, name: name.clone(), address, socket: Socket::Adopt(socket) });
        }
    }
    Ok(of_shards)
}

/// Fails if somebody listens there. Shards share their ports (SO_REUSEPORT) and so would a second gateway: each of the
/// two would get some of the connections. A socket that does not share finds out.
pub fn claim(listener: &Listener) -> Result<(), ListenError> {
    let Listener { name, address, .. } = listener;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let bound = net::socket(family, SocketType::STREAM, None).and_then(|probe| {
        // Connections of an earlier process that linger in TIME_WAIT are no obstacle.
        sockopt::set_socket_reuseaddr(&probe, true)?;
        net::bind(&probe, address)
    });
    bound.map_err(|errno| ListenError { name: name.clone(), address: *address, error: errno.into() })
}

/// Uses all descriptors that the system allows us, and says so if they are too few for the configured connections.
pub fn raise_descriptor_limit(snapshot: &Snapshot) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        // Not being allowed to leaves the limit where it was, which the warning then tells.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // A connection on each side for every exchange.
    let wanted = 2 * snapshot.plan.settings.limits.connections_max as u64 + DESCRIPTORS_OWN;
    if allowed < wanted {
        eprintln!(
            "shardgate: warning: open files are limited to {allowed}, and limits.connections_max needs {wanted}: \
             raise the limit (`ulimit -n {wanted}`, systemd's LimitNOFILE) or lower limits.connections_max"
        );
    }
}

fn advice(failed: &ListenError) -> String {
    match failed.error {
        Error::Other(IN_USE) => "the address is in use: stop what uses it, or choose another port".to_owned(),
        Error::Other(NOT_PERMITTED) => "permission denied: ports below 1024 need CAP_NET_BIND_SERVICE or a lower \
             net.ipv4.ip_unprivileged_port_start"
            .to_owned(),
        Error::Exhausted => "the address is not one of this machine's, or descriptors have run out".to_owned(),
        other => other.to_string(),
    }
}

/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// `EADDRINUSE` and `EACCES` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;

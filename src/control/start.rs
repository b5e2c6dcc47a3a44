//! What it takes to start: sockets, limits, and one clear line for whatever stands in the way.

use super::handover::Refused;
use crate::config::problem::Problems;
use crate::config::snapshot::Snapshot;
use crate::control::journal::say;
use crate::runtime::{Error, inherit, listener};
use crate::shard::ListenError;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

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
    #[error("cannot take over: {0}")]
    Handover(Refused),
    #[error("the control socket {0} cannot be used: {1}")]
    ControlSocket(std::path::PathBuf, std::io::Error),
    #[error("a shard ended by itself")]
    ShardEnded,
}

/// The sockets that whoever started this process left open for it. By systemd's protocol they are meant for the process
/// whose number is told beside theirs.
#[expect(clippy::disallowed_methods, reason = "systemd tells by the environment")]
pub fn inherited() -> Vec<OwnedFd> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => inherit::listening_sockets(count as usize),
        _ => Vec::new(),
    }
}

/// Why a listener could not be opened.
pub fn failed(name: &str, address: SocketAddr, error: &std::io::Error) -> ListenError {
    let error = match Errno::from_io_error(error) {
        // Who connects has no port left; who listens has named an address that is not there.
        Some(errno @ Errno::ADDRNOTAVAIL) => Error::Other(errno.raw_os_error()),
        errno => errno.map_or(Error::Exhausted, Error::from),
    };
    ListenError { name: name.to_owned(), address, error }
}

/// The first socket of an address. Shards share their ports (SO_REUSEPORT) and so would a second gateway: each of the
/// two would get some of the connections. So it fails if anybody else is bound there.
///
/// With `patience` somebody may be on the way out: of a process that was killed the kernel ends the rings in its own
/// time, and until then they hold its sockets.
#[expect(clippy::disallowed_methods, reason = "nothing else happens yet while the gateway starts")]
pub fn claim(name: &str, address: SocketAddr, patience: Duration) -> Result<OwnedFd, ListenError> {
    let mut claimed = listener::claim(address);
    for _ in 0..patience.as_millis() / CLAIM_INTERVAL.as_millis() {
        if claimed.as_ref().err() != Some(&Errno::ADDRINUSE) {
            break;
        }
        std::thread::sleep(CLAIM_INTERVAL);
        claimed = listener::claim(address);
    }
    claimed.map_err(|errno| failed(name, address, &errno.into()))
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
        say!(
            Warn,
            "open files are limited to {allowed}, and limits.connections_max needs {wanted}: \
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
        Error::Other(NOT_HERE) => "the address is not one of this machine's".to_owned(),
        Error::Exhausted => {
            "descriptors or memory have run out: raise the limit (`ulimit -n`, systemd's LimitNOFILE)".to_owned()
        }
        other => other.to_string(),
    }
}

/// How long a start waits for an address that is in use.
pub const CLAIM_PATIENCE: Duration = Duration::from_secs(2);
const CLAIM_INTERVAL: Duration = Duration::from_millis(20);
/// Epoll, bell, log, listeners, and some to spare.
const DESCRIPTORS_OWN: u64 = 64;
/// `EADDRINUSE`, `EACCES` and `EADDRNOTAVAIL` on Linux.
const IN_USE: i32 = 98;
const NOT_PERMITTED: i32 = 13;
const NOT_HERE: i32 = 99;

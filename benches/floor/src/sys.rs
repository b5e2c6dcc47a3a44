//! The few system calls that the programs make, each a thin wrapper: nothing hidden, so that a count of them is theirs.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Events taken in one wait.
const EVENTS_MAX: usize = 256;

/// Connections the kernel may hold for a listener that has not accepted them yet.
const BACKLOG: i32 = 4096;

/// What a non-blocking read or write came to. A peer's end and any error are the same to these programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Bytes(usize),
    NotReady,
    Closed,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl Event {
    pub fn token(self) -> usize {
        self.0.u64 as usize
    }

    pub fn readable(self) -> bool {
        self.0.events & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    pub fn writable(self) -> bool {
        self.0.events & libc::EPOLLOUT as u32 != 0
    }

    /// The peer has ended: a read must go on until it says so.
    pub fn ending(self) -> bool {
        self.0.events & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

/// Edge-triggered, both directions, one registration a socket's life.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no memory; the descriptor returned is owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(result(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, events: vec![Event(libc::epoll_event { events: 0, u64: 0 }); EVENTS_MAX] })
    }

    pub fn add(&self, fd: RawFd, token: usize) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest as u32, u64: token as u64 };
        // SAFETY: the event lives through the call, which copies it.
        result(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
    }

    /// Waits without end; `event(0..n)` are then valid.
    pub fn wait(&mut self) -> io::Result<usize> {
        // SAFETY: `Event` is transparent over the kernel's own type; it writes at most `EVENTS_MAX` of them.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr().cast(), EVENTS_MAX as i32, -1) };
        uninterrupted(count)
    }

    /// Waits at most for `timeout`, which counts in nanoseconds: `epoll_wait`'s milliseconds are 20 requests long.
    pub fn wait_for(&mut self, timeout: Duration) -> io::Result<usize> {
        let time = libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        // SAFETY: as in `wait`; `time` lives through the call, and no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as i32,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        uninterrupted(count as i32)
    }

    pub fn event(&self, index: usize) -> Event {
        self.events[index]
    }
}

pub fn listen(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let fd = socket(libc::SOCK_NONBLOCK)?;
    set(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    // Accepted sockets inherit it, which saves a call for each.
    set(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    let (name, length) = sockaddr(address);
    // SAFETY: `name` is a whole sockaddr_in and outlives the call.
    result(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    // SAFETY: takes no memory.
    result(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
    Ok(fd)
}

pub fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null addresses are allowed; the descriptor returned is owned by nobody else.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    // SAFETY: see above.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a connection is opened.
#[derive(Clone, Copy, Default)]
pub struct Connect {
    pub source: Option<Ipv4Addr>,
    /// A small one makes the peer feel a slow reader at once.
    pub receive_buffer_bytes: Option<i32>,
    /// Return a socket that is connected, not one that still is connecting.
    pub blocking: bool,
}

/// The socket is non-blocking afterwards, whatever the options.
pub fn connect(address: SocketAddrV4, options: Connect) -> io::Result<OwnedFd> {
    let fd = socket(if options.blocking { 0 } else { libc::SOCK_NONBLOCK })?;
    set(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if let Some(bytes) = options.receive_buffer_bytes {
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
    }
    if let Some(source) = options.source {
        // The port is chosen when connecting, so that sources do not share one range of ports.
        set(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        let (name, length) = sockaddr(SocketAddrV4::new(source, 0));
        // SAFETY: `name` is a whole sockaddr_in and outlives the call.
        result(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), length) })?;
    }
    let (name, length) = sockaddr(address);
    // SAFETY: `name` is a whole sockaddr_in and outlives the call.
    match result(unsafe { libc::connect(fd.as_raw_fd(), (&raw const name).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    if options.blocking {
        // SAFETY: takes no memory.
        result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    }
    Ok(fd)
}

pub fn receive(fd: RawFd, into: &mut [u8]) -> Moved {
    // SAFETY: the kernel writes at most `into.len()` bytes there.
    match unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), 0) } {
        0 => Moved::Closed,
        count => moved(count),
    }
}

pub fn send(fd: RawFd, bytes: &[u8]) -> Moved {
    // SAFETY: the kernel reads at most `bytes.len()` bytes there.
    moved(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Timers of this process fire when they are due, not up to 50 us later.
pub fn sharpen_timers() -> io::Result<()> {
    // SAFETY: takes no memory.
    result(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) }).map(drop)
}

/// Raises the soft limit of open files to the hard one.
pub fn raise_file_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit.
    result(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit.
    result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

fn socket(flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes no memory; the descriptor returned is owned by nobody else.
    let fd = result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags, 0) })?;
    // SAFETY: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set(fd: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads one i32.
    let code =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<i32>() as u32) };
    result(code).map(drop)
}

fn sockaddr(address: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let name = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

fn moved(count: isize) -> Moved {
    if count >= 0 {
        return Moved::Bytes(count as usize);
    }
    match io::Error::last_os_error().kind() {
        io::ErrorKind::WouldBlock => Moved::NotReady,
        _ => Moved::Closed,
    }
}

fn result(code: i32) -> io::Result<i32> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn uninterrupted(count: i32) -> io::Result<usize> {
    match result(count) {
        Ok(count) => Ok(count as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

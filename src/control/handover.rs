//! Hot restart: a new process takes the listening sockets over from the one that runs.
//!
//! ```text
//!   new                                     old
//!    | connect, "TAKE 1" ------------------> | its shards stop accepting, to the last completion;
//!    |                                       | what comes meanwhile waits in the sockets' queues
//!    | <---------------- sockets, "END" ---- |
//!    | its shards accept on them; it listens |
//!    | beside the control socket             |
//!    | "READY" ----------------------------> | puts that socket in the place of its own, drains, and ends
//!    | (or it dies) -----------------------> | accepts again, as if nothing had been
//! ```
//!
//! Whoever comes to the path at any time meets a process that lives: the old one until it hears that it may go, and
//! from then on the new one. Should the old one die just then, the new one puts its socket there itself.
//!
//! Over a Unix socket that only this user may open; each side asks the kernel who the other is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use rustix::process::{Pid, PidfdFlags, Uid, pidfd_open};
use std::fs;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc as sync_mpsc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Why sockets were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the control socket is held by user {0}, not by this one: see who that is, or use another path")]
    Stranger(u32),
    #[error("the control socket's path has {0} bytes, and may have {max}: use a shorter one", max = PATH_BYTES_MAX)]
    PathTooLong(usize),
    #[error("the gateway that runs did not hand over: {0}")]
    Failed(#[from] io::Error),
}

/// The new process's end, until it is ready.
#[derive(Debug)]
pub struct Taken {
    pub sockets: Vec<OwnedFd>,
    pub old: Old,
}

/// The process that serves until this one does.
#[derive(Debug)]
pub struct Old(UnixStream);

/// What became of the old process when this one was ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Farewell {
    Told,
    /// It died before it could be told: this one is the only one.
    Gone,
}

/// What the old process's control thread is asked.
#[derive(Debug)]
pub enum Asked {
    /// To stop accepting and give its sockets.
    Sockets(sync_mpsc::Sender<Vec<OwnedFd>>),
    /// The new process accepts.
    Confirmed,
    /// It does not, and never will.
    Abandoned(io::Error),
    /// Somebody else asked.
    Stranger(u32),
}

/// Takes the sockets over from whoever listens at `path`; `None` if nobody does.
pub fn take(path: &Path, me: Uid) -> Result<Option<Taken>, Refused> {
    let path_bytes = path.as_os_str().len();
    if path_bytes > PATH_BYTES_MAX {
        return Err(Refused::PathTooLong(path_bytes));
    }
    // Before anybody stops for it.
    is_socket(path)?;
    let Some(old) = connect(path)? else { return Ok(None) };
    let holder = peer(&old)?;
    if holder != me {
        return Err(Refused::Stranger(holder.as_raw()));
    }
    old.set_read_timeout(Some(PATIENCE))?;
    old.set_write_timeout(Some(PATIENCE))?;
    (&old).write_all(TAKE)?;
    let mut sockets = Vec::new();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0; 1];
        let received = net::recvmsg(&old, &mut [IoSliceMut::new(&mut word)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(io::Error::from)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors);
            }
        }
        match (received.bytes, word[0]) {
            (1, SOCKETS) if sockets.len() <= SOCKETS_MAX => {}
            (1, END) => return Ok(Some(Taken { sockets, old: Old(old) })),
            _ => return Err(Refused::Failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl Old {
    /// This process accepts: the old one may go. Fails if it has lost patience, and accepts too.
    pub fn confirm(mut self) -> io::Result<Farewell> {
        match self.0.write_all(READY) {
            Ok(()) => Ok(Farewell::Told),
            Err(_) if has_ended(sockopt::socket_peercred(&self.0)?.pid) => Ok(Farewell::Gone),
            Err(error) => Err(error),
        }
    }
}

/// Whether this process has ended, also if nobody has asked yet how.
fn has_ended(process: Pid) -> bool {
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&at_once)).is_ok_and(|ended| ended > 0)
        }
        Err(errno) => errno == Errno::SRCH,
    }
}

/// Listens on a thread of its own, beside `path`: whoever comes there meets the process before until `enter`.
pub fn serve(path: &Path, me: Uid, tell: UnboundedSender<Asked>) -> io::Result<()> {
    is_socket(path)?;
    let (beside, path) = (beside(path), path.to_owned());
    // What a process left behind that did not come this far.
    if is_socket(&beside)? {
        fs::remove_file(&beside)?;
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
    std::thread::Builder::new().name("handover".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            // What went wrong is between the two of them, and the next one may do better.
            let Ok(stream) = stream else { continue };
            if let Err(why) = hand_over(&stream, &path, me, &tell)
                && tell.send(Asked::Abandoned(why)).is_err()
            {
                return;
            }
        }
    })?;
    Ok(())
}

/// Puts the socket of the process that accepts now in the place of the one before.
pub fn enter(path: &Path) -> io::Result<()> {
    fs::rename(beside(path), path)
}

/// Where a socket is made that is to take the place of the one at `path`: both processes know it.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// Whether there is a socket, to be replaced. Anything else is somebody's file: an error.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => Ok(true),
        Ok(_) => {
            let why = format!("{} is no socket, and stays: use another path", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// One request, from its first word to the last.
fn hand_over(mut stream: &UnixStream, path: &Path, me: Uid, tell: &UnboundedSender<Asked>) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let asker = peer(stream)?;
    if asker != me {
        return tell.send(Asked::Stranger(asker.as_raw())).map_err(gone);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut word = [0; TAKE.len()];
    stream.read_exact(&mut word)?;
    if word != *TAKE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (give, given) = sync_mpsc::channel();
    tell.send(Asked::Sockets(give)).map_err(gone)?;
    let sockets = given.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    for batch in sockets.chunks(BATCH) {
        let borrowed: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        net::sendmsg(stream, &[IoSlice::new(&[SOCKETS])], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    stream.write_all(&[END])?;
    stream.set_read_timeout(Some(START_PATIENCE))?;
    let mut word = [0; READY.len()];
    stream.read_exact(&mut word)?;
    if word != *READY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Before this one drains, so that nobody is sent to one that ends. If it fails, the new one tries it itself.
    let _not_there = enter(path);
    tell.send(Asked::Confirmed).map_err(gone)
}

/// `None` if nobody listens there. Whoever does not accept is not waited for.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, &address) {
        Ok(()) => {
            let stream = UnixStream::from(socket);
            stream.set_nonblocking(false)?;
            Ok(Some(stream))
        }
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn peer(stream: &UnixStream) -> io::Result<Uid> {
    Ok(sockopt::socket_peercred(stream)?.uid)
}

/// What the kernel has room for in a socket's address, less what `beside` adds.
const PATH_BYTES_MAX: usize = 107 - ".new".len();
const TAKE: &[u8; 7] = b"TAKE 1\n";
const READY: &[u8; 6] = b"READY\n";
const SOCKETS: u8 = b'S';
const END: u8 = b'E';
/// Descriptors in one message; the kernel takes 253.
const BATCH: usize = 64;
const SOCKETS_MAX: usize = 4096;
/// For one step.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the new process to begin, once it has the sockets.
const START_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getuid;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    #[test]
    fn sockets_go_over_in_batches_and_the_old_process_learns_how_it_ended() {
        let path = std::env::temp_dir().join(format!("shardgate-handover-{}", std::process::id()));
        assert!(take(&path, getuid()).expect("nobody is there").is_none());
        let (tell, mut asked) = unbounded_channel();
        serve(&path, getuid(), tell).expect("it can be bound");
        enter(&path).expect("it was bound");
        for (confirms, count) in [(true, 0), (false, 1), (true, 3 * BATCH + 1)] {
            let path = path.clone();
            let new = move || {
                let taken = take(&path, getuid()).expect("it hands over").expect("somebody is there");
                let count = taken.sockets.len();
                if confirms {
                    taken.old.confirm().expect("the old one listens");
                }
                count
            };
            let new = std::thread::Builder::new().spawn(new).expect("a thread");
            let Some(Asked::Sockets(give)) = asked.blocking_recv() else { panic!("sockets are asked for") };
            let one = fs::File::open("/dev/null").expect("it is there");
            let sockets = (0..count).map(|_| one.try_clone().expect("a descriptor").into()).collect();
            give.send(sockets).expect("they are waited for");
            assert_eq!(new.join().expect("it ends"), count);
            let end = asked.blocking_recv();
            assert!(
                matches!((confirms, &end), (true, Some(Asked::Confirmed)) | (false, Some(Asked::Abandoned(_)))),
                "{end:?}"
            );
        }
        fs::remove_file(path).expect("it was bound above");
    }

    #[test]
    fn whoever_comes_to_the_path_meets_a_process_that_lives() {
        fn begin(path: &Path) -> UnboundedReceiver<Asked> {
            let (tell, asked) = unbounded_channel();
            serve(path, getuid(), tell).expect("it can be bound");
            asked
        }
        let path = std::env::temp_dir().join(format!("shardgate-path-{}", std::process::id()));
        let mut old = begin(&path);
        assert!(take(&path, getuid()).expect("nobody is there").is_none());
        enter(&path).expect("it was bound");
        for dies in [true, false] {
            let its_path = path.clone();
            let new = std::thread::Builder::new().spawn(move || {
                let taken = take(&its_path, getuid()).expect("it hands over").expect("somebody is there");
                let asked = begin(&its_path);
                if !dies {
                    taken.old.confirm().expect("the old one listens");
                }
                asked
            });
            let Some(Asked::Sockets(give)) = old.blocking_recv() else { panic!("sockets are asked for") };
            give.send(Vec::new()).expect("they are waited for");
            let mut new = new.expect("a thread").join().expect("it ends");
            let end = old.blocking_recv();
            assert!(
                matches!((dies, &end), (true, Some(Asked::Abandoned(_))) | (false, Some(Asked::Confirmed))),
                "{end:?}"
            );
            let mut next = UnixStream::connect(&path).expect("somebody is there");
            next.write_all(TAKE).expect("it listens");
            let met = if dies { &mut old } else { &mut new };
            assert!(matches!(met.blocking_recv(), Some(Asked::Sockets(_))), "dies: {dies}");
            assert!(matches!(met.blocking_recv(), Some(Asked::Abandoned(_))), "it was given nothing");
        }
        assert!(enter(&path).is_err(), "the old one has done it");
        fs::remove_file(path).expect("it was bound above");
    }

    #[test]
    fn only_a_socket_gives_way_to_a_socket() {
        let folder = std::env::temp_dir().join(format!("shardgate-gives-way-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("it can be made");
        let (file, near) = (folder.join("gateway.yaml"), folder.join("gateway.new"));
        for file in [&file, &near] {
            fs::write(file, "kept").expect("it can be written");
        }
        let long = folder.join("a".repeat(PATH_BYTES_MAX));
        assert!(matches!(take(&long, getuid()), Err(Refused::PathTooLong(_))));
        let (tell, _asked) = unbounded_channel();
        let failed = serve(&file, getuid(), tell.clone()).expect_err("a file is there");
        assert_eq!(failed.kind(), io::ErrorKind::AlreadyExists);
        for _ in 0..2 {
            let path = folder.join("gateway.sock");
            serve(&path, getuid(), tell.clone()).expect("nothing, or a socket, is there");
            enter(&path).expect("it was bound");
        }
        for file in [&file, &near] {
            assert_eq!(fs::read(file).expect("it is there"), b"kept");
        }
        assert_eq!(fs::read_dir(&folder).expect("it is there").count(), 3, "nothing is left beside them");
        fs::remove_dir_all(folder).expect("it was made above");
    }

    #[test]
    fn an_old_process_that_has_died_is_told_apart_from_one_that_gave_up() {
        let (mine, its) = UnixStream::pair().expect("two ends");
        drop(its);
        // The other end is this process's, which goes on.
        assert!(Old(mine).confirm().is_err());
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let process = Pid::from_child(&child);
        while !has_ended(process) {
            std::thread::yield_now();
        }
        child.wait().expect("it has ended");
        assert!(has_ended(process), "nobody has its number any more");
    }

    #[test]
    fn strangers_neither_give_nor_get() {
        let path = std::env::temp_dir().join(format!("shardgate-stranger-{}", std::process::id()));
        let stranger = Uid::from_raw(getuid().as_raw() + 1);
        let (tell, mut asked) = unbounded_channel();
        // One who thinks that he is somebody else, so that everybody is a stranger.
        serve(&path, stranger, tell).expect("it can be bound");
        enter(&path).expect("it was bound");
        assert!(matches!(take(&path, stranger), Err(Refused::Stranger(user)) if user == getuid().as_raw()));
        assert!(matches!(asked.blocking_recv(), Some(Asked::Stranger(user)) if user == getuid().as_raw()));
        assert!(matches!(take(&path, getuid()), Err(Refused::Failed(_))));
        fs::remove_file(path).expect("it was bound above");
    }
}

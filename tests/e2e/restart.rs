//! Hot restart: another process takes the listening sockets over, and no client can tell.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Config, Gateway, OK, Origin, wait_until};

/// A folder of its own with a gateway file in it.
struct Site {
    folder: PathBuf,
    file: PathBuf,
    control: PathBuf,
}

impl Site {
    fn new(name: &str, config: Config) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("restart-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, control) = (folder.join("gateway.yaml"), folder.join("control"));
        fs::write(&file, config.yaml()).unwrap();
        Self { folder, file, control }
    }

    #[track_caller]
    fn start(&self) -> Gateway {
        let gateway = Gateway::start_on(&self.file, &["--control", self.control.to_str().unwrap()]);
        // It says where it listens before it can be met there.
        wait_until("the control socket", || self.control.exists());
        gateway
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Asks until told to stop: on a connection of its own each time, or on one as long as the gateway keeps it.
fn ask_on(address: SocketAddr, keeps: bool, over: &AtomicBool, answered: &AtomicUsize) {
    let mut kept: Option<TcpStream> = None;
    while !over.load(Ordering::Relaxed) {
        let mut stream = kept.take().unwrap_or_else(|| TcpStream::connect(address).expect("nobody is refused"));
        let request: &[u8] = match keeps {
            true => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            false => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        };
        stream.write_all(request).expect("nobody is reset");
        let mut text = String::new();
        let mut bytes = [0; 4096];
        while !text.ends_with("\r\n\r\nok") {
            let count = stream.read(&mut bytes).expect("nobody is reset");
            assert_ne!(count, 0, "closed without an answer, kept: {keeps}: {text:?}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        answered.fetch_add(1, Ordering::Relaxed);
        let closes = text.to_lowercase().contains("\r\nconnection: close\r\n");
        kept = (keeps && !closes).then_some(stream);
    }
}

#[test]
fn processes_follow_one_another_and_nobody_is_refused_reset_or_left_unanswered() {
    let origin = Origin::answering(OK);
    let address = free_address();
    let site = Site::new("load", Config::to(&origin).listen(address).admin());
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut old = site.start();
    thread::scope(|scope| {
        for keeps in [false, true, false, true] {
            let (over, answered) = (&over, &answered);
            scope.spawn(move || ask_on(address, keeps, over, answered));
        }
        for _ in 0..4 {
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests", || answered.load(Ordering::Relaxed) > before + 100);
            let new = site.start();
            // Its clients that stay hear of it with their next response, and it ends with the last of them.
            assert_eq!(old.wait_exit(), Some(0), "{:#?}", old.stderr());
            old = new;
        }
        let before = answered.load(Ordering::Relaxed);
        wait_until("requests", || answered.load(Ordering::Relaxed) > before + 100);
        over.store(true, Ordering::Relaxed);
    });
}

/// Three sockets for one shard, then for four, of which one has a socket of its own.
#[test]
fn another_number_of_shards_takes_every_socket_over() {
    let origin = Origin::answering(OK);
    let config = Config::to(&origin).listen(free_address());
    let site = Site::new("shards", config.shards(3));
    let mut old = site.start();
    for shards in ["1", "4"] {
        let yaml = fs::read_to_string(&site.file).unwrap();
        let (before, after) = yaml.split_once("shards: ").unwrap();
        fs::write(&site.file, format!("{before}shards: {shards}{}", &after[1..])).unwrap();
        let new = site.start();
        assert_eq!(old.wait_exit(), Some(0), "{:#?}", old.stderr());
        // By hash they come to all sockets, and one that nobody serves would keep them waiting.
        assert_eq!([(); 30].map(|()| new.get("/").status()), [200; 30]);
        old = new;
    }
}

#[test]
fn a_process_that_takes_over_and_dies_leaves_the_old_one_serving() {
    let origin = Origin::answering(OK);
    let site = Site::new("dies", Config::to(&origin).listen(free_address()).admin());
    let gateway = site.start();
    for _ in 0..3 {
        let mut other = UnixStream::connect(&site.control).unwrap();
        other.write_all(b"TAKE 1\n").unwrap();
        let mut word = [0; 1];
        other.read_exact(&mut word).unwrap();
        // It holds the sockets now, and nobody accepts: who comes waits.
        let mut waiting = gateway.client();
        waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        drop(other);
        assert_eq!(waiting.response().status(), 200);
    }
    // One that says nothing of use.
    UnixStream::connect(&site.control).unwrap().write_all(b"GIVE ME").unwrap();
    wait_until("they are counted", || gateway.metric("shardgate_handovers_failed_total") == 4.0);
    assert_eq!(gateway.get("/").status(), 200);
}

/// It has let go of its sockets: whoever starts meanwhile opens his own.
#[test]
fn a_gateway_that_drains_does_not_keep_another_from_starting() {
    let origin = Origin::start(|peer| {
        peer.request();
        // No answer while the gateway keeps the connection.
        peer.request();
    });
    let site = Site::new("drains", Config::to(&origin).listen(free_address()));
    let mut old = site.start();
    let mut waiting = old.client();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("its request is under way", || origin.connections() == 1);
    old.terminate();
    wait_until("it listens no more", || TcpStream::connect(old.address).is_err());
    let new = site.start();
    assert_eq!(new.address, old.address);
    assert!(old.is_running());
}

/// This user's process listens there and never hands over: there is an old one, and two beside each other are not
/// meant.
#[test]
fn an_old_process_that_does_not_hand_over_stays_alone() {
    let origin = Origin::answering(OK);
    let site = Site::new("silent", Config::to(&origin).listen(free_address()));
    let silent = UnixListener::bind(&site.control).unwrap();
    let arguments = ["run", site.file.to_str().unwrap(), "--control", site.control.to_str().unwrap()];
    let closes = thread::spawn(move || drop(silent.accept().unwrap()));
    let finished = crate::harness::Finished::run(&arguments);
    closes.join().unwrap();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("the gateway that runs did not hand over"), "{}", finished.stderr);
}

/// Somebody else has put a socket where ours should be. Whoever starts a gateway there gets one, without hot restart.
#[test]
fn a_control_socket_held_by_a_stranger_is_left_alone_and_the_gateway_serves() {
    let origin = Origin::answering(OK);
    let folder = std::env::temp_dir().join(format!("shardgate-stranger-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let site = Site { file: folder.join("gateway.yaml"), control: folder.join("control"), folder };
    fs::write(&site.file, Config::to(&origin).admin().yaml()).unwrap();
    let script = "my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die; chmod 0777, $ARGV[0]; <STDIN>";
    let mut stranger = as_nobody(&["perl", "-MIO::Socket::UNIX", "-e", script, site.control.to_str().unwrap()]);
    wait_until("the stranger listens", || UnixStream::connect(&site.control).is_ok());
    let gateway = site.start();
    gateway.wait_said("the control socket is held by user 65534");
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.metric("shardgate_handovers_failed_total"), 1.0);
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
}

/// Runs until its standard input ends.
fn as_nobody(command: &[&str]) -> Child {
    let mut privileged = match rustix::process::getuid().is_root() {
        true => Command::new("setpriv"),
        false => Command::new("sudo"),
    };
    if !rustix::process::getuid().is_root() {
        privileged.args(["-n", "setpriv"]);
    }
    privileged.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).args(command);
    privileged.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_socket_that_systemd_opened_is_served_and_stays_open_between_processes() {
    let origin = Origin::answering(OK);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let site = Site::new("activated", Config::to(&origin).listen(address));
    // Nobody serves yet, and nobody is refused.
    let mut early = crate::harness::Wire::connect(address);
    early.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut first = Gateway::start_activated(&site.file, socket.try_clone().unwrap().into());
    assert_eq!(early.response().status(), 200);
    drop(early);
    first.terminate();
    assert_eq!(first.wait_exit(), Some(0));
    let mut between = crate::harness::Wire::connect(address);
    between.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let second = Gateway::start_activated(&site.file, socket.into());
    assert_eq!(between.response().status(), 200);
    assert_eq!(second.get("/").status(), 200);
}

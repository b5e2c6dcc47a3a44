//! Programs of others that tests run as clients and origins.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A command for `program`; a missing one fails the test and says what to do.
#[track_caller]
pub fn tool(program: &str) -> Command {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
        folders.into_iter().any(|folder| folder.join(program).is_file())
    });
    assert!(found, "`{program}` is missing: run scripts/install-test-tools.sh");
    if Path::new("/usr/sbin").join(program).is_file() {
        Command::new(Path::new("/usr/sbin").join(program))
    } else {
        Command::new(program)
    }
}

/// A port that was free a moment ago, for a program that cannot choose one itself.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A server of others, killed when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts `command` and waits until it accepts connections on `port`.
    #[track_caller]
    pub fn start(mut command: Command, port: u16) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut running = Self { child };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(start.elapsed() < DEADLINE, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

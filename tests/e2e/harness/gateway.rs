//! The gateway as a process of its own: started on a file, spoken to over sockets and signals only.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Config, DEADLINE, Wire, wait_until};

/// Killed when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

/// What a command that ended by itself left behind.
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Gateway {
    #[track_caller]
    pub fn start(config: &Config) -> Self {
        Self::start_as(Command::new(PROGRAM), config)
    }

    /// With no more descriptors than `descriptors`.
    #[track_caller]
    pub fn start_with_descriptors(config: &Config, descriptors: usize) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")).arg(PROGRAM);
        Self::start_as(shell, config)
    }

    /// On a file that stays where it is, with more arguments.
    #[track_caller]
    pub fn start_on(file: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg(file).args(arguments);
        Self::run(command)
    }

    /// By way of `wrapper`, a program and its arguments, which becomes the gateway.
    #[track_caller]
    pub fn start_by(wrapper: &[&str], file: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(PROGRAM).arg("run").arg(file).args(arguments);
        Self::run(command)
    }

    /// As systemd does: with a socket that listens already.
    #[track_caller]
    pub fn start_activated(file: &Path, socket: OwnedFd) -> Self {
        let mut shell = Command::new("sh");
        let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
        shell.arg("-c").arg(script).arg(PROGRAM).arg("run").arg(file);
        Self::run_with(shell, socket.into())
    }

    /// `command` becomes the program, whose arguments are added here.
    #[track_caller]
    fn start_as(mut command: Command, config: &Config) -> Self {
        let file = ConfigFile::new(&config.yaml());
        command.arg("run").arg(&file.path);
        let gateway = Self::run(command);
        // Told before it says that it listens, and last if it had to fall back.
        let is_on_epoll = gateway.stderr().iter().any(|line| line.contains("event loop epoll:"));
        assert!(!(config.must_have_ring() && is_on_epoll), "{:?}", gateway.stderr());
        gateway
    }

    #[track_caller]
    fn run(command: Command) -> Self {
        Self::run_with(command, Stdio::null())
    }

    #[track_caller]
    fn run_with(command: Command, stdin: Stdio) -> Self {
        let mut child = spawn(command, stdin);
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let placeholder = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gateway = Self { address: placeholder, child, stdout, stderr };
        gateway.address = gateway.wait_ready();
        gateway
    }

    #[track_caller]
    pub fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> super::Message {
        let mut client = self.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines of the access log so far.
    pub fn log(&self) -> Vec<String> {
        self.stdout.lock().unwrap().clone()
    }

    /// Waits until the access log has `count` lines; each must be JSON.
    #[track_caller]
    pub fn log_lines(&self, count: usize) -> Vec<serde_json::Value> {
        wait_until("lines of the access log", || self.log().len() >= count);
        let json = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        self.log().iter().map(json).collect()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// Where the admin listener is.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        let is_there = |line: &String| line.strip_prefix("shardgate: admin on ")?.parse().ok();
        wait_until("the admin listener", || self.stderr().iter().any(|line| is_there(line).is_some()));
        self.stderr().iter().find_map(is_there).unwrap()
    }

    /// What the admin listener answers.
    #[track_caller]
    pub fn ask_admin(&self, path: &str) -> super::Message {
        let mut client = Wire::connect(self.admin());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    /// The value of one line of the metrics: a name, and labels if it has some.
    #[track_caller]
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.ask_admin("/metrics").text();
        let value = text.lines().find_map(|other| other.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub fn wait_said(&self, words: &str) {
        wait_until(words, || self.stderr().iter().any(|line| line.contains(words)));
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The exit code, once it ends by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> Option<i32> {
        wait_exit(&mut self.child)
    }

    /// What each thread does, as in proc(5): `T` is stopped by a signal.
    pub fn states(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
        stats.map(|stat| stat.rsplit_once(") ").unwrap().1[..1].to_owned()).collect()
    }

    /// User and system time so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // After the name in parentheses: proc(5) counts from 1, `utime` is 14, `stime` 15, in hundredths of a second.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// The niceness of the nicest thread whose name begins like this.
    #[track_caller]
    pub fn niceness_of(&self, threads: &str) -> i32 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok());
        let mine = stats.filter(|stat| stat.contains(&format!("({threads}")));
        // After the name in parentheses: proc(5) counts from 1, `nice` is 19.
        let nice = mine.map(|stat| stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap());
        nice.max().unwrap_or_else(|| panic!("there is no thread {threads}"))
    }

    /// Resident memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    #[track_caller]
    fn wait_ready(&mut self) -> SocketAddr {
        let start = Instant::now();
        loop {
            let ready = self.stderr().iter().find_map(|line| listening_address(line));
            if let Some(address) = ready {
                return address;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended ({ended:?}) before it listened: {:#?}", self.stderr());
            assert!(start.elapsed() < DEADLINE, "the gateway does not listen: {:#?}", self.stderr());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if !thread::panicking() {
            let stderr = self.stderr();
            assert!(!stderr.iter().any(|line| line.contains("panicked at")), "the gateway panicked: {stderr:#?}");
        }
    }
}

impl Finished {
    /// Runs `shardgate ARGUMENTS` to its end.
    #[track_caller]
    pub fn run(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        Self::of(command)
    }

    /// The same, with these variables in its environment.
    #[track_caller]
    pub fn run_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).envs(environment.iter().copied());
        Self::of(command)
    }

    /// Runs `shardgate COMMAND FILE` on a file of this content.
    #[track_caller]
    pub fn run_on(command: &str, yaml: &str) -> Self {
        let file = ConfigFile::new(yaml);
        Self::run(&[command, file.path.to_str().unwrap()])
    }

    /// Runs `shardgate run` on `config` by way of `wrapper`, a program and its arguments.
    #[track_caller]
    pub fn run_by(wrapper: &[&str], config: &Config) -> Self {
        let file = ConfigFile::new(&config.yaml());
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(PROGRAM).arg("run").arg(&file.path);
        Self::of(command)
    }

    #[track_caller]
    fn of(command: Command) -> Self {
        let mut child = spawn(command, Stdio::null());
        let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stdout = thread::spawn(move || text(&mut pipes.0));
        let stderr = thread::spawn(move || text(&mut pipes.1));
        let code = wait_exit(&mut child);
        Self { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }
}

struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    fn new(yaml: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{number}.yaml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, yaml).unwrap();
        Self { path }
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

#[track_caller]
fn spawn(mut command: Command, stdin: Stdio) -> Child {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn wait_exit(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > DEADLINE {
            child.kill().ok();
            panic!("the process does not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn collect(pipe: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let collected = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            collected.lock().unwrap().push(String::from_utf8(line).expect("UTF-8 in the output"));
        }
    });
    lines
}

fn text(pipe: &mut impl Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

/// `shardgate: listening on 127.0.0.1:8080 (public)`
fn listening_address(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("shardgate: listening on ")?;
    rest.split(' ').next()?.parse().ok()
}

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_shardgate");

//! Programs of others on both sides of the gateway. Installed by `scripts/install-test-tools.sh`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Config, Gateway, OK, Origin, Running, free_port, noise, tool};

/// A folder of files to serve, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("peers-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("logs")).unwrap();
        fs::write(path.join("small.txt"), "small\n").unwrap();
        fs::write(path.join("large.bin"), noise(10 << 20)).unwrap();
        fs::write(path.join("empty"), "").unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// What `command` prints when it ends well.
#[track_caller]
fn output(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {:?}: {stderr}", output.status);
    output.stdout
}

#[track_caller]
fn curl(arguments: &[&str]) -> Vec<u8> {
    let mut command = tool("curl");
    command.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]).args(arguments);
    output(command)
}

/// An origin that names the length of what it got.
fn counting() -> Origin {
    Origin::start(|peer| {
        while let Some(request) = peer.request() {
            let body = format!("{} {} bytes\n", request.method(), request.body.len());
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn curl_downloads_uploads_and_waits_for_100() {
    let folder = Folder::new("curl");
    let origin = counting();
    let gateway = Gateway::start(&Config::to(&origin));
    let url = gateway.url("/x");
    let large = folder.path().join("large.bin");
    let large = large.to_str().unwrap();
    let data = format!("@{large}");
    for (arguments, expected) in [
        (&["--http1.1"][..], "GET 0 bytes\n"),
        (&["--http1.0"], "GET 0 bytes\n"),
        (&["--http1.1", "-T", large], "PUT 10485760 bytes\n"),
        (&["--http1.0", "-T", large], "PUT 10485760 bytes\n"),
        (&["--http1.1", "-T", large, "-H", "Transfer-Encoding: chunked"], "PUT 10485760 bytes\n"),
        (
            &["--http1.1", "--data-binary", &data, "-H", "Expect: 100-continue", "--expect100-timeout", "20"],
            "POST 10485760 bytes\n",
        ),
        (&["--http1.1", "-X", "DELETE"], "DELETE 0 bytes\n"),
    ] {
        let got = curl(&[arguments, &[&url]].concat());
        assert_eq!(String::from_utf8_lossy(&got), expected, "{arguments:?}");
    }
    let twice = curl(&["--write-out", "%{num_connects} ", &url, &url]);
    assert_eq!(String::from_utf8_lossy(&twice), "GET 0 bytes\n1 GET 0 bytes\n0 ", "the connection is kept");
}

#[test]
fn wrk_sees_no_error() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin).with("access_log: { enabled: false }"));
    let mut command = tool("wrk");
    command.args(["-t1", "-c32", "-d1s", &gateway.url("/")]);
    let report = String::from_utf8(output(command)).unwrap();
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    let line = report.lines().find(|line| line.contains("requests in")).unwrap_or_else(|| panic!("{report}"));
    let count: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(count > 100, "{report}");
}

#[test]
fn ab_sees_no_error() {
    let origin = Origin::answering(OK);
    let gateway = Gateway::start(&Config::to(&origin));
    for keep_alive in [true, false] {
        let mut command = tool("ab");
        if keep_alive {
            command.arg("-k");
        }
        command.args(["-q", "-n", "2000", "-c", "16", &gateway.url("/")]);
        let report = String::from_utf8(output(command)).unwrap();
        let number = |name: &str| {
            let line = report.lines().find(|line| line.starts_with(name)).unwrap_or("0");
            line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(number("Complete requests:"), 2_000, "{report}");
        assert_eq!(number("Failed requests:"), 0, "{report}");
        assert_eq!(number("Non-2xx responses:"), 0, "{report}");
        assert_eq!(number("Keep-Alive requests:"), if keep_alive { 2_000 } else { 0 }, "{report}");
    }
    assert_eq!(gateway.log_lines(4_000).len(), 4_000);
}

/// Every file of the folder through the gateway, twice, and one that is not there.
#[track_caller]
fn check_files(folder: &Folder, port: u16) {
    let gateway = Gateway::start(&Config::to_addresses(&[SocketAddr::from(([127, 0, 0, 1], port))]));
    for file in ["small.txt", "large.bin", "empty", "small.txt", "large.bin"] {
        let expected = fs::read(folder.path().join(file)).unwrap();
        for version in ["--http1.1", "--http1.0"] {
            let got = curl(&[version, &gateway.url(&format!("/{file}"))]);
            assert!(got == expected, "{file} by {version}: {} bytes of {}", got.len(), expected.len());
        }
    }
    assert_eq!(gateway.get("/none").status(), 404);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send("HEAD /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response_to("HEAD");
        assert_eq!((response.status(), response.value("content-length")), (200, Some("10485760")));
    }
    client.send("GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "small\n");
}

#[test]
fn nginx_serves_its_files_through_the_gateway() {
    let folder = Folder::new("nginx");
    let root = folder.path().display();
    let port = free_port();
    let config = format!(
        "daemon off; master_process off; pid {root}/logs/pid; error_log {root}/logs/error;\n\
         events {{}}\n\
         http {{ access_log off; gzip off; keepalive_timeout 60;\n\
           client_body_temp_path {root}/logs/body; proxy_temp_path {root}/logs/proxy;\n\
           fastcgi_temp_path {root}/logs/fastcgi; uwsgi_temp_path {root}/logs/uwsgi; scgi_temp_path {root}/logs/scgi;\n\
           server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = tool("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg(folder.path().join("logs/error"));
    let _nginx = Running::start(command, port);
    check_files(&folder, port);
}

/// HTTP/1.0, and a connection for every file.
#[test]
fn pythons_file_server_serves_its_files_through_the_gateway() {
    let folder = Folder::new("python");
    let port = free_port();
    let mut command = tool("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]).arg(folder.path());
    let _python = Running::start(command, port);
    check_files(&folder, port);
}

/// The origin that comes with the gateway, as `make run` starts it.
#[test]
fn the_echo_origin_answers_through_the_gateway() {
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardgate"));
    command.args(["echo", &format!("127.0.0.1:{port}")]);
    let _echo = Running::start(command, port);
    let gateway = Gateway::start(&Config::to_addresses(&[SocketAddr::from(([127, 0, 0, 1], port))]));
    let got = String::from_utf8(curl(&[&gateway.url("/hello?x=1")])).unwrap();
    assert!(got.contains("/hello?x=1"), "{got}");
}

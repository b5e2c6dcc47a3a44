//! The admin listener: health, status and metrics over HTTP, on the control thread.
//!
//! It only reads. Whatever is to write through it one day needs a token, from this machine's own addresses too: a page
//! in somebody's browser can reach those.

use super::clock::clocks;
use super::metrics::Scrape;
use super::status::Status;
use super::status_page;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Serves until it is dropped. Runs on a `LocalSet`.
pub async fn serve(listener: TcpListener, status: Rc<RefCell<Status>>) {
    serve_for(CONNECTION_LIFE_MAX, listener, status).await;
}

async fn serve_for(life: Duration, listener: TcpListener, status: Rc<RefCell<Status>>) {
    let mut connections: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.retain(|connection| !connection.is_finished());
                if connections.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = connections.pop_front()
                {
                    // Whoever hangs must not keep a probe out.
                    oldest.abort();
                    status.borrow_mut().admin_connections_ended += 1;
                }
                connections.push_back(tokio::task::spawn_local(bounded(life, stream, status.clone())));
            }
            // Descriptors or memory have run out; those that come back are worth waiting for.
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

/// However slow a scrape is read, it ends.
async fn bounded(life: Duration, stream: TcpStream, status: Rc<RefCell<Status>>) {
    if tokio::time::timeout(life, connection(stream, status.clone())).await.is_err() {
        status.borrow_mut().admin_connections_ended += 1;
    }
}

async fn connection(stream: TcpStream, status: Rc<RefCell<Status>>) {
    let answer = |request: Request<Incoming>| {
        let response = answer(&request, &status);
        async move { Ok::<_, Infallible>(response) }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT).max_buf_size(BUFFER_BYTES_MAX);
    // What went wrong is between the client and the network.
    let _gone = http.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

fn answer(request: &Request<Incoming>, status: &Rc<RefCell<Status>>) -> Response<Answer> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"message":"Method not allowed"}"#.to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let known = status.borrow();
    let clocks = clocks();
    let alive = known.is_alive(clocks.mono);
    let (ready, healthy) = (known.is_ready(clocks.mono), status_page::is_healthy(&known, clocks));
    let code = |good| if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match request.uri().path() {
        "/health" => page(code(alive), JSON, status_page::health(&known, clocks)),
        "/status/ready" => page(code(ready), JSON, status_page::ready(&known, clocks)),
        "/gateway/health" => page(code(healthy), JSON, status_page::gateway_health(&known, clocks)),
        "/status" => page(StatusCode::OK, JSON, status_page::status(&known, clocks)),
        "/status/latency" => {
            let route = request.uri().query().and_then(|query| query.strip_prefix("route="));
            match status_page::latency(&known, route) {
                Some(text) => page(StatusCode::OK, JSON, text),
                None => page(StatusCode::NOT_FOUND, JSON, r#"{"message":"No such route"}"#.to_owned()),
            }
        }
        "/metrics" => {
            let scrape = Scrape::new(&known);
            drop(known);
            response(StatusCode::OK, METRICS, Answer::Metrics(scrape, status.clone()))
        }
        _ => page(StatusCode::NOT_FOUND, JSON, r#"{"message":"Not found"}"#.to_owned()),
    }
}

/// What an answer says: all at once, or piece by piece while it is being sent.
enum Answer {
    Whole(Option<Bytes>),
    Metrics(Scrape, Rc<RefCell<Status>>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Metrics(scrape, status) => {
                let mut piece = Vec::new();
                while piece.is_empty() {
                    if !scrape.next(&status.borrow(), clocks(), &mut piece) {
                        return Poll::Ready(None);
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
        }
    }
}

fn page(code: StatusCode, kind: &'static str, text: String) -> Response<Answer> {
    response(code, kind, Answer::Whole(Some(text.into())))
}

fn response(code: StatusCode, kind: &'static str, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const JSON: &str = "application/json; charset=utf-8";
/// As Kong has it.
const METRICS: &str = "text/plain; charset=UTF-8";
const CONNECTIONS_MAX: usize = 64;
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(120);
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_BYTES_MAX: usize = 128 << 10;
const ACCEPT_REST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ids::Ids;
    use crate::config::load::load_text;
    use crate::runtime::driver::choice::Choice;
    use crate::runtime::options::EventLoop;
    use crate::stdx::board::Board;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ROUTES: usize = 3;

    fn status() -> Rc<RefCell<Status>> {
        let routes: Vec<_> =
            (0..ROUTES).map(|index| format!("{{name: r{index}, paths: [/{index}], service: s}}")).collect();
        let text = format!(
            "version: 1\nlisteners: [{{name: a, address: \"127.0.0.1:1\"}}]\n\
             services: [{{name: s, endpoints: [\"127.0.0.1:2\"]}}]\nroutes: [{}]\n",
            routes.join(", ")
        );
        let resolve = |name: &str| Ok(vec![name.parse().expect("an address")]);
        let snapshot = load_text("test.yaml", &text, &mut Ids::default(), &resolve).expect("it is good");
        let event_loop = Choice { event_loop: EventLoop::Epoll, reason: "a \"test\"".to_owned() };
        let board = Arc::new(Board::new(2, 1, 8));
        let clocks = clocks();
        (0..2).for_each(|shard| board.beat(shard, clocks.mono));
        Rc::new(RefCell::new(Status::new(event_loop, board, &snapshot, clocks.wall, clocks.now)))
    }

    /// Runs `client` beside the server.
    fn with_server<F: Future<Output = ()>>(
        status: &Rc<RefCell<Status>>,
        client: impl FnOnce(std::net::SocketAddr) -> F,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::task::spawn_local(serve(listener, status.clone()));
            client(address).await;
        });
    }

    async fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[track_caller]
    fn check(answer: &str, status: u16, part: &str) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(part), "{answer}");
    }

    #[test]
    fn probes_say_what_is_and_nothing_can_be_changed() {
        let status = status();
        with_server(&status, |address| async move {
            check(&ask(address, "GET", "/health").await, 200, "\"healthy\"");
            check(&ask(address, "GET", "/status/ready").await, 200, "ready");
            check(&ask(address, "HEAD", "/status").await, 200, "application/json");
            check(&ask(address, "GET", "/nothing").await, 404, "Not found");
            check(&ask(address, "GET", "/status/latency?route=r9").await, 404, "No such route");
            for method in ["POST", "PUT", "DELETE", "PATCH"] {
                check(&ask(address, method, "/status").await, 405, "allow: GET, HEAD");
            }
        });
        status.borrow_mut().draining = true;
        with_server(&status, |address| async move {
            check(&ask(address, "GET", "/status/ready").await, 503, "draining");
            check(&ask(address, "GET", "/health").await, 200, "\"healthy\"");
        });
        status.borrow().board.beat(1, crate::stdx::time::Mono::ZERO);
        with_server(&status, |address| async move {
            check(&ask(address, "GET", "/health").await, 503, "\"unhealthy\"");
        });
    }

    /// Reads the text as a scraper does: families in one piece each, every line a name, labels and a number.
    #[track_caller]
    fn check_metrics(text: &str) {
        let (mut families, mut family) = (Vec::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(!families.contains(&name), "{name} comes twice");
                families.push(name);
                family = name.to_owned();
            } else if !line.starts_with("# HELP ") {
                let name = line.split(['{', ' ']).next().expect("a line begins");
                let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
                assert!(name == family || base == Some(&family), "{line} is not of {family}");
                let (_, value) = line.rsplit_once(' ').expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert_eq!(line.matches('{').count(), line.matches('}').count(), "{line}");
            }
        }
        assert!(families.len() > 30, "{families:?}");
    }

    #[test]
    fn a_scrape_reads_as_the_text_format_and_has_kongs_names() {
        let status = status();
        for (route, code) in [(Some(0), 200), (Some(2), 503), (None, 404)] {
            let mut stats = crate::telemetry::route_stats::RouteStats::default();
            let sample = crate::telemetry::route_stats::Sample {
                status: code,
                by_service: code == 200,
                request: Duration::from_millis(60),
                upstream: Some(Duration::from_millis(30)),
                ingress_bytes: 5,
                egress_bytes: 7,
            };
            stats.record(route.map(crate::telemetry::route_stats::Tally::new).as_ref(), &sample);
            let mut report = crate::telemetry::report::Report::default();
            stats.take(1, &mut report.routes);
            status.borrow_mut().told(&mut report);
        }
        with_server(&status, |address| async move {
            let answer = ask(address, "GET", "/metrics").await;
            let mut text = String::new();
            // Chunk by chunk, each a line with its size before it and one after it.
            let (_, mut rest) = answer.split_once("\r\n\r\n").expect("a head");
            while let Some((size, more)) = rest.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).expect("a size");
                text.push_str(&more[..size]);
                rest = &more[size + 2..];
                if size == 0 {
                    break;
                }
            }
            check_metrics(&text);
            for line in [
                concat!(
                    r#"kong_http_requests_total{service="s",route="r0",code="200",source="service","#,
                    r#"workspace="default",consumer=""} 1"#
                ),
                concat!(
                    r#"kong_http_requests_total{service="",route="",code="404",source="kong","#,
                    r#"workspace="default",consumer=""} 1"#
                ),
                r#"kong_request_latency_ms_bucket{service="s",route="r2",workspace="default",le="50"} 0"#,
                r#"kong_request_latency_ms_bucket{service="s",route="r2",workspace="default",le="80"} 1"#,
                r#"kong_request_latency_ms_sum{service="s",route="r2",workspace="default"} 60.000"#,
                r#"kong_kong_latency_ms_bucket{service="s",route="r2",workspace="default",le="30"} 1"#,
                r#"kong_latency_bucket{service="s",route="r2",type="upstream",le="+Inf"} 1"#,
                r#"kong_bandwidth_bytes{service="s",route="r0",direction="egress",workspace="default",consumer=""} 7"#,
                r#"shardgate_event_loop_info{driver="epoll",reason="a \"test\""} 1"#,
                "shardgate_config_connections_closed_total 0",
            ] {
                assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
            }
        });
    }

    /// One whose request never ends.
    async fn hang(address: std::net::SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n").await.expect("it reads");
        stream
    }

    #[test]
    fn scrapes_that_hang_are_bounded_and_keep_no_probe_out() {
        let status = status();
        with_server(&status, |address| async move {
            let mut hanging = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                hanging.push(hang(address).await);
            }
            check(&ask(address, "GET", "/metrics").await, 200, "shardgate_admin_connections_ended_total 1\n");
            assert_eq!(hanging[0].read(&mut [0; 1]).await.unwrap_or(0), 0, "the oldest made room");
            check(&ask(address, "GET", "/health").await, 200, "healthy");
        });
        assert_eq!(status.borrow().admin_connections_ended, 1);
    }

    #[test]
    fn a_scrape_that_hangs_ends() {
        let (known, life) = (status(), Duration::from_millis(50));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            tokio::task::spawn_local(serve_for(life, listener, known.clone()));
            let mut hanging = hang(address).await;
            assert_eq!(hanging.read(&mut [0; 1]).await.unwrap_or(0), 0, "its time is over");
        });
        assert_eq!(known.borrow().admin_connections_ended, 1);
    }
}

//! `shardgate echo ADDRESS`: an origin that answers every request with what it was asked, to try a gateway against.

use super::out;
use crate::http::body::{BodyLimits, Framing};
use crate::http::h1::Scan;
use crate::http::head::{HeadLimits, Method, RequestHead, Underscores, Version};
use crate::runtime::driver::Driver;
use crate::runtime::driver::epoll::Epoll;
use crate::runtime::{Buf, Class, Error, Pieces, Runtime, TcpListener, TcpStream};
use crate::stdx::time::Mono;
use crate::wire::{Connection, Encoder, Piece, ReadError};
use std::net::SocketAddr;
use std::time::Duration;

/// Serves until the process is ended.
pub fn run(address: SocketAddr) -> Result<(), Error> {
    let runtime = Runtime::new(Driver::Epoll(Box::new(Epoll::new()?)), RECEIVE_BYTES_MAX);
    let listener = TcpListener::bind(&runtime, address)?;
    out::note(&format!("shardgate echo: listening on {}\n", listener.address()));
    runtime.spawn(accept(runtime.clone(), listener));
    loop {
        runtime.turn(Mono::NEVER, &mut |_| {})?;
    }
}

async fn accept(runtime: Runtime, listener: TcpListener) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let connection = runtime.clone();
            runtime.spawn(async move {
                // Whatever ends a connection concerns nobody else.
                let _ended = serve(&connection, stream).await;
            });
        }
    }
}

async fn serve(runtime: &Runtime, stream: TcpStream) -> Result<(), ReadError> {
    let mut connection = Connection::new(stream);
    let mut head = RequestHead::new();
    loop {
        let mut scan = Scan::default();
        let parse = |bytes: &[u8]| head.parse(bytes, &HEAD_LIMITS, &mut scan);
        let Connection { stream, reader } = &mut connection;
        let length = reader.head(stream, runtime.now().mono + PATIENCE, parse).await?;
        let bytes = reader.take_head(length)?;
        reader.begin_body(head.framing, &BODY_LIMITS);
        if head.expect_continue && !reader.has_input() {
            let asked = buf(runtime, b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.send_all(Pieces::one(asked), PATIENCE, Mono::NEVER).await?;
        }
        let framing = if head.version == Version::Http11 { Framing::Chunked } else { Framing::UntilClose };
        let keep = head.keep_alive && framing == Framing::Chunked;
        let mut before = Some(answer_head(runtime, keep)?);
        let encoder = Encoder::new(if head.method == Method::Head { Framing::Empty } else { framing });
        let mut next = Some(Piece::Data { payload: bytes, last: false });
        loop {
            let (payload, last) = match next.take() {
                Some(Piece::Data { payload, last }) => (Some(payload), last),
                Some(Piece::End) | None => (None, true),
            };
            let payload = payload.filter(|_| head.method != Method::Head);
            let end = last.then(|| reader.trailers());
            let pieces = encoder.encode(runtime.pool(), before.take(), payload, end)?;
            stream.send_all(pieces, PATIENCE, Mono::NEVER).await?;
            if last {
                break;
            }
            next = Some(reader.piece(stream, runtime.now().mono + PATIENCE).await?);
        }
        if !keep {
            return Ok(());
        }
    }
}

fn answer_head(runtime: &Runtime, keep: bool) -> Result<Buf, ReadError> {
    buf(
        runtime,
        if keep {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
        },
    )
}

fn buf(runtime: &Runtime, bytes: &[u8]) -> Result<Buf, ReadError> {
    let mut buf = runtime.pool().take(Class::Head).ok_or(ReadError::NoBuffer)?;
    if buf.push(bytes) { Ok(buf) } else { Err(ReadError::NoBuffer) }
}

const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 64 << 10,
    fields_max: 200,
    uri_bytes_max: 16 << 10,
    underscores: Underscores::Allow,
    merge_slashes: false,
};
const BODY_LIMITS: BodyLimits = BodyLimits {
    chunk_line_bytes_max: 256,
    trailer_bytes_max: 8 << 10,
    trailer_fields_max: 100,
    underscores: Underscores::Allow,
};
const RECEIVE_BYTES_MAX: usize = 256 << 20;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(120);

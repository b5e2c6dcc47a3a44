//! Connections that cost memory rather than work: idle ones after one request, and slow ones that move a byte a second.

use crate::client::{Answer, Client, REQUEST};
use crate::options::{Mode, Options};
use crate::{Failure, say, stay};
use bench_kit::body::Body;
use bench_kit::head::{self, Framing, Head};
use bench_kit::sys::{self, Connect, Epoll, Moved};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a slow reader asks for, and a slow writer says it will send: more than any buffer between.
const SLOW_BODY_BYTES: u64 = 1024 * 1024;

/// So small that the proxy, not the kernel, has to hold what a slow reader does not read.
const SLOW_RECEIVE_BUFFER_BYTES: i32 = 4096;

/// How often each slow connection moves a byte.
const SLOW_PERIOD: Duration = Duration::from_secs(1);

/// No answer for this long ends the run.
const STALL: Duration = Duration::from_secs(10);

const BUFFER_BYTES: usize = 64 * 1024;

pub fn hold(options: &Options) -> Result<(), Failure> {
    match options.mode {
        Mode::SlowReaders => slow(options, Kind::Reader),
        Mode::SlowWriters => slow(options, Kind::Writer),
        _ => idle(options),
    }
}

fn idle(options: &Options) -> Result<(), Failure> {
    let (mut epoll, body) = (Epoll::new()?, Body::default());
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut clients = Vec::with_capacity(options.connections);
    // One at a time: the proxy's pool to the origin stays at one connection, so that only the idle ones are counted.
    for number in 0..options.connections {
        let mut client =
            Client::open(options.address, Connect { source: options.source(number), ..Connect::default() })?;
        epoll.add(client.fd(), number)?;
        if !client.send(REQUEST) {
            return Err(Failure::Wrong("a request could not be sent"));
        }
        loop {
            match client.receive(&mut buffer, &body) {
                Answer::Right { last: false } => break,
                Answer::Right { last: true } => return Err(Failure::Wrong("the proxy does not keep a connection")),
                Answer::Wrong(what) => return Err(Failure::Wrong(what)),
                Answer::Closed => return Err(Failure::Wrong("a connection ended before its answer")),
                Answer::Partial if epoll.wait_for(STALL)? == 0 => {
                    return Err(Failure::Wrong("no answer for 10 seconds"));
                }
                Answer::Partial => {}
            }
        }
        clients.push(client);
    }
    say(&format!(r#"{{"held":{}}}"#, clients.len()))?;
    stay()?;
    let closed = clients.iter().filter(|client| sys::receive(client.fd(), &mut buffer) != Moved::NotReady).count();
    say(&format!(r#"{{"closed":{closed}}}"#))?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reader,
    Writer,
}

struct Slow {
    client: Client,
    /// A reader takes the head at once; then it is slow.
    head: Option<Vec<u8>>,
    sent: u64,
}

/// A proxy may end a connection that is too slow; it is opened again at its next turn, so that their number stays.
fn slow(options: &Options, kind: Kind) -> Result<(), Failure> {
    let request = match kind {
        Kind::Reader => format!("GET /bytes/{SLOW_BODY_BYTES} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        Kind::Writer => format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SLOW_BODY_BYTES}\r\n\r\n"),
    };
    let open = |number: usize| -> Result<Slow, Failure> {
        let receive_buffer_bytes = Some(SLOW_RECEIVE_BUFFER_BYTES);
        let connect = Connect { source: options.source(number), receive_buffer_bytes, blocking: true };
        let client = Client::open(options.address, connect)?;
        if !client.send(request.as_bytes()) {
            return Err(Failure::Wrong("a request could not be sent"));
        }
        Ok(Slow { client, head: (kind == Kind::Reader).then(Vec::new), sent: 0 })
    };
    let mut connections = (0..options.connections).map(open).collect::<Result<Vec<_>, _>>()?;
    say(&format!(r#"{{"held":{}}}"#, connections.len()))?;

    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    std::thread::spawn(move || {
        // An end of stdin and a broken one mean the same here.
        drop(stay());
        told.store(true, Ordering::Relaxed);
    });
    let (start, mut turn, mut reopened) = (Instant::now(), 0u32, 0u64);
    while !over.load(Ordering::Relaxed) {
        // Turns are spread evenly over the period.
        let due = SLOW_PERIOD * turn / options.connections as u32;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let number = turn as usize % options.connections;
        if !connections[number].turn(kind)? {
            connections[number] = open(number)?;
            reopened += 1;
        }
        turn += 1;
    }
    say(&format!(r#"{{"reopened":{reopened}}}"#))?;
    Ok(())
}

impl Slow {
    /// Moves one byte; false when the proxy has ended the connection.
    fn turn(&mut self, kind: Kind) -> Result<bool, Failure> {
        let fd = self.client.fd();
        match kind {
            Kind::Writer => {
                self.sent += 1;
                if self.sent == SLOW_BODY_BYTES {
                    return Ok(false);
                }
                // A refusal is read as the end that follows it.
                let refused = sys::receive(fd, &mut [0; 1]) != Moved::NotReady;
                Ok(!refused && sys::send(fd, b"x") != Moved::Closed)
            }
            Kind::Reader if self.head.is_some() => self.read_head(),
            Kind::Reader => Ok(sys::receive(fd, &mut [0; 1]) != Moved::Closed),
        }
    }

    fn read_head(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 512];
        let Some(head) = self.head.as_mut() else { return Ok(true) };
        match sys::receive(self.client.fd(), &mut buffer) {
            Moved::Bytes(count) => head.extend_from_slice(&buffer[..count]),
            Moved::NotReady => return Ok(true),
            Moved::Closed => return Ok(false),
        }
        match head::response(head) {
            Head::Complete(head) if head.line == 200 && head.framing == Framing::Length(SLOW_BODY_BYTES) => {
                self.head = None;
                Ok(true)
            }
            Head::Partial if head.len() <= BUFFER_BYTES => Ok(true),
            _ => Err(Failure::Wrong("a slow reader's answer is not 200 with the length asked for")),
        }
    }
}

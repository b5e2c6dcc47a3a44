//! One big response, read as fast as it comes and compared with what the origin sends.

use crate::options::Options;
use crate::{Failure, gate, say, stay};
use bench_kit::body::Body;
use bench_kit::head::{self, Framing, Head};
use bench_kit::sys::{self, Connect, Epoll, Moved};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// After this many bytes it says `warm`: what the proxy's memory grows from then on is growth with the body's length.
const WARM_BYTES: u64 = 16 * 1024 * 1024;

const BUFFER_BYTES: usize = 256 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Nothing for this long ends the run.
const STALL: Duration = Duration::from_secs(10);

struct Download {
    fd: OwnedFd,
    epoll: Epoll,
    buffer: Vec<u8>,
}

pub fn download(options: &Options, path: &str) -> Result<(), Failure> {
    let fd = sys::connect(options.address, Connect { blocking: true, ..Connect::default() })?;
    let mut download = Download { fd, epoll: Epoll::new()?, buffer: vec![0; BUFFER_BYTES] };
    download.epoll.add(download.fd.as_raw_fd(), 0)?;
    let wanted = path.strip_prefix("/bytes/").and_then(|count| head::number(count.as_bytes()));
    let wanted = wanted.ok_or(Failure::Wrong("the path to download is /bytes/N"))?;

    gate(options)?;
    let start = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n");
    if sys::send(download.fd.as_raw_fd(), request.as_bytes()) != Moved::Bytes(request.len()) {
        return Err(Failure::Wrong("the request could not be sent"));
    }
    let received = download.head(wanted)?;
    download.body(received, wanted)?;
    let seconds = start.elapsed().as_secs_f64();
    say(&format!(r#"{{"bytes":{wanted},"seconds":{seconds:.6}}}"#))?;
    if options.gate {
        stay()?;
    }
    Ok(())
}

impl Download {
    /// Reads the head; returns how many bytes of the body came with it, already compared.
    fn head(&mut self, wanted: u64) -> Result<u64, Failure> {
        let mut filled = 0;
        loop {
            filled += self.receive(filled)?;
            let head = match head::response(&self.buffer[..filled]) {
                Head::Complete(head) => head,
                Head::Partial if filled < HEAD_BYTES_MAX => continue,
                Head::Partial | Head::Invalid => return Err(Failure::Wrong("the head cannot be read")),
            };
            if head.line != 200 || head.framing != Framing::Length(wanted) {
                return Err(Failure::Wrong("the answer is not 200 with the length asked for"));
            }
            return compared(&Body::default(), 0, &self.buffer[head.head_bytes..filled], wanted);
        }
    }

    fn body(&mut self, mut received: u64, wanted: u64) -> Result<(), Failure> {
        let body = Body::default();
        let mut warm = false;
        while received < wanted {
            let count = self.receive(0)?;
            received += compared(&body, received, &self.buffer[..count], wanted)?;
            if !warm && received >= WARM_BYTES {
                warm = true;
                say("warm")?;
            }
        }
        Ok(())
    }

    /// Waits for bytes and puts them behind the `filled` first.
    fn receive(&mut self, filled: usize) -> Result<usize, Failure> {
        loop {
            match sys::receive(self.fd.as_raw_fd(), &mut self.buffer[filled..]) {
                Moved::Bytes(count) => return Ok(count),
                Moved::NotReady => {
                    if self.epoll.wait_for(STALL)? == 0 {
                        return Err(Failure::Wrong("nothing came for 10 seconds"));
                    }
                }
                Moved::Closed => return Err(Failure::Wrong("the connection ended before the body")),
            }
        }
    }
}

fn compared(body: &Body, offset: u64, bytes: &[u8], wanted: u64) -> Result<u64, Failure> {
    if offset + bytes.len() as u64 > wanted {
        return Err(Failure::Wrong("the body is longer than it says"));
    }
    if !body.matches(offset, bytes) {
        return Err(Failure::Wrong("the body is not what the origin sent"));
    }
    Ok(bytes.len() as u64)
}

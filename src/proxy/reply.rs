//! The gateway's own answers: RFC 9457 problem documents, with Kong's `message` and `request_id` beside them.

use super::account::Account;
use super::error::{Answer, Failure, reason};
use super::plan::Settings;
use super::shared::Shared;
use super::writer::Writer;
use crate::runtime::{Buf, Error, Pieces, TcpStream};
use crate::stdx::time::Mono;

pub struct Reply<'a> {
    pub answer: Answer,
    pub request_id: &'a [u8],
    /// The request was HEAD.
    pub head_only: bool,
    pub close: bool,
    /// The client has to be told that the connection is kept, as HTTP/1.0 has.
    pub keep_alive_told: bool,
    pub retry_after_s: Option<u32>,
}

impl Reply<'_> {
    pub async fn send(
        &self,
        shared: &Shared,
        settings: &Settings,
        stream: &TcpStream,
        account: &Account,
    ) -> Result<(), Error> {
        let pieces = self.write(shared).ok_or(Error::Exhausted)?;
        account.status.set(self.answer.status);
        account.sent_bytes.set(account.sent_bytes.get() + pieces.len() as u64);
        stream.send_all(pieces, settings.limits.send_timeout, Mono::NEVER).await
    }

    fn write(&self, shared: &Shared) -> Option<Pieces> {
        let mut body = Vec::with_capacity(PROBLEM_BYTES_USUAL);
        self.problem(&mut body);
        let head = Writer::head(shared.runtime.pool(), HEAD_BYTES_MAX + body.len(), |out| self.write_lines(out, &body));
        head.ok().map(Pieces::one)
    }

    fn write_lines(&self, out: &mut Writer<'_>, body: &[u8]) {
        out.push(b"HTTP/1.1 ");
        out.number(u64::from(self.answer.status));
        out.push(b" ");
        out.push(reason(self.answer.status).as_bytes());
        out.push(b"\r\n");
        out.field(b"Content-Type", b"application/problem+json");
        out.length(body.len() as u64);
        out.field(b"X-Request-Id", self.request_id);
        if let Some(seconds) = self.retry_after_s {
            out.push(b"Retry-After: ");
            out.number(u64::from(seconds));
            out.push(b"\r\n");
        }
        if self.close {
            out.push(b"Connection: close\r\n");
        } else if self.keep_alive_told {
            out.push(b"Connection: keep-alive\r\n");
        }
        out.push(b"\r\n");
        if !self.head_only {
            out.push(body);
        }
    }

    /// None of the values needs an escape: they are ours, or a request id of harmless characters.
    fn problem(&self, out: &mut Vec<u8>) {
        let answer = &self.answer;
        out.extend_from_slice(b"{\"type\":\"urn:shardgate:problem:");
        out.extend_from_slice(answer.kind.as_bytes());
        out.extend_from_slice(b"\",\"title\":\"");
        out.extend_from_slice(reason(answer.status).as_bytes());
        out.extend_from_slice(b"\",\"status\":");
        out.extend_from_slice(itoa::Buffer::new().format(answer.status).as_bytes());
        for (name, value) in [("detail", answer.detail), ("part", answer.part), ("message", answer.detail)] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\"");
        }
        out.extend_from_slice(b",\"request_id\":\"");
        out.extend_from_slice(self.request_id);
        out.extend_from_slice(b"\"}\n");
    }
}

/// Asks the client for its body.
pub fn continue_(shared: &Shared) -> Result<Buf, Failure> {
    let head = Writer::head(shared.runtime.pool(), 0, |out| out.push(b"HTTP/1.1 100 Continue\r\n\r\n"));
    head.map_err(|_| Failure::NoBuffer)
}

/// A problem document of ours.
const PROBLEM_BYTES_USUAL: usize = 512;
/// The lines of our own head.
const HEAD_BYTES_MAX: usize = 512;

//! The gateway's own answers: RFC 9457 problem documents, with Kong's `message` and `request_id` beside them, and those
//! that a policy or a route gives in place of a service.

use super::account::Account;
use super::error::{Answer, Failure, challenge, reason};
use super::guard::Guarded;
use super::plan::Settings;
use super::shared::Shared;
use super::writer::Writer;
use crate::http::date;
use crate::http::view::{Edits, Fields};
use crate::policy::Response;
use crate::route::{OwnField, RESPOND_FIELDS_MAX, Respond};
use crate::runtime::{Buf, Error, Pieces, TcpStream};
use crate::stdx::time::Mono;

pub struct Reply<'a> {
    pub content: Content<'a>,
    pub request_id: &'a [u8],
    /// The request was HEAD.
    pub head_only: bool,
    pub close: bool,
    /// The client has to be told that the connection is kept, as HTTP/1.0 has.
    pub keep_alive_told: bool,
    pub retry_after_s: Option<u32>,
    /// The request, if it was one: its policies see the answer.
    pub guarded: Option<Guarded<'a>>,
}

#[derive(Clone, Copy)]
pub enum Content<'a> {
    Problem(Answer),
    Direct(&'a Response),
    Redirect {
        status: u16,
        location: &'a [u8],
    },
    Respond(&'a Respond),
    /// All is well, and there is no more to say.
    Nothing,
}

impl Content<'_> {
    /// It asks the client to come again.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::Problem(answer) if answer.status == 503)
    }

    fn has_date(&self) -> bool {
        let is_date = |(name, _): &OwnField| name.eq_ignore_ascii_case(b"date");
        matches!(self, Self::Respond(respond) if respond.fields.iter().any(is_date))
    }

    fn status(&self) -> u16 {
        match self {
            Self::Problem(answer) => answer.status,
            Self::Direct(response) => response.status,
            Self::Redirect { status, .. } => *status,
            Self::Respond(respond) => respond.status,
            Self::Nothing => 200,
        }
    }
}

impl Reply<'_> {
    pub async fn send(
        &self,
        shared: &Shared,
        settings: &Settings,
        stream: &TcpStream,
        account: &Account,
    ) -> Result<(), Error> {
        let pieces = self.write(shared, account).ok_or(Error::Exhausted)?;
        account.status.set(self.content.status());
        let bytes = pieces.len() as u64;
        stream.send_all(pieces, settings.limits.send_timeout, Mono::NEVER).await?;
        account.count_sent(bytes);
        Ok(())
    }

    fn write(&self, shared: &Shared, account: &Account) -> Option<Pieces> {
        let (mut problem, mut number, date) = (Vec::new(), itoa::Buffer::new(), shared.date());
        let mut fields = [(&b"X-Request-Id"[..], self.request_id); FIELDS_MAX];
        let mut count = 1;
        let mut add = |name, value| {
            fields[count] = (name, value);
            count += 1;
        };
        if !self.content.has_date() {
            add(b"Date", date::value(&date));
        }
        let body = match self.content {
            Content::Problem(answer) => {
                problem.reserve(PROBLEM_BYTES_USUAL);
                self.problem(&answer, &mut problem);
                add(b"Content-Type", b"application/problem+json");
                let doors = self.guarded.into_iter().flat_map(|guarded| guarded.doors().filter_map(challenge));
                let mut challenges: Vec<&str> = doors.collect();
                if challenges.is_empty() {
                    challenges.extend(answer.challenge);
                }
                challenges.iter().for_each(|challenge| add(b"WWW-Authenticate", challenge.as_bytes()));
                &problem[..]
            }
            Content::Direct(response) => {
                response.content_type.iter().for_each(|value| add(b"Content-Type", value.bytes()));
                &response.body
            }
            Content::Redirect { location, .. } => {
                add(b"Location", location);
                b""
            }
            Content::Respond(respond) => {
                respond.fields.iter().for_each(|(name, value)| add(name, value));
                &respond.body
            }
            Content::Nothing => b"",
        };
        if let Some(seconds) = self.retry_after_s {
            add(b"Retry-After", number.format(seconds).as_bytes());
        }
        let fields = &fields[..count];
        let guarded = self.guarded.filter(Guarded::answers_meet_policies);
        let edits = guarded.map(|it| it.answer(self.content.status(), Fields::Own(fields), |_| false, None));
        let lines: usize = fields.iter().map(|(name, value)| name.len() + value.len() + LINE_BYTES_MORE).sum();
        let more = lines + edits.as_ref().map_or(0, |edits| edits.bytes_more());
        let head = Writer::head(shared.runtime.pool(), HEAD_BYTES_MAX + more + body.len(), |out| {
            self.write_lines(out, fields, edits.as_deref(), body);
        });
        account.response_body_bytes.set(if self.head_only { 0 } else { body.len() as u64 });
        head.ok().map(Pieces::one)
    }

    fn write_lines(&self, out: &mut Writer<'_>, fields: &[(&[u8], &[u8])], edits: Option<&Edits>, body: &[u8]) {
        let status = self.content.status();
        out.push(b"HTTP/1.1 ");
        out.number(u64::from(status));
        out.push(b" ");
        out.push(reason(status).as_bytes());
        out.push(b"\r\n");
        let kept = fields.iter().enumerate().filter(|(index, _)| edits.is_none_or(|edits| !edits.drops(*index)));
        kept.for_each(|(_, (name, value))| out.field(name, value));
        out.push(edits.map_or(b"", Edits::lines));
        if !matches!(status, 204 | 304) {
            out.length(body.len() as u64);
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
    fn problem(&self, answer: &Answer, out: &mut Vec<u8>) {
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
/// The lines of our own head that policies do not see.
const HEAD_BYTES_MAX: usize = 256;
/// A colon, a space and a line's end.
const LINE_BYTES_MORE: usize = 4;
/// Those that they see: besides the content's there are a request id, when it was answered and when to come again.
const FIELDS_MAX: usize = 3 + RESPOND_FIELDS_MAX;

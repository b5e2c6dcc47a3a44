//! A response's head made ours where it lies, by leaving lines out and letting others in: that saves a buffer, and a
//! copy of all that came.

use crate::http::body::Framing;
use crate::http::field::Known;
use crate::http::head::{ResponseHead, Version};
use crate::http::view::Edits;
use std::ops::Range;

/// The lines of `head`, which lies in `bytes`, that must go for the rest to be what goes down, but for what policies
/// add. `None` if something is to be spelt otherwise: then the head is written anew.
///
/// That is for a body whose length is told and a client that stays: `Content-Length` says what we would say, where the
/// upstream says it.
pub fn left_out(head: &ResponseHead, bytes: &[u8], framing: Framing, edits: Option<&Edits>) -> Option<LeftOut> {
    let Framing::Length(length) = framing else { return None };
    if head.version != Version::Http11 || head.reason.len == 0 {
        return None;
    }
    let (mut left_out, mut is_framed, stops) = (LeftOut::default(), false, head.stops(bytes));
    for (index, field) in head.fields().iter().enumerate() {
        let line = field.line()?;
        let goes = || match edits {
            None => head.is_stopped(bytes, field, stops),
            // What is stopped was dropped before they saw it.
            Some(edits) => edits.drops(index),
        };
        if field.known == Known::ContentLength {
            let is_ours = field.value.of(bytes) == itoa::Buffer::new().format(length).as_bytes();
            if is_framed || !is_ours {
                return None;
            }
            is_framed = true;
        } else if goes() {
            left_out.push(line)?;
        }
    }
    is_framed.then_some(left_out)
}

/// Lines of a head, in order.
#[derive(Debug, Default)]
pub struct LeftOut {
    lines: [Range<usize>; LINES_MAX],
    count: usize,
}

impl LeftOut {
    fn push(&mut self, line: Range<usize>) -> Option<()> {
        *self.lines.get_mut(self.count)? = line;
        self.count += 1;
        Some(())
    }

    /// Moves what stands before each line over it. Returns where the head begins now.
    pub fn remove_from(&self, head: &mut [u8]) -> usize {
        let mut start = 0;
        for line in &self.lines[..self.count] {
            head.copy_within(start..line.start, start + line.len());
            start += line.len();
        }
        start
    }
}

/// A head ends with it.
pub const LAST_LINE: &[u8] = b"\r\n";
/// Each costs a move of what stands before it; an upstream of ours sends two or three.
const LINES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::Scan;
    use crate::http::head::{HeadLimits, Underscores};

    /// What becomes of the head with these fields, for a body of 5 bytes.
    #[track_caller]
    fn check(fields: &str, expected: Option<&str>) {
        let limits = HeadLimits {
            head_bytes_max: 1024,
            fields_max: 20,
            uri_bytes_max: 0,
            underscores: Underscores::Drop,
            merge_slashes: true,
        };
        let mut bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
        let mut head = ResponseHead::new();
        assert_eq!(head.parse(&bytes, &limits, &mut Scan::new()), Ok(Some(bytes.len())), "{fields}");
        let start = left_out(&head, &bytes, Framing::Length(5), None).map(|left_out| left_out.remove_from(&mut bytes));
        let edited = start.map(|start| String::from_utf8(bytes.split_off(start)).unwrap());
        assert_eq!(edited, expected.map(|fields| format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), "{fields}");
    }

    #[test]
    fn lines_for_this_hop_go_and_the_others_stay_where_they_are() {
        check("Content-Length: 5\r\n", Some("Content-Length: 5\r\n"));
        check("A: 1\r\nContent-Length: 5\r\nB: 2\r\n", Some("A: 1\r\nContent-Length: 5\r\nB: 2\r\n"));
        check("A: 1\r\nConnection: keep-alive\r\ncontent-length: 5\r\n", Some("A: 1\r\ncontent-length: 5\r\n"));
        check(
            "Connection: keep-alive, X-Y\r\nA: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\nx-y: 1\r\nB: 2\r\n",
            Some("A: 1\r\nContent-Length: 5\r\nB: 2\r\n"),
        );
    }

    #[test]
    fn a_head_that_says_it_otherwise_is_written_anew() {
        for fields in [
            "",
            "A: 1\r\n",
            "Content-Length: 05\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length:5\r\n",
            "Content-Length: 5\r\nA:  1\r\n",
            "Content-Length: 5\r\nA:\r\n",
            "Content-Length: 5\r\nTe: a\r\nTe: a\r\nTe: a\r\nTe: a\r\nTe: a\r\n",
        ] {
            check(fields, None);
        }
    }
}

//! Writing heads: bytes into a buffer, and the lines of another head copied in as few goes as can be.

use crate::http::field::Field;
use crate::runtime::{Buf, Class, Pool};
use std::ops::Range;

/// Why there is no head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unwritten {
    NoBuffer,
    /// No buffer holds it.
    TooLarge,
}

/// A head in the making.
pub struct Writer<'a> {
    memory: &'a mut [u8],
    length: usize,
    fits: bool,
}

impl Writer<'_> {
    /// A buffer with the head of about `bytes_max` bytes that `write` writes.
    pub fn head(pool: &Pool, bytes_max: usize, write: impl FnOnce(&mut Writer<'_>)) -> Result<Buf, Unwritten> {
        let class = if bytes_max <= Class::Head.payload_bytes() { Class::Head } else { Class::Body };
        let mut buf = pool.take(class).ok_or(Unwritten::NoBuffer)?;
        let mut out = Writer { memory: buf.spare_mut(), length: 0, fits: true };
        write(&mut out);
        let (length, fits) = (out.length, out.fits);
        buf.grow(length);
        if fits { Ok(buf) } else { Err(Unwritten::TooLarge) }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match self.memory.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.fits = false,
        }
    }

    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.push(name);
        self.push(b": ");
        self.push(value);
        self.push(CRLF);
    }

    pub fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    pub fn length(&mut self, length: u64) {
        self.push(b"Content-Length: ");
        self.number(length);
        self.push(CRLF);
    }
}

/// Lines of a head on their way into another: neighbours that are spelt as we would spell them are copied in one go.
pub struct Lines<'a> {
    bytes: &'a [u8],
    /// What is still to be copied.
    run: Range<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, run: 0..0 }
    }

    /// Copies a whole line, its CRLF included.
    #[inline(always)]
    pub fn copy(&mut self, line: Range<usize>, out: &mut Writer<'_>) {
        if line.start == self.run.end {
            self.run.end = line.end;
        } else {
            self.flush(out);
            self.run = line;
        }
    }

    #[inline(always)]
    pub fn copy_field(&mut self, field: &Field, out: &mut Writer<'_>) {
        match field.line() {
            Some(line) => self.copy(line, out),
            None => self.spell(field, out),
        }
    }

    #[cold]
    fn spell(&mut self, field: &Field, out: &mut Writer<'_>) {
        self.flush(out);
        out.field(field.name.of(self.bytes), field.value.of(self.bytes));
    }

    /// Copies what was put off. To be called before anything else is written, and at the end.
    #[inline(never)]
    pub fn flush(&mut self, out: &mut Writer<'_>) {
        out.push(&self.bytes[std::mem::replace(&mut self.run, 0..0)]);
    }
}

const CRLF: &[u8] = b"\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::field::{Known, Span};

    /// Copies the fields of `head` whose names do not begin with `-`.
    #[track_caller]
    fn check(head: &str, copied: &str) {
        let (pool, mut at, mut fields) = (Pool::new(1 << 20), 0, Vec::new());
        for line in head.split_inclusive("\r\n") {
            let (name, value) = line.split_once(':').unwrap();
            let lead = value.len() - value.trim_start().len();
            let value_start = at + name.len() + 1 + lead;
            let span = |start: usize, len: usize| Span { start: start as u16, len: len as u16 };
            let is_plain = value == format!(" {}\r\n", value.trim()) && value.len() > 3;
            let value = span(value_start, value.trim().len());
            fields.push(Field { name: span(at, name.len()), value, known: Known::Other, is_plain });
            at += line.len();
        }
        let buf = Writer::head(&pool, 0, |out| {
            let mut lines = Lines::new(head.as_bytes());
            for field in fields.iter().filter(|field| !field.name.of(head.as_bytes()).starts_with(b"-")) {
                lines.copy_field(field, out);
            }
            lines.flush(out);
        });
        assert_eq!(std::str::from_utf8(buf.unwrap().bytes()).unwrap(), copied);
    }

    #[test]
    fn lines_keep_their_order_and_get_one_spelling() {
        check("A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n");
        check("A: 1\r\n-: x\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n");
        check("A:1\r\nB:  2\r\nC: 3 \r\nD: 4\r\n", "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n");
        check("-: x\r\n", "");
        check("-: x\r\nA:\r\nB: \r\n", "A: \r\nB: \r\n");
    }

    #[test]
    fn a_head_that_does_not_fit_is_told_apart_from_a_buffer_that_is_missing() {
        let pool = Pool::new(1 << 20);
        let long = [b'x'; 4097];
        let refused = Writer::head(&pool, 0, |out| out.push(&long));
        assert_eq!(refused.err(), Some(Unwritten::TooLarge));
        assert_eq!(Writer::head(&Pool::new(0), 0, |_| ()).err(), Some(Unwritten::NoBuffer));
        assert_eq!(pool.bytes_out(), 0);
        assert_eq!(Writer::head(&pool, 5000, |out| out.push(&long)).unwrap().len(), 4097);
    }
}

//! Redis's protocol, RESP 2, as much of it as a handful of commands needs:
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! By hand, since what is asked is a state machine over bytes that the simulation runs too, and clients that are
//! libraries own their connection.

/// A reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
}

/// It is not what a Redis server says, or more than was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Garbage {
    #[error("it does not speak the protocol of Redis")]
    Syntax,
    #[error("its reply has more than {REPLY_BYTES_MAX} bytes")]
    TooLong,
}

/// Appends a command.
pub fn write<'a>(out: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(parts.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for part in parts {
        out.push(b'$');
        out.extend_from_slice(number.format(part.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply and its length; none while it is not all there.
pub fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Garbage> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0)? {
        Some(value) => Ok(Some((value, reader.at))),
        None if bytes.len() > REPLY_BYTES_MAX => Err(Garbage::TooLong),
        None => Ok(None),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, Garbage> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(Garbage::Syntax)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(Some(match kind {
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(number(rest)?),
            b'$' | b'*' if rest == b"-1" => Value::Nil,
            b'$' => match self.bulk(length(rest, REPLY_BYTES_MAX)?)? {
                Some(bytes) => Value::Bulk(bytes.to_vec()),
                None => return Ok(None),
            },
            b'*' if depth < DEPTH_MAX => {
                let mut values = Vec::new();
                for _ in 0..length(rest, ELEMENTS_MAX)? {
                    let Some(value) = self.value(depth + 1)? else { return Ok(None) };
                    values.push(value);
                }
                Value::Array(values)
            }
            _ => return Err(Garbage::Syntax),
        }))
    }

    fn line(&mut self) -> Result<Option<&'a [u8]>, Garbage> {
        let rest = &self.bytes[self.at..];
        match rest.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\r') {
            Some(end) if rest.get(end + 1).is_some_and(|byte| *byte != b'\n') => Err(Garbage::Syntax),
            Some(end) if rest.len() > end + 1 => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            None if rest.len() >= LINE_BYTES_MAX => Err(Garbage::Syntax),
            _ => Ok(None),
        }
    }

    fn bulk(&mut self, length: usize) -> Result<Option<&'a [u8]>, Garbage> {
        let rest = &self.bytes[self.at..];
        let Some(whole) = rest.get(..length + 2) else { return Ok(None) };
        let (bytes, end) = whole.split_at(length);
        self.at += length + 2;
        if end == b"\r\n" { Ok(Some(bytes)) } else { Err(Garbage::Syntax) }
    }
}

fn number(digits: &[u8]) -> Result<i64, Garbage> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Garbage::Syntax)
}

fn length(digits: &[u8], most: usize) -> Result<usize, Garbage> {
    let length = usize::try_from(number(digits)?).map_err(|_| Garbage::Syntax)?;
    if length <= most { Ok(length) } else { Err(Garbage::TooLong) }
}

/// Of one reply. `INFO server` has a kilobyte or two.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// Of an array.
const ELEMENTS_MAX: usize = 1024;
/// No reply has an array in an array.
const DEPTH_MAX: usize = 1;
/// What is not counted before: simple strings, errors, numbers.
const LINE_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply is read when its last byte is there, and not before.
    #[track_caller]
    fn check(bytes: &[u8], want: Value) {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let more = [bytes, b"+next"].concat();
        assert_eq!(read(&more), Ok(Some((want, bytes.len()))));
    }

    #[test]
    fn replies_are_read_whole() {
        check(b"+OK\r\n", Value::Simple("OK".to_owned()));
        check(b"-ERR no\r\n", Value::Error("ERR no".to_owned()));
        check(b":-42\r\n", Value::Integer(-42));
        check(b"$5\r\na\r\nbc\r\n", Value::Bulk(b"a\r\nbc".to_vec()));
        check(b"$-1\r\n", Value::Nil);
        check(b"*-1\r\n", Value::Nil);
        check(b"*2\r\n:1\r\n$0\r\n\r\n", Value::Array(vec![Value::Integer(1), Value::Bulk(Vec::new())]));
        check(b"*0\r\n", Value::Array(Vec::new()));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for garbage in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b"+OK\rx",
            b":1x\r\n",
            b":99999999999999999999\r\n",
            b"$-2\r\n",
            b"$1\r\nabc",
            b"*1\r\n*1\r\n:1\r\n",
            b"%1\r\n",
        ] {
            assert_eq!(read(garbage), Err(Garbage::Syntax), "{:?}", garbage.escape_ascii().to_string());
        }
        assert_eq!(read(&vec![b'+'; LINE_BYTES_MAX]), Err(Garbage::Syntax));
        assert_eq!(read(b"$999999999\r\n"), Err(Garbage::TooLong));
        assert_eq!(read(b"*999999\r\n"), Err(Garbage::TooLong));
        let endless = [b"*2\r\n$65536\r\n".to_vec(), vec![0; REPLY_BYTES_MAX]].concat();
        assert_eq!(read(&endless), Err(Garbage::TooLong));
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        let mut out = Vec::new();
        write(&mut out, [&b"GET"[..], b"a\r\nb"].into_iter());
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }
}

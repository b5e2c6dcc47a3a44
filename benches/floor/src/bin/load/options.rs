//! What the generator is asked to do.

use std::net::{Ipv4Addr, SocketAddrV4};

pub const USAGE: &str = "\
usage: load ADDRESS MODE [--connections N] [--sources N] [--header LINE] [--fresh] [--until-refused] [--gate]
  --rate R (--requests N | --seconds S)    open loop: R requests a second, whatever the answers do
  --closed (--requests N | --seconds S)    closed loop: the next request when the last is answered
  --idle                                   one request a connection, then hold them until stdin closes
  --slow-readers                           read 1 MiB at 1 byte/s a connection until stdin closes
  --slow-writers                           write 1 MiB at 1 byte/s a connection until stdin closes
  --download PATH                          one response; PATH is /bytes/N
  --sources N                              connect from N addresses, 127.0.0.1 on
  --header LINE                            `name: value`, which each request of a loop has too; may be repeated
  --fresh                                  one request a connection, which says so; the next connection is opened ahead
  --until-refused                          ends when no connection is accepted any more; every request must be answered
  --gate                                   after `ready`, wait for a line on stdin; after the result, for its end
";

pub enum Mode {
    Open { rate: u64, requests: u64 },
    Closed { requests: u64, seconds: Option<u64> },
    Idle,
    SlowReaders,
    SlowWriters,
    Download { path: String },
}

pub struct Options {
    pub address: SocketAddrV4,
    pub mode: Mode,
    pub connections: usize,
    pub fresh: bool,
    pub until_refused: bool,
    pub gate: bool,
    /// Each with its line end.
    pub headers: String,
    sources: u8,
}

impl Options {
    pub fn parse(words: &[String]) -> Option<Self> {
        let mut words = words.iter().map(String::as_str);
        let address = words.next()?.parse().ok()?;
        let (mut rate, mut requests, mut seconds, mut mode) = (None, None, None, None);
        let (mut connections, mut sources, mut gate, mut closed) = (64, 1, false, false);
        let (mut fresh, mut until_refused, mut headers) = (false, false, String::new());
        while let Some(word) = words.next() {
            match word {
                "--rate" => rate = Some(words.next()?.parse::<u64>().ok().filter(|rate| *rate > 0)?),
                "--requests" => requests = Some(words.next()?.parse::<u64>().ok()?),
                "--seconds" => seconds = Some(words.next()?.parse::<u64>().ok()?),
                "--connections" => connections = words.next()?.parse().ok().filter(|count| *count > 0)?,
                "--sources" => sources = words.next()?.parse().ok().filter(|count| (1..=250).contains(count))?,
                "--header" => {
                    headers += words.next()?;
                    headers += "\r\n";
                }
                "--closed" => closed = true,
                "--fresh" => fresh = true,
                "--until-refused" => until_refused = true,
                "--gate" => gate = true,
                "--idle" => mode = Some(Mode::Idle),
                "--slow-readers" => mode = Some(Mode::SlowReaders),
                "--slow-writers" => mode = Some(Mode::SlowWriters),
                "--download" => mode = Some(Mode::Download { path: words.next()?.to_owned() }),
                _ => return None,
            }
        }
        let mode = match (mode, rate, closed) {
            (Some(mode), None, false) => mode,
            (None, Some(rate), false) => {
                Mode::Open { rate, requests: requests.or(seconds.map(|seconds| seconds * rate))? }
            }
            (None, None, true) if requests.is_some() != seconds.is_some() => {
                Mode::Closed { requests: requests.unwrap_or(u64::MAX), seconds }
            }
            _ => return None,
        };
        Some(Self { address, mode, connections, fresh, until_refused, gate, headers, sources })
    }

    /// Where the connection of this number comes from.
    pub fn source(&self, number: usize) -> Option<Ipv4Addr> {
        (self.sources > 1).then(|| Ipv4Addr::new(127, 0, 0, 1 + (number % usize::from(self.sources)) as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &str, expected: bool) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(Options::parse(&words).is_some(), expected, "{words:?}");
    }

    #[test]
    fn one_mode_with_an_end_is_needed() {
        check("127.0.0.1:80 --rate 100 --requests 5", true);
        check("127.0.0.1:80 --closed --seconds 1 --connections 8 --gate", true);
        check("127.0.0.1:80 --closed --seconds 1 --header A:b --header C:d", true);
        check("127.0.0.1:80 --closed --seconds 1 --header", false);
        check("127.0.0.1:80 --idle --sources 8", true);
        check("127.0.0.1:80 --download /bytes/5", true);
        check("127.0.0.1:80", false);
        check("127.0.0.1:80 --rate 100", false);
        check("127.0.0.1:80 --rate 0 --seconds 1", false);
        check("127.0.0.1:80 --closed --requests 1 --seconds 1", false);
        check("127.0.0.1:80 --closed --rate 5 --seconds 1", false);
        check("127.0.0.1:80 --idle --closed --seconds 1", false);
        check("here --idle", false);
    }
}

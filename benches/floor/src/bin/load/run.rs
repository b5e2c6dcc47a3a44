//! Many requests over many connections, at a constant rate (open loop) or as fast as they are answered (closed loop).

use crate::client::{Answer, Client, LAST_REQUEST, REQUEST};
use crate::options::{Mode, Options};
use crate::{Failure, gate, say, stay};
use bench_kit::body::Body;
use bench_kit::histogram::Histogram;
use bench_kit::sys::{Connect, Epoll};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// No answer for this long ends the run.
const STALL: Duration = Duration::from_secs(10);

/// More wrong answers than this end the run.
const ERRORS_MAX: u64 = 1000;

const BUFFER_BYTES: usize = 64 * 1024;

/// When requests are due.
#[derive(Clone, Copy)]
struct Plan {
    requests: u64,
    /// Open loop: request k is due k / rate seconds after the start.
    rate: Option<u64>,
    /// Closed loop: no request is sent after this.
    until: Option<Duration>,
}

struct Slot {
    /// Absent once it was refused for good.
    client: Option<Client>,
    /// When the request under way was due; none is when the connection is free.
    due: Option<Duration>,
}

struct Runner<'a> {
    options: &'a Options,
    request: Vec<u8>,
    epoll: Epoll,
    slots: Vec<Slot>,
    /// First in, first out, so that all connections take part.
    free: VecDeque<usize>,
    /// Connections that were refused for good.
    retired: usize,
    start: Instant,
    body: Body,
    tally: Tally,
}

/// What one phase came to.
#[derive(Default)]
struct Tally {
    latency: Histogram,
    sent: u64,
    right: u64,
    errors: u64,
    reconnects: u64,
    /// Connections that the proxy ended between two requests without having said so.
    idle_closes: u64,
    first_error: Option<&'static str>,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    let mut runner = Runner::open(options)?;
    let each_once = Plan { requests: options.connections as u64, rate: None, until: None };
    runner.phase(each_once)?;
    if let Some(error) = runner.tally.first_error {
        return Err(Failure::Wrong(error));
    }
    gate(options)?;
    let plan = match options.mode {
        Mode::Open { rate, requests } => Plan { requests, rate: Some(rate), until: None },
        Mode::Closed { requests, seconds } => Plan { requests, rate: None, until: seconds.map(Duration::from_secs) },
        _ => return Err(Failure::Wrong("not a run")),
    };
    let elapsed = runner.phase(plan)?;
    say(&runner.tally.to_json(elapsed))?;
    if options.gate {
        stay()?;
    }
    let complete = runner.tally.right == runner.tally.sent
        && (plan.until.is_some() || options.until_refused || runner.tally.right == plan.requests);
    match runner.tally.first_error {
        Some(error) => Err(Failure::Wrong(error)),
        None if !complete => Err(Failure::Wrong("not all requests were answered")),
        None => Ok(()),
    }
}

impl<'a> Runner<'a> {
    fn open(options: &'a Options) -> Result<Self, Failure> {
        let epoll = Epoll::new()?;
        let mut slots = Vec::with_capacity(options.connections);
        for number in 0..options.connections {
            let client =
                Client::open(options.address, Connect { source: options.source(number), ..Connect::default() })?;
            epoll.add(client.fd(), number)?;
            slots.push(Slot { client: Some(client), due: None });
        }
        let free = (0..options.connections).collect();
        let (body, tally) = (Body::default(), Tally::default());
        let usual = if options.fresh { LAST_REQUEST } else { REQUEST };
        let request = [&usual[..usual.len() - 2], options.headers.as_bytes(), b"\r\n"].concat();
        Ok(Self { options, request, epoll, slots, free, retired: 0, start: Instant::now(), body, tally })
    }

    /// Runs the plan to its last answer; returns how long that took.
    fn phase(&mut self, plan: Plan) -> Result<Duration, Failure> {
        self.tally = Tally::default();
        self.start = Instant::now();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let now = self.start.elapsed();
            let next_due = self.send_due(plan, now)?;
            let all_free = self.free.len() + self.retired == self.slots.len();
            if all_free && next_due.is_none() || self.retired == self.slots.len() {
                return Ok(now);
            }
            let timeout = next_due.filter(|_| !self.free.is_empty()).map_or(STALL, |due| due.saturating_sub(now));
            let count = self.epoll.wait_for(timeout)?;
            if count == 0 && timeout == STALL {
                return Err(Failure::Wrong("no answer for 10 seconds"));
            }
            for index in 0..count {
                let event = self.epoll.event(index);
                if event.readable() {
                    self.answer(event.token(), &mut buffer)?;
                }
            }
            if self.tally.errors > ERRORS_MAX {
                return Err(Failure::Wrong(self.tally.first_error.unwrap_or("too many errors")));
            }
        }
    }

    /// Sends what is due while there are free connections; returns when the next is due, if there is one.
    fn send_due(&mut self, plan: Plan, now: Duration) -> Result<Option<Duration>, Failure> {
        loop {
            let over = plan.until.is_some_and(|until| now >= until);
            if self.tally.sent == plan.requests || over {
                return Ok(None);
            }
            // In the closed loop a request is meant to be sent as soon as it can be.
            let due = plan.rate.map_or(now, |rate| Duration::from_nanos(self.tally.sent * 1_000_000_000 / rate));
            if due > now {
                return Ok(Some(due));
            }
            let Some(number) = self.free.pop_front() else { return Ok(Some(due)) };
            self.tally.sent += 1;
            if self.slots[number].client.as_ref().is_some_and(|client| client.send(&self.request)) {
                self.slots[number].due = Some(due);
            } else {
                self.tally.error("a request could not be sent");
                self.reopen(number)?;
            }
        }
    }

    fn answer(&mut self, number: usize, buffer: &mut [u8]) -> Result<(), Failure> {
        let slot = &mut self.slots[number];
        let Some(client) = &mut slot.client else { return Ok(()) };
        match (client.receive(buffer, &self.body), slot.due) {
            (Answer::Partial, _) => Ok(()),
            (Answer::Right { last }, Some(due)) => {
                slot.due = None;
                let latency = self.start.elapsed().saturating_sub(due);
                self.tally.right += 1;
                self.tally.latency.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
                if last {
                    self.tally.reconnects += 1;
                    return self.reopen(number);
                }
                self.free.push_back(number);
                Ok(())
            }
            (Answer::Closed, None) => {
                self.tally.reconnects += 1;
                self.tally.idle_closes += 1;
                self.free.retain(|free| *free != number);
                self.reopen(number)
            }
            (Answer::Right { .. }, None) => Err(Failure::Wrong("an answer that nobody asked for")),
            (Answer::Wrong(what), _) => self.wrong(number, what),
            (Answer::Closed, Some(_)) => self.wrong(number, "a connection ended before its answer"),
        }
    }

    fn wrong(&mut self, number: usize, what: &'static str) -> Result<(), Failure> {
        self.tally.error(what);
        self.free.retain(|free| *free != number);
        self.reopen(number)
    }

    fn reopen(&mut self, number: usize) -> Result<(), Failure> {
        let source = self.options.source(number);
        let client = match Client::open(self.options.address, Connect { source, ..Connect::default() }) {
            Err(error) if self.options.until_refused && error.kind() == ErrorKind::ConnectionRefused => {
                self.retired += 1;
                self.slots[number] = Slot { client: None, due: None };
                return Ok(());
            }
            client => client?,
        };
        self.epoll.add(client.fd(), number)?;
        self.slots[number] = Slot { client: Some(client), due: None };
        self.free.push_back(number);
        Ok(())
    }
}

impl Tally {
    fn error(&mut self, what: &'static str) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    fn to_json(&self, elapsed: Duration) -> String {
        let us = |share| self.latency.quantile(share) as f64 / 1000.0;
        format!(
            concat!(
                r#"{{"requests":{},"sent":{},"errors":{},"reconnects":{},"idle_closes":{},"#,
                r#""seconds":{:.6},"rate":{:.1},"p50_us":{:.1},"p99_us":{:.1},"p999_us":{:.1}}}"#
            ),
            self.right,
            self.sent,
            self.errors,
            self.reconnects,
            self.idle_closes,
            elapsed.as_secs_f64(),
            self.right as f64 / elapsed.as_secs_f64(),
            us(0.50),
            us(0.99),
            us(0.999)
        )
    }
}

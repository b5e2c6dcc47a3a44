//! A Redis server as the gateway knows one: it reads its commands, and does what the script does.
//!
//! `tests/e2e` holds the model of the script to the script itself, in a real server.

use std::collections::{BTreeMap, VecDeque};

/// What the script keeps, and its arithmetic.
#[derive(Clone, Debug, Default)]
pub struct Store {
    run: String,
    clock: f64,
    last: Option<u64>,
    epoch: f64,
    since: u64,
    seed: Option<String>,
    /// Share, and when it was heard last.
    nodes: BTreeMap<String, (u64, u64)>,
    /// Debt in tokens, and when by the clock.
    buckets: BTreeMap<String, (f64, f64)>,
}

/// One call of the script.
#[derive(Clone, Debug)]
pub struct Call {
    pub keys: Vec<String>,
    pub arguments: Vec<String>,
}

/// The integers of its reply, and the seed between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    pub now: u64,
    /// Share, nodes, seed, grants; none if the call came too late.
    pub rest: Option<(u64, u64, String, Vec<u64>)>,
}

impl Store {
    pub fn call(&mut self, call: &Call, now: u64) -> Reply {
        let [node, run, deadline, holds, grows, seed, of_keys @ ..] = &call.arguments[..] else {
            panic!("six arguments and three a key: {call:?}");
        };
        let number = |text: &String| text.parse::<u64>().expect("a number");
        if now > number(deadline) {
            return Reply { now, rest: None };
        }
        let is_new = self.run != *run;
        self.advance(now, is_new);
        if is_new {
            self.clock += 1.0;
            (self.run, self.epoch, self.since) = (run.clone(), self.clock, now);
        }
        let (share, count) = self.share(node, number(holds), grows == "1", now);
        self.nodes.insert(node.clone(), (share.max(number(holds)), now));
        let seed = self.seed.get_or_insert_with(|| seed.clone()).clone();
        let grants = call.keys[1..].iter().zip(of_keys.chunks_exact(3)).map(|(key, of_key)| {
            let token: f64 = of_key[1].parse().expect("microseconds");
            self.grant(key, number(&of_key[0]), token, number(&of_key[2]))
        });
        Reply { now, rest: Some((share, count, seed, grants.collect())) }
    }

    pub fn forget_node(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    fn advance(&mut self, now: u64, is_new: bool) {
        let last = self.last.replace(now).unwrap_or(now);
        let since = if is_new { now } else { self.since };
        let is_silent = |seen: u64| now.saturating_sub(seen) > SILENT;
        let of = |silent: bool| {
            let nodes = self.nodes.values().filter(move |(_, seen)| is_silent(*seen) == silent);
            nodes.map(|(share, _)| *share).sum::<u64>()
        };
        let is_young = is_new || now.saturating_sub(since) < YOUNG;
        let pace = if is_young { of(false).min(SHARES) } else { SHARES.saturating_sub(of(true)) };
        if now > last {
            self.clock += ((now - last) as f64 * pace as f64 / SHARES as f64).floor();
        }
    }

    fn share(&mut self, node: &str, holds: u64, grows: bool, now: u64) -> (u64, u64) {
        self.nodes.retain(|id, (_, seen)| id == node || now.saturating_sub(*seen) <= FORGOTTEN);
        let others = self.nodes.iter().filter(|(id, _)| *id != node);
        let (sum, count) = others.fold((0, 1), |(sum, count), (_, (share, _))| (sum + share, count + 1));
        let target = SHARES / count;
        let share = match holds > target {
            true => target,
            false if grows => holds.max(target.min(SHARES.saturating_sub(sum))),
            false => holds,
        };
        (share, count)
    }

    fn grant(&mut self, key: &str, want: u64, token: f64, size: u64) -> u64 {
        let known = self.buckets.get(key).copied().filter(|(_, at)| *at >= self.epoch);
        let (debt, at) = known.unwrap_or((size as f64, self.epoch));
        let debt = (debt - (self.clock - at) / token).max(0.0);
        let grant = want.min((size as f64 - debt).floor().max(0.0) as u64);
        if grant > 0 {
            self.buckets.insert(key.to_owned(), (debt + grant as f64, self.clock));
        }
        grant
    }
}

/// The server around it: one connection's bytes in, and bytes out.
#[derive(Debug)]
pub struct Server {
    pub store: Store,
    /// The name of this run.
    pub run: String,
}

impl Server {
    /// One that has nothing yet.
    pub fn new(run: u64) -> Self {
        Self { store: Store::default(), run: format!("{run:040x}") }
    }

    /// Carries out the whole commands at the front of `inbox`.
    pub fn receive(&mut self, inbox: &mut VecDeque<u8>, now: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(parts) = command(inbox) {
            let words: Vec<String> = parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            self.carry_out(&words, now, &mut out);
        }
        out
    }

    fn carry_out(&mut self, words: &[String], now: u64, out: &mut Vec<u8>) {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let answer = match words[0].as_str() {
            "AUTH" | "SELECT" => "+OK\r\n".to_owned(),
            "TIME" => {
                let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
                format!("*2\r\n{}{}", bulk(&seconds.to_string()), bulk(&micros.to_string()))
            }
            "INFO" => bulk(&format!("# Server\r\nrun_id:{}\r\n", self.run)),
            "SCRIPT" => bulk(&"a".repeat(40)),
            "HDEL" => {
                self.store.forget_node(words[2].trim_start_matches("node:"));
                ":1\r\n".to_owned()
            }
            "EVALSHA" => {
                let keys: usize = words[2].parse().expect("a number of keys");
                let (keys, arguments) = words[3..].split_at(keys);
                let call = Call { keys: keys.to_vec(), arguments: arguments.to_vec() };
                written(&self.store.call(&call, now))
            }
            other => panic!("the gateway sends no {other}"),
        };
        out.extend_from_slice(answer.as_bytes());
    }
}

fn written(reply: &Reply) -> String {
    match &reply.rest {
        None => format!("*1\r\n:{}\r\n", reply.now),
        Some((share, nodes, seed, grants)) => {
            let grants_text: String = grants.iter().map(|grant| format!(":{grant}\r\n")).collect();
            let (length, now) = (grants.len() + 4, reply.now);
            format!("*{length}\r\n:{now}\r\n:{share}\r\n:{nodes}\r\n${}\r\n{seed}\r\n{grants_text}", seed.len())
        }
    }
}

/// Takes the first command, if it is all there.
fn command(inbox: &mut VecDeque<u8>) -> Option<Vec<Vec<u8>>> {
    let bytes = inbox.make_contiguous();
    let mut at = 0;
    let mut number = |mark: u8, skipped: usize| {
        let rest = bytes.get(at + skipped..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        assert_eq!(rest[0], mark, "the gateway sends arrays of strings");
        let digits = std::str::from_utf8(&rest[1..end - 1]).expect("digits");
        at += skipped + end + 1;
        Some((digits.parse::<usize>().expect("a number"), at))
    };
    let (count, _) = number(b'*', 0)?;
    let (mut parts, mut skipped) = (Vec::new(), 0);
    for _ in 0..count {
        let (length, begin) = number(b'$', skipped)?;
        parts.push(bytes.get(begin..begin + length + 2)?[..length].to_vec());
        skipped = length + 2;
    }
    let whole = at + skipped;
    inbox.drain(..whole);
    Some(parts)
}

const SHARES: u64 = 1 << 16;
const SILENT: u64 = 500_000;
const FORGOTTEN: u64 = 60_000_000;
const YOUNG: u64 = 10_000_000;

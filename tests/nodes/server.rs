//! A Redis server as the gateway knows one: it reads its commands, and does what the model of the script does.

use std::collections::VecDeque;

use crate::model::{Call, Reply, Store};

/// The server around it: one connection's bytes in, and bytes out.
#[derive(Debug)]
pub struct Server {
    pub store: Store,
    /// The name of this run.
    pub run: String,
    /// Whether it was told the script and has not forgotten it.
    pub knows_script: bool,
    /// As a proxy before several servers, which tells one of them the script and asks another.
    pub keeps_no_script: bool,
}

impl Server {
    /// One that has nothing yet.
    pub fn new(run: u64) -> Self {
        Self { store: Store::default(), run: format!("{run:040x}"), knows_script: false, keeps_no_script: false }
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
            "SCRIPT" => {
                self.knows_script = !self.keeps_no_script;
                bulk(&"a".repeat(40))
            }
            "EVALSHA" if !self.knows_script => "-NOSCRIPT No matching script. Please use EVAL.\r\n".to_owned(),
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

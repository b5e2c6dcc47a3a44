//! What is said to Redis, and what its answers mean.

use super::resp::{Value, write};
use super::shares::Holding;
use crate::config::store::Store;
use crate::stdx::ledger::{Terms, Want};

/// One round of the script, in calls that are short enough not to hold others up at the server.
pub struct Round<'a> {
    pub prefix: &'a str,
    pub script: &'a str,
    pub node: &'a str,
    pub run: &'a str,
    pub deadline_us: u64,
    pub holding: Holding,
    pub grows: bool,
    pub seed: u64,
}

/// What one call was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It came too late, and did nothing.
    Late {
        now_us: u64,
    },
    Granted {
        now_us: u64,
        share: u32,
        nodes: u32,
        seed: u64,
        grants: Vec<u32>,
    },
}

/// The commands of a new connection: each is answered once.
pub fn greet(store: &Store, out: &mut Vec<u8>) -> usize {
    let said = log_in(store, out);
    for command in [&[&b"TIME"[..]][..], &[b"INFO", b"server"], &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]] {
        write(out, command.iter().copied());
    }
    said + 3
}

fn log_in(store: &Store, out: &mut Vec<u8>) -> usize {
    let database = store.database.to_string();
    let login: Option<Vec<&[u8]>> = match (&store.username, &store.password) {
        (Some(username), Some(password)) => Some(vec![b"AUTH", username.as_bytes(), &password.0]),
        (None, Some(password)) => Some(vec![b"AUTH", &password.0]),
        (_, None) => None,
    };
    let select: Option<Vec<&[u8]>> = (store.database != 0).then(|| vec![&b"SELECT"[..], database.as_bytes()]);
    let commands = login.into_iter().chain(select);
    commands.map(|command| write(out, command.into_iter())).count()
}

/// What a greeting found out.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Met {
    pub now_us: u64,
    /// What the server calls this run of itself.
    pub run: String,
    /// The script, as it is called from now on.
    pub script: String,
}

impl Met {
    /// Takes in the reply to the command that is so far from the last one.
    pub fn hear(&mut self, from_last: usize, value: Value) -> Result<(), String> {
        match (from_last, value) {
            // Whoever may not ask goes by what the script keeps.
            (1, Value::Error(_)) => {}
            (_, Value::Error(error)) => return Err(refusal(&error)),
            (2, Value::Array(time)) => self.now_us = time_us(&time).ok_or_else(strange)?,
            (1, Value::Bulk(info)) => self.run = run_of(&info),
            (0, Value::Bulk(sha)) if is_hex(&sha) => self.script = String::from_utf8_lossy(&sha).into_owned(),
            (3.., Value::Simple(_)) => {}
            _ => return Err(strange()),
        }
        Ok(())
    }
}

impl Round<'_> {
    /// Appends a call for these keys, of which each has its limit's name and terms.
    pub fn call<'a>(&self, wants: impl ExactSizeIterator<Item = (&'a Want, u64, Terms)>, out: &mut Vec<u8>) {
        let Self { prefix, .. } = self;
        let mut parts: Vec<Vec<u8>> = Vec::with_capacity(10 + 4 * wants.len());
        parts.extend([b"EVALSHA".to_vec(), self.script.into(), (1 + wants.len()).to_string().into()]);
        parts.push(nodes_key(prefix).into());
        let mut arguments: Vec<Vec<u8>> = vec![
            self.node.into(),
            self.run.into(),
            self.deadline_us.to_string().into(),
            self.holding.share.to_string().into(),
            if self.grows { b"1".to_vec() } else { b"0".to_vec() },
            format!("{:016x}", self.seed).into(),
        ];
        for (want, name, terms) in wants {
            parts.push(format!("{prefix}:{name:016x}:{:012x}", want.hash).into());
            let token_us = terms.period.as_nanos() as f64 / 1e3 / f64::from(terms.count);
            arguments.push(want.tokens.to_string().into());
            arguments.push(token_us.to_string().into());
            arguments.push(self.holding.store_size(terms).to_string().into());
        }
        parts.append(&mut arguments);
        write(out, parts.iter().map(Vec::as_slice));
    }
}

impl Answer {
    /// To a call with so many keys.
    pub fn read(value: Value, keys: usize) -> Result<Self, String> {
        let values = match value {
            Value::Array(values) => values,
            Value::Error(error) => return Err(refusal(&error)),
            _ => return Err(strange()),
        };
        let number = |value: &Value| match value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| strange()),
            _ => Err(strange()),
        };
        let small = |value: &Value| u32::try_from(number(value)?).map_err(|_| strange());
        match &values[..] {
            [now] => Ok(Self::Late { now_us: number(now)? }),
            [now, share, nodes, Value::Bulk(seed), grants @ ..] if grants.len() == keys => Ok(Self::Granted {
                now_us: number(now)?,
                share: small(share)?,
                nodes: small(nodes)?,
                seed: std::str::from_utf8(seed)
                    .ok()
                    .and_then(|text| u64::from_str_radix(text, 16).ok())
                    .ok_or_else(strange)?,
                grants: grants.iter().map(small).collect::<Result<_, _>>()?,
            }),
            _ => Err(strange()),
        }
    }
}

/// The node is no more: others may have its share at once.
pub fn farewell(store: &Store, node: &str, out: &mut Vec<u8>) {
    log_in(store, out);
    write(out, [&b"HDEL"[..], nodes_key(&store.prefix).as_bytes(), format!("node:{node}").as_bytes()].into_iter());
}

fn nodes_key(prefix: &str) -> String {
    format!("{prefix}:nodes")
}

/// A server may say anything; a part of it is enough.
fn refusal(error: &str) -> String {
    let short: String = error.chars().take(ERROR_CHARS_MAX).filter(|char| !char.is_control()).collect();
    format!("it says `{short}`")
}

fn strange() -> String {
    "its answer is none to what was asked".to_owned()
}

fn time_us(time: &[Value]) -> Option<u64> {
    let number = |value: &Value| match value {
        Value::Bulk(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let [seconds, micros] = time else { return None };
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?)
}

fn run_of(info: &[u8]) -> String {
    let mut lines = info.split(|byte| *byte == b'\n');
    let run = lines.find_map(|line| line.strip_prefix(b"run_id:")).map(<[u8]>::trim_ascii);
    String::from_utf8_lossy(run.filter(|run| is_hex(run)).unwrap_or_default()).into_owned()
}

fn is_hex(text: &[u8]) -> bool {
    text.len() == 40 && text.iter().all(u8::is_ascii_hexdigit)
}

const SCRIPT: &str = include_str!("grants.lua");
const ERROR_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_asked_for_or_nothing() {
        let bulk = |text: &str| Value::Bulk(text.into());
        let head = |seed: &str| vec![Value::Integer(9), Value::Integer(7), Value::Integer(3), bulk(seed)];
        let whole = [head("ff"), vec![Value::Integer(4)]].concat();
        let granted = Answer::Granted { now_us: 9, share: 7, nodes: 3, seed: 255, grants: vec![4] };
        assert_eq!(Answer::read(Value::Array(whole.clone()), 1), Ok(granted));
        assert_eq!(Answer::read(Value::Array(vec![Value::Integer(9)]), 1), Ok(Answer::Late { now_us: 9 }));
        for (value, keys) in [
            (Value::Array(whole), 2),
            (Value::Array(head("xyz")), 0),
            (Value::Array([head("ff"), vec![Value::Integer(-4)]].concat()), 1),
            (Value::Array([head("ff"), vec![bulk("4")]].concat()), 1),
            (Value::Array(Vec::new()), 0),
            (Value::Nil, 0),
            (Value::Simple("OK".to_owned()), 0),
        ] {
            assert_eq!(Answer::read(value.clone(), keys), Err(strange()), "{value:?}");
        }
        let error = Value::Error(format!("ERR \r{}", "x".repeat(1_000)));
        assert_eq!(Answer::read(error, 0).unwrap_err().len(), "it says `ERR `".len() + 95);
    }

    #[test]
    fn a_greeting_finds_out_time_run_and_script() {
        let mut met = Met::default();
        let bulk = |text: &str| Value::Bulk(text.into());
        let (run, script) = ("ab".repeat(20), "cd".repeat(20));
        assert_eq!(met.hear(4, Value::Simple("OK".to_owned())), Ok(()));
        assert_eq!(met.hear(2, Value::Array(vec![bulk("12"), bulk("345")])), Ok(()));
        assert_eq!(met.hear(1, bulk(&format!("# Server\r\nredis_version:7\r\nrun_id:{run}\r\nx:y"))), Ok(()));
        assert_eq!(met.hear(0, bulk(&script)), Ok(()));
        assert_eq!(met, Met { now_us: 12_000_345, run, script });
        assert!(met.hear(0, bulk("short")).is_err() && met.hear(2, Value::Nil).is_err());
        assert_eq!(met.hear(3, Value::Error("WRONGPASS".to_owned())), Err("it says `WRONGPASS`".to_owned()));
    }
}

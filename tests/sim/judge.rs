//! Whether what happened may have happened: every exchange is byte for byte what it was to be, or failed visibly.

use crate::generate::HOST;
use crate::ledger::{Ledger, Outcome, Reply, Seen};
use crate::limits::{self, Limits};
use crate::plan::origin_of;
use crate::script::{Coding, Conduct, Fields, Flaw, Kind, Request, Script, When};
use crate::wire::Broken;
use shardgate::runtime::op::Error;

/// What a run may show.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Everybody kept to the rules and nothing failed: every exchange has to succeed.
    pub all_succeed: bool,
    /// The network hid nothing for ever: the gateway has to take every connection and end every exchange.
    pub all_end: bool,
    /// The gateway was told to end before the clients were done, and took nobody in any more.
    pub drained: bool,
}

pub fn judge(ledger: &Ledger, measure: Measure, limits: Option<&Limits>) -> Vec<String> {
    let mut wrong = ledger.take_violations();
    let (seen, outcomes) = (ledger.seen.borrow(), ledger.outcomes.borrow());
    for script in &ledger.scripts {
        let mut found = Vec::new();
        let outcome = &outcomes[script.id];
        for seen in &seen[script.id] {
            judge_seen(script, seen, &mut found);
            judge_plan(ledger, script, seen, &mut found);
        }
        let times = seen[script.id].len();
        if times > if script.is_repeatable() { 2 } else { 1 } {
            found.push(format!("the origin saw it {times} times"));
        }
        judge_repeated(script, &seen[script.id], &mut found);
        let poisoned = |reply: &Reply| reply.head.value("X-Answer") == Some("poison");
        let excused = matches!(outcome, Some(Outcome::Answered(reply)) if poisoned(reply))
            && ledger.excess_was_under_way(script.id);
        if !excused {
            judge_outcome(script, outcome.as_ref(), times, (measure, limits), &mut found);
        }
        if !found.is_empty() {
            wrong.push(format!("exchange {}: {}; {}", script.id, describe(script), came_of(outcome.as_ref())));
            wrong.extend(found);
        }
    }
    wrong
}

fn describe(script: &Script) -> String {
    let Script { kind, request, answer, conduct, .. } = script;
    let asked = format!("{} {:?} {} bytes", request.method, request.coding, request.body.len());
    let version = if request.http10 { "1.0" } else { "1.1" };
    let answered = format!("{} {:?} {} bytes", answer.status, answer.coding, answer.body.len());
    format!(
        "{kind:?}, {asked}, HTTP/{version}, {conduct:?}, expects: {}; {answered}, {:?}, {:?}, {:?}",
        request.expects_continue, answer.when, answer.after, answer.flaw
    )
}

fn came_of(outcome: Option<&Outcome>) -> String {
    match outcome {
        Some(Outcome::Answered(reply)) => format!("answered {}", reply.status),
        other => format!("{other:?}"),
    }
}

/// A request at the origin is the client's, or its truncation shows.
fn judge_seen(script: &Script, seen: &Seen, found: &mut Vec<String>) {
    let request = &script.request;
    let whole = seen.end == Some(Ok(()));
    if whole && script.kind == Kind::Malformed {
        return found.push("the origin took a malformed request for a whole one".into());
    }
    if script.kind == Kind::Malformed {
        return;
    }
    let sent_head = script.sent_bytes() >= request.head_bytes;
    if !sent_head || whole && script.kind == Kind::Exchange && script.sent_bytes() < request.wire.len() {
        found.push("the origin took a truncated request for a whole one".into());
    }
    let start = [request.method, request.target.as_str(), "HTTP/1.1"];
    if seen.head.start != start {
        found.push(format!("the origin got {:?} for {start:?}", seen.head.start));
    }
    let wanted = passing(&request.fields);
    let got = without(&seen.head.fields, &GATEWAY_REQUEST_FIELDS);
    if got != wanted {
        found.push(format!("the origin got the fields {got:?} for {wanted:?}"));
    }
    if seen.head.value("Host") != Some(HOST) {
        found.push(format!("the origin got the host {:?}", seen.head.value("Host")));
    }
    let client = seen.head.value("X-Forwarded-For").unwrap_or_default();
    if !client.starts_with("10.0.0.") || client.contains(',') {
        found.push(format!("the origin was told that {client:?} asks"));
    }
    // A tunnel of which the client never heard ends without a byte.
    let unopened = script.kind == Kind::Tunnel && seen.body.bytes.is_empty();
    let same_length = seen.body.bytes.len() == request.passed.len() || unopened;
    if !request.passed.starts_with(&seen.body.bytes) || whole && !same_length {
        let (got, wanted) = (seen.body.bytes.len(), request.passed.len());
        found.push(format!("the origin got another body: {got} of {wanted} bytes, whole: {whole}"));
    }
    if whole && seen.head.coding().is_ok_and(|(coding, _)| coding == Coding::Chunked) {
        let wanted = passing(&request.trailers);
        if seen.body.trailers != wanted {
            found.push(format!("the origin got the trailers {:?} for {wanted:?}", seen.body.trailers));
        }
    }
}

/// What was sent once is sent again only if the gateway has the whole body: because it keeps one that is short, or has
/// collected it for a policy that changes it, or because nothing of it had gone up. Which of both the origin reads
/// first is up to the network.
fn judge_repeated(script: &Script, seen: &[Seen], found: &mut Vec<String>) {
    let Request { body, passed, .. } = &script.request;
    let begun = seen.iter().filter(|seen| !seen.body.bytes.is_empty()).count();
    if begun > 1 && body == passed && body.len() > REPLAY_BYTES_MAX {
        found.push(format!("the origin got its body {begun} times"));
    }
}

/// An exchange goes by one plan, and by none that every shard had left before it began. A plan's number is in its
/// `Via`, and its service has the origin of that number.
fn judge_plan(ledger: &Ledger, script: &Script, seen: &Seen, found: &mut Vec<String>) {
    let Some(before) = ledger.plan_before(script.id) else { return };
    let via = seen.head.value("Via").and_then(|via| via.split_once(" plan-")?.1.parse::<u64>().ok());
    let Some(plan) = via else { return found.push(format!("it went by no plan: {:?}", seen.head.value("Via"))) };
    if plan < before {
        found.push(format!("it went by plan {plan}, and began when {before} was in force"));
    }
    if origin_of(plan) != seen.origin {
        found.push(format!("it went by plan {plan}, and to the origin of another"));
    }
}

fn judge_outcome(
    script: &Script,
    outcome: Option<&Outcome>,
    times: usize,
    (measure, limits): (Measure, Option<&Limits>),
    found: &mut Vec<String>,
) {
    match outcome {
        None => found.push("it never came to an end".into()),
        Some(Outcome::Answered(reply)) if reply.head.value("X-Answer").is_some() => {
            judge_reply(script, reply, times, found);
            limits.into_iter().for_each(|limits| limits.judge_told(reply, found));
        }
        Some(Outcome::Answered(reply)) => {
            judge_refusal(reply, found);
            if let Some(limits) = limits.filter(|_| reply.status == 429) {
                limits.judge_refusal(reply, times, found);
            } else if measure.all_succeed && !(is_busy(reply) && limits.is_some_and(|limits| limits.is_crowded)) {
                found.push(format!("the gateway answered {} {:?}", reply.status, text(&reply.body.bytes)));
            }
        }
        Some(Outcome::Broken(Broken::Nonsense(what))) => found.push(format!("the client got nonsense as {what}")),
        Some(Outcome::Broken(Broken::Failed(Error::Deadline))) if measure.all_end => {
            found.push("the client got no answer and no end".into());
        }
        Some(Outcome::Refused) if measure.drained => {}
        Some(Outcome::Refused) if measure.all_end => found.push("the gateway took no connection".into()),
        Some(other) => {
            if measure.all_succeed && !matches!(other, Outcome::Unsent) {
                found.push(format!("it failed: {other:?}"));
            }
        }
    }
}

/// The origin's answer, as the client got it.
fn judge_reply(script: &Script, reply: &Reply, times: usize, found: &mut Vec<String>) {
    let answer = &script.answer;
    judge_date(reply, found);
    if times == 0 {
        return found.push("the origin answered what it never saw".into());
    }
    let premature = script.kind == Kind::Malformed && answer.when == When::After;
    if premature || !matches!(answer.flaw, Flaw::None | Flaw::Excess) {
        return found.push(format!("{:?} became a whole answer: {:?}", answer.flaw, reply.head.start));
    }
    if matches!(script.conduct, Conduct::Aborts { .. }) && answer.when == When::After {
        found.push("the origin answered a request that was never sent whole".into());
    }
    if reply.status != answer.status {
        found.push(format!("the client got {} for {}", reply.status, answer.status));
    }
    let wanted = passing(&answer.fields);
    let mut got = without(&reply.head.fields, &GATEWAY_RESPONSE_FIELDS);
    got.retain(|(name, _)| !limits::is_told_by(name));
    if got != wanted {
        found.push(format!("the client got the fields {got:?} for {wanted:?}"));
    }
    let wanted_body: &[u8] = if answer.has_body(script.request.method) { &answer.passed } else { b"" };
    if reply.body.bytes != wanted_body {
        let (got, wanted) = (reply.body.bytes.len(), wanted_body.len());
        found.push(format!("the client got another body: {got} of {wanted} bytes"));
    }
    let chunked = reply.head.value("Transfer-Encoding").is_some();
    if chunked && script.request.http10 {
        found.push("an HTTP/1.0 client got chunks".into());
    }
    if chunked && script.request.method != "HEAD" && reply.body.trailers != passing(&answer.trailers) {
        found.push(format!("the client got the trailers {:?}", reply.body.trailers));
    }
    let hints: Vec<u16> = reply.interims.iter().copied().filter(|status| *status != 100).collect();
    if hints != answer.interims && !(script.request.http10 && reply.interims.is_empty()) {
        found.push(format!("the client got the interim answers {:?}", reply.interims));
    }
    if reply.interims.contains(&100) && !script.request.expects_continue {
        found.push("the client was told to continue and had not asked".into());
    }
}

/// So many of a client's passwords were being verified that this one was not: a crowd may be told so at any time.
pub fn is_busy(reply: &Reply) -> bool {
    // The answer to HEAD has its length alone.
    let told = text(&reply.body.bytes).contains(":password_busy");
    let told_by_length = reply.body.bytes.is_empty() && reply.head.value("Content-Length") == Some(BUSY_BYTES);
    reply.status == 503 && (told || told_by_length)
}

/// The gateway's own answer says what went wrong, in its own form.
fn judge_refusal(reply: &Reply, found: &mut Vec<String>) {
    judge_date(reply, found);
    let body = text(&reply.body.bytes);
    let problem = reply.head.value("Content-Type") == Some("application/problem+json");
    let bare = reply.body.bytes.is_empty();
    let told = bare || body.starts_with("{\"type\":") && body.contains("\"request_id\":");
    if reply.status < 400 || !problem || !told {
        found.push(format!("the gateway answered {} {body:?}", reply.status));
    }
    if body.contains("10.0.0.") {
        found.push(format!("the gateway told an address: {body:?}"));
    }
}

/// The origins do not say when they answered; the gateway does, of whatever is not an interim answer.
fn judge_date(reply: &Reply, found: &mut Vec<String>) {
    let dates = reply.head.fields.iter().filter(|(name, _)| name == "Date").count();
    if dates != usize::from(reply.status >= 200) {
        found.push(format!("the client got {dates} dates"));
    }
}

fn passing(fields: &Fields) -> Vec<(String, String)> {
    let passing = fields.iter().filter(|(_, _, passes)| *passes);
    passing.map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect()
}

fn without(fields: &[(String, String)], names: &[&str]) -> Vec<(String, String)> {
    fields.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Of a body that the gateway keeps, as the plan's `Retry` says.
const REPLAY_BYTES_MAX: usize = 64 << 10;
/// Bytes of the answer `password_busy`.
const BUSY_BYTES: &str = "254";
const GATEWAY_RESPONSE_FIELDS: [&str; 4] = ["Content-Length", "Transfer-Encoding", "Connection", "Date"];
const GATEWAY_REQUEST_FIELDS: [&str; 14] = [
    "X-Consumer-Username",
    "Host",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "Forwarded",
    "X-Request-Id",
    "Via",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Expect",
];

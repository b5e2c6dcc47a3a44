//! The simulation's origin: answers each request as its script says, and notes what it saw.

use crate::ledger::Ledger;
use crate::script::{After, Coding, Flaw, Kind, Script, When};
use crate::wire::{Body, Broken, Head, Wire, side_by_side};
use shardgate::runtime::{Runtime, TcpListener};
use shardgate::stdx::rng::Rng;
use std::rc::Rc;
use std::time::Duration;

pub struct Origin {
    pub ledger: Rc<Ledger>,
    pub runtime: Runtime,
    /// Which of them it is.
    pub number: usize,
    pub seed: u64,
    pub patience: Duration,
}

impl Origin {
    /// Accepts for ever; every connection gets a coroutine.
    pub async fn listen(self, listener: TcpListener) {
        let Self { ledger, runtime, number, seed, patience } = self;
        let mut rng = Rng::new(seed);
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let wire = Wire::new(runtime.clone(), stream, rng.next_u64(), patience);
            runtime.spawn(serve(ledger.clone(), number, wire));
        }
    }
}

async fn serve(ledger: Rc<Ledger>, number: usize, wire: Wire) {
    loop {
        let head = match wire.head().await {
            Ok(head) => head,
            Err(Broken::Nonsense(what)) => return ledger.violate(format!("the origin got nonsense as {what}")),
            Err(_) => return,
        };
        let Some(script) = ledger.script_of(&head.start[1]) else {
            return ledger.violate(format!("the origin got a request that nobody sent: {:?}", head.start));
        };
        let place = ledger.saw(script.id, number, wire.runtime.now().mono, head.clone());
        if !answer(&ledger, &wire, script, place, &head).await {
            return;
        }
    }
}

/// Plays the script; true if the connection may bring another request.
async fn answer(ledger: &Ledger, wire: &Wire, script: &Script, place: usize, head: &Head) -> bool {
    if script.kind == Kind::Tunnel {
        tunnel(ledger, wire, script, place).await;
        return false;
    }
    let answer = &script.answer;
    let read = async {
        if head.lists("Expect", "100-continue") {
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        read_body(ledger, wire, script.id, place, head).await
    };
    let (read_end, sent) = match answer.when {
        When::After => match read.await {
            Ok(()) => (Ok(()), respond(ledger, wire, script).await),
            Err(broken) => return broken_off(ledger, broken),
        },
        When::Early => {
            let mut end = Err(Broken::Truncated);
            // It answers at once, so it has no reason to ask for the body.
            let first = async { end = read_body(ledger, wire, script.id, place, head).await };
            let sent = side_by_side(first, respond(ledger, wire, script), |sent| *sent == Ok(true)).await;
            (end, sent)
        }
        When::EarlyAndClose => {
            let _gone = respond(ledger, wire, script).await;
            return false;
        }
    };
    if let Err(broken) = read_end {
        return broken_off(ledger, broken);
    }
    match (sent, answer.after) {
        (Ok(true), After::Keep) => true,
        (Ok(true), After::CloseUnsaid { after_ms }) => {
            wire.pause(after_ms).await;
            false
        }
        _ => false,
    }
}

fn broken_off(ledger: &Ledger, broken: Broken) -> bool {
    if let Broken::Nonsense(what) = broken {
        ledger.violate(format!("the origin got nonsense as {what}"));
    }
    false
}

async fn read_body(ledger: &Ledger, wire: &Wire, id: usize, place: usize, head: &Head) -> Result<(), Broken> {
    let mut body = Body::default();
    let end = match head.coding() {
        Ok((coding, length)) => wire.body(coding, length, &mut body).await,
        Err(broken) => Err(broken),
    };
    ledger.saw_body(id, place, body, end);
    end
}

/// Sends the answer with its flaw. True if it went out whole and the connection is sound.
async fn respond(ledger: &Ledger, wire: &Wire, script: &Script) -> Result<bool, Broken> {
    let answer = &script.answer;
    for status in &answer.interims {
        let interim = format!("HTTP/1.1 {status} Hints\r\nLink: </s{}>\r\n\r\n", script.id);
        wire.send(interim.as_bytes()).await?;
    }
    if answer.delay_ms > 0 {
        wire.pause(answer.delay_ms).await;
    }
    match answer.flaw {
        Flaw::None => wire.send(&answer.wire).await.map(|()| true),
        Flaw::Garbage => wire.send(b"HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n").await.map(|()| false),
        Flaw::Cut { after, reset } => {
            wire.send(&answer.wire[..after]).await?;
            if reset {
                wire.stream.reset_on_drop();
            }
            Ok(false)
        }
        Flaw::Excess => {
            let mut bytes = answer.wire.clone();
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nX-Answer: poison\r\nContent-Length: 0\r\n\r\n");
            wire.send(&bytes).await?;
            ledger.excess_sent(script.id, wire.runtime.now().mono);
            // Whatever is asked on this connection gets no answer but that one.
            wire.pause(EXCESS_MS).await;
            Ok(false)
        }
        Flaw::Silence => {
            // Until the gateway has given up.
            wire.pause(SILENCE_MS).await;
            Ok(false)
        }
        Flaw::UnaskedSwitch => {
            let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            wire.send(switch).await.map(|()| false)
        }
    }
}

async fn tunnel(ledger: &Ledger, wire: &Wire, script: &Script, place: usize) {
    if respond(ledger, wire, script).await != Ok(true) {
        return;
    }
    let mut body = Body::default();
    let send = async {
        if wire.send(&script.answer.body).await.is_ok() {
            wire.stream.shutdown_write();
        }
    };
    let end = side_by_side(send, wire.body(Coding::UntilClose, 0, &mut body), Result::is_ok).await;
    if end.is_err() {
        wire.stream.reset_on_drop();
    }
    ledger.saw_body(script.id, place, body, end);
}

const EXCESS_MS: u64 = 30_000;
const SILENCE_MS: u64 = 1_000_000;

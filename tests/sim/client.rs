//! The simulation's client: plays one script after another over as few connections as it can.

use crate::ledger::{Ledger, Outcome, Reply};
use crate::script::{Coding, Conduct, Kind, Script};
use crate::wire::{Body, Broken, Wire, side_by_side};
use shardgate::runtime::wait::sleep_until;
use shardgate::runtime::{Runtime, TcpStream};
use shardgate::stdx::rng::Rng;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

pub struct Client {
    pub ledger: Rc<Ledger>,
    pub runtime: Runtime,
    pub gateway: SocketAddr,
    /// The scripts it plays, in order.
    pub ids: Vec<usize>,
    pub seed: u64,
    pub patience: Duration,
}

/// What the two halves of a connection tell each other.
#[derive(Default)]
struct Progress {
    /// The client was told to send the body it announced, or that there is no use in it.
    decided: Cell<bool>,
    left: Cell<bool>,
}

impl Client {
    pub async fn run(self) {
        let mut rng = Rng::new(self.seed);
        let mut next = 0;
        while next < self.ids.len() {
            let deadline = self.runtime.now().mono + self.patience;
            let Ok(stream) = TcpStream::connect(&self.runtime, self.gateway, deadline).await else {
                self.ledger.came_of(self.ids[next], Outcome::Refused, self.runtime.now().mono);
                next += 1;
                continue;
            };
            let wire = Wire::new(self.runtime.clone(), stream, rng.next_u64(), self.patience);
            next = self.talk(&wire, next).await;
        }
    }

    /// Plays on this connection until it ends; says which script is next.
    async fn talk(&self, wire: &Wire, mut next: usize) -> usize {
        while next < self.ids.len() {
            let group = self.group(next);
            next += group.len();
            wire.pause(group[0].pause_ms).await;
            for script in &group {
                self.ledger.began.borrow_mut()[script.id] = self.runtime.now().mono;
            }
            let goes_on = self.play(wire, &group).await;
            for script in group {
                // Behind an answer that closed the connection there is none for the requests that followed.
                if self.ledger.outcomes.borrow()[script.id].is_none() {
                    self.ledger.came_of(script.id, Outcome::Unsent, self.runtime.now().mono);
                }
            }
            if !goes_on {
                break;
            }
        }
        next
    }

    /// The next script and those that are sent right behind it.
    fn group(&self, next: usize) -> Vec<&Script> {
        let script = |place: usize| self.ids.get(place).map(|id| &self.ledger.scripts[*id]);
        let mut group: Vec<&Script> = script(next).into_iter().collect();
        while let (Some(last), Some(following)) = (group.last(), script(next + group.len())) {
            let may_follow = last.kind == Kind::Exchange
                && last.conduct == Conduct::Proper
                && !last.request.closes
                && !last.request.http10
                && !last.request.expects_continue;
            if !following.pipelined || !may_follow {
                break;
            }
            group.push(following);
        }
        group
    }

    /// Sends the requests and reads the answers. True if the connection may bring more.
    async fn play(&self, wire: &Wire, group: &[&Script]) -> bool {
        let progress = Progress::default();
        let mut write = pin!(async {
            for script in group {
                if send(wire, script, &progress).await.is_err() {
                    return;
                }
            }
        });
        let mut read = pin!(self.read(wire, group, &progress));
        let (mut written, mut answered) = (false, None);
        poll_fn(|context| {
            written |= !written && write.as_mut().poll(context).is_ready();
            if progress.left.get() {
                return Poll::Ready(());
            }
            if answered.is_none()
                && let Poll::Ready(goes_on) = read.as_mut().poll(context)
            {
                answered = Some(goes_on);
            }
            match answered {
                Some(goes_on) if written || !goes_on => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        if progress.left.get() {
            let last = group.last().expect("a group is never empty");
            if self.ledger.outcomes.borrow()[last.id].is_none() {
                self.ledger.came_of(last.id, Outcome::Left, self.runtime.now().mono);
            }
            return false;
        }
        answered == Some(true)
    }

    async fn read(&self, wire: &Wire, group: &[&Script], progress: &Progress) -> bool {
        for script in group {
            let (outcome, goes_on) = match receive(wire, script, progress).await {
                Ok(reply) => {
                    let goes_on = is_kept(script, &reply);
                    (Outcome::Answered(reply), goes_on)
                }
                Err(broken) => {
                    // So that the origin does not take what came through a tunnel for the whole.
                    wire.stream.reset_on_drop();
                    (Outcome::Broken(broken), false)
                }
            };
            progress.decided.set(true);
            self.ledger.came_of(script.id, outcome, self.runtime.now().mono);
            if !goes_on {
                return false;
            }
        }
        true
    }
}

async fn send(wire: &Wire, script: &Script, progress: &Progress) -> Result<(), Broken> {
    let request = &script.request;
    match script.conduct {
        Conduct::Aborts { after, reset } => {
            wire.send(&request.wire[..after]).await?;
            if reset {
                wire.stream.reset_on_drop();
            }
            progress.left.set(true);
            return Ok(());
        }
        _ if request.expects_continue => {
            wire.send(&request.wire[..request.head_bytes]).await?;
            let patience = wire.runtime.now().mono + CONTINUE_PATIENCE;
            while !progress.decided.get() && wire.runtime.now().mono < patience {
                sleep_until(&wire.runtime, wire.runtime.now().mono + Duration::from_millis(20)).await;
            }
            wire.send(&request.wire[request.head_bytes..]).await?;
        }
        _ => wire.send(&request.wire).await?,
    }
    match script.conduct {
        Conduct::HalfCloses => wire.stream.shutdown_write(),
        Conduct::Leaves => progress.left.set(true),
        Conduct::Proper | Conduct::Aborts { .. } => {}
    }
    Ok(())
}

async fn receive(wire: &Wire, script: &Script, progress: &Progress) -> Result<Reply, Broken> {
    let mut interims = Vec::new();
    loop {
        let head = wire.head().await?;
        let version_known = matches!(head.start[0].as_str(), "HTTP/1.1");
        let status: u16 = head.start[1].parse().map_err(|_| Broken::Nonsense("a status"))?;
        if !version_known {
            return Err(Broken::Nonsense("a version"));
        }
        let mut body = Body::default();
        if status == 101 && script.kind == Kind::Tunnel {
            tunnel(wire, script, &mut body).await?;
            return Ok(Reply { interims, head, status, body });
        }
        if (100..200).contains(&status) {
            progress.decided.set(true);
            interims.push(status);
            continue;
        }
        // No use in sending the body when the answer is there before it.
        let bodyless = script.request.method == "HEAD" || matches!(status, 204 | 304);
        let (coding, length) = match head.coding()? {
            _ if bodyless => (Coding::None, 0),
            (Coding::None, _) => (Coding::UntilClose, 0),
            framed => framed,
        };
        wire.body(coding, length, &mut body).await?;
        return Ok(Reply { interims, head, status, body });
    }
}

/// Whether the connection may bring another request.
fn is_kept(script: &Script, reply: &Reply) -> bool {
    let framed = script.request.method == "HEAD"
        || matches!(reply.status, 204 | 304)
        || reply.head.coding().is_ok_and(|(coding, _)| coding != Coding::None);
    let told = if script.request.http10 {
        reply.head.lists("Connection", "keep-alive")
    } else {
        !reply.head.lists("Connection", "close")
    };
    framed && told && !script.request.closes && reply.status != 101 && script.conduct == Conduct::Proper
}

async fn tunnel(wire: &Wire, script: &Script, body: &mut Body) -> Result<(), Broken> {
    let send = async {
        if wire.send(&script.request.body).await.is_ok() {
            wire.stream.shutdown_write();
        }
    };
    let end = side_by_side(send, wire.body(Coding::UntilClose, 0, body), Result::is_ok).await;
    if end.is_err() {
        wire.stream.reset_on_drop();
    }
    end
}

/// Longer than the gateway's own patience.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(3);

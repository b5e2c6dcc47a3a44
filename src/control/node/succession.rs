//! One process takes over from another: what either does about it.

use super::{Node, Phase};
use crate::control::handover::{self, Asked, Farewell, Old};
use crate::control::journal::say;
use crate::control::start::StartError;
use crate::shard::Mail;
use rustix::process::getuid;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

impl Node {
    /// This one accepts: lets the old process go, if there is one, and is met at the control socket. What can fail
    /// comes before the old one is told, and what others see of it after: one that dies before leaves all as it was.
    pub(super) fn succeed(
        &mut self,
        old: Option<Old>,
        control: Option<&Path>,
        tell: UnboundedSender<Asked>,
    ) -> Result<(), StartError> {
        let unusable = |path: &Path, error| StartError::ControlSocket(path.to_owned(), error);
        if let Some(path) = control {
            handover::serve(path, getuid(), tell).map_err(|error| unusable(path, error))?;
        }
        let farewell = old.map(Old::confirm).transpose().map_err(|error| StartError::Handover(error.into()))?;
        if farewell == Some(Farewell::Gone) {
            say!(Warn, "the process that handed over has died since; this one serves alone");
        }
        let Some(path) = control else { return Ok(()) };
        match handover::enter(path) {
            Err(error) if farewell.is_none() => Err(unusable(path, error)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                say!(Warn, "{}; no process can take over from this one", unusable(path, error));
                self.status.borrow_mut().handovers_failed += 1;
                Ok(())
            }
            // Or the old one has done it.
            _ => Ok(()),
        }
    }

    pub(super) async fn handed_over(&mut self, asked: Asked) {
        match asked {
            Asked::Sockets(give) if self.phase == Phase::Serving => {
                say!(Info, "another process takes over: accepting stops");
                self.phase = Phase::HandingOver;
                self.keep_last().await;
                match self.rest().await {
                    // If it has gone meanwhile, that is told next.
                    Ok(sockets) => drop(give.send(sockets)),
                    // Not giving is telling.
                    Err(error) => say!(Warn, "the sockets cannot be handed over: {error}"),
                }
            }
            // It ends, and has let go of its sockets: it has nothing to give, and does not stand in the way.
            Asked::Sockets(give) if self.phase == Phase::Draining => drop(give.send(Vec::new())),
            // It is about to end, or is being taken over. Whoever asks is told by not being given anything.
            Asked::Sockets(_) => {}
            Asked::Confirmed if self.phase == Phase::Draining => {}
            Asked::Confirmed => {
                say!(Info, "the other process accepts");
                self.status.borrow_mut().draining = true;
                self.drain(self.snapshot.drain_timeout);
            }
            Asked::Abandoned(why) => {
                say!(Warn, "the other process does not take over: {why}");
                self.status.borrow_mut().handovers_failed += 1;
                if self.phase == Phase::HandingOver {
                    self.phase = Phase::Serving;
                    self.accept_again();
                    self.keep_keys();
                }
            }
            Asked::Stranger(user) => {
                say!(Warn, "user {user} asked for the listening sockets, and was refused");
                self.status.borrow_mut().handovers_failed += 1;
            }
        }
    }

    /// Nobody in this process accepts any more, the admin listener neither; then its sockets are another's to accept
    /// on.
    async fn rest(&mut self) -> io::Result<Vec<OwnedFd>> {
        if let Some(serving) = self.admin.take() {
            serving.abort();
        }
        self.workers.tell_all(|| Mail::Rest);
        for _ in 0..REST_LOOKS_MAX {
            if !self.workers.board.accepts() {
                return self.sockets.copies();
            }
            // What was said before may have filled a mailbox, and a shard that makes room tells nobody.
            self.workers.deliver();
            tokio::time::sleep(REST_LOOK).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// As if nobody had asked. What arrived meanwhile waits in the sockets' queues.
    fn accept_again(&mut self) {
        self.sockets.take_back();
        let opened = self.sockets.open(self.snapshot.listeners.iter(), self.workers.len());
        match opened {
            Ok(of_shards) => self.workers.listen(of_shards),
            Err(failed) => say!(Error, "accepting cannot go on: {failed:?}"),
        }
        self.serve_admin();
    }
}

/// How often it is looked whether all shards have stopped accepting, and how many times.
const REST_LOOK: Duration = Duration::from_millis(2);
const REST_LOOKS_MAX: usize = 2_000;

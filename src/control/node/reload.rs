//! A configuration that changes while the gateway runs.

use super::{Node, Phase, announce, line};
use crate::config::diff::Diff;
use crate::config::snapshot::{Listener, Snapshot};
use crate::control::clock::clocks;
use crate::control::journal::say;
use crate::control::listeners::Changes;
use crate::control::source::{Look, News};
use crate::control::start::StartError;
use crate::shard::{Described, ListenError, Mail, Publication};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A look at the file that is under way.
pub(super) struct Looking {
    /// Somebody waits for an answer.
    asked: bool,
    /// It may have been read before it changed once more: then it is looked at again, and somebody may wait for that.
    again: Option<bool>,
    began: Instant,
    look: JoinHandle<Look>,
}

/// What threads do for this one that must not wait for a disk or a resolver.
pub(super) enum Done {
    Looked(Look),
    Kept(Result<(), String>),
}

impl Node {
    /// Begins to look at the file, and at those that it names. The disk and the resolver may take their time, and
    /// nobody waits for them: signals, probes and the next process are heard meanwhile. `asked`: somebody waits for an
    /// answer.
    pub(super) fn look(&mut self, asked: bool) {
        if self.phase != Phase::Serving {
            if asked {
                say!(Info, "another process takes over, or this one ends: the configuration stays");
            }
            return;
        }
        if asked {
            self.notify.reloading();
        }
        match &mut self.looking {
            Some(looking) => {
                looking.again = Some(asked || looking.again == Some(true));
                if asked && self.status.borrow().configuration.looking_since.is_some() {
                    say!(Warn, "{LOOK_HANGS}");
                }
            }
            None => {
                // Who asks may know that a name's addresses have changed: they are looked up, whatever the text.
                let known = self.known.clone().filter(|_| !asked);
                let look = self.source.look(known);
                self.looking = Some(Looking { asked, again: None, began: clocks().now, look });
            }
        }
    }

    /// Says once of a look that it takes too long. It is left to end: whoever waits for a disk cannot be called off,
    /// and another would wait for the same.
    pub(super) fn watch_look(&self) {
        let Some(began) = self.looking.as_ref().map(|looking| looking.began) else { return };
        let configuration = &mut self.status.borrow_mut().configuration;
        if configuration.looking_since.is_none() && clocks().now.duration_since(began) > LOOK_PATIENCE {
            configuration.looking_since = Some(began);
            say!(Warn, "{LOOK_HANGS}");
        }
    }

    /// What another thread has done meanwhile. Never ready if none does anything.
    pub(super) async fn done(&mut self) -> Done {
        let Self { looking, keeping, source, .. } = self;
        let looked = async {
            match looking {
                Some(looking) => (&mut looking.look).await.unwrap_or_else(|_| source.panicked()),
                None => std::future::pending().await,
            }
        };
        let kept = async {
            match keeping {
                Some(keeping) => keeping.done().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            look = looked => Done::Looked(look),
            kept = kept => Done::Kept(kept),
        }
    }

    /// Puts what was found in force if it is new and good.
    pub(super) fn reload(&mut self, news: News) {
        let Some(Looking { asked, again, .. }) = self.looking.take() else { return };
        self.status.borrow_mut().configuration.looking_since = None;
        // A node that ends or is taken over keeps what it has.
        if self.phase == Phase::Serving {
            self.hear(asked, news);
            if asked {
                self.notify.ready();
            }
        }
        if let Some(asked) = again {
            self.look(asked);
        }
    }

    fn hear(&mut self, asked: bool, news: News) {
        match news {
            News::Nothing => self.unchanged(asked),
            News::Good(snapshot, known, ids) => {
                let diff = Diff::between(&self.snapshot, &snapshot);
                let (old, new) = (&self.snapshot.plan.settings.consumers, &snapshot.plan.settings.consumers);
                let same_text = self.known.as_ref().is_some_and(|was| was.text == known.text);
                if diff.is_empty() && old == new && same_text {
                    // A file may be another one with the same keys.
                    self.known = Some(known);
                    return self.unchanged(asked);
                }
                match self.apply(*snapshot) {
                    Ok(()) => {
                        let restart = if diff.needs_restart() { "; some of it at the next start" } else { "" };
                        let (number, changes) = (self.generation, diff.summary());
                        say!(Info, "configuration {number} is in force: {changes}{restart}");
                        diff.to_string().lines().for_each(|line| say!(Debug, "{line}"));
                        (self.known, self.source.ids) = (Some(known), *ids);
                        self.keep();
                    }
                    Err(failed) => {
                        let why = StartError::Listen(failed).to_string();
                        self.reject(asked, &why, why.clone());
                    }
                }
            }
            News::Bad(problems) => self.reject(asked, &problems.to_string(), problems.without_lines()),
            News::Unreadable(problems) => self.reject(asked, &line(&problems), line(&problems)),
        }
    }

    /// The file says what is in force, again if something was wrong with it.
    fn unchanged(&self, asked: bool) {
        if self.status.borrow_mut().configuration.restore() {
            say!(Info, "the file says again what is in force");
        } else if asked {
            say!(Info, "the configuration has not changed");
        }
    }

    /// Says why what the file says is not in force, once and again to who asks: to who reads the log, and, as `told`,
    /// to everybody who looks at the admin listener.
    fn reject(&self, asked: bool, why: &str, told: String) {
        let mut status = self.status.borrow_mut();
        let is_new = status.configuration.error.as_ref() != Some(&told);
        if is_new || asked {
            say!(Error, "the configuration in force stays: {}", why.trim_end());
        }
        if is_new {
            status.rejected(told);
        }
    }

    /// Puts a configuration in force. With an error nothing has changed.
    fn apply(&mut self, snapshot: Snapshot) -> Result<(), ListenError> {
        let changes = Changes::between(&self.snapshot.listeners, &snapshot.listeners);
        let opened = self.sockets.open(changes.opened.iter().copied(), self.workers.len())?;
        for listener in self.snapshot.listeners.iter().filter(|listener| changes.closed.contains(&listener.id)) {
            self.sockets.close(listener.address);
            self.workers.tell_all(|| Mail::Unlisten(listener.id));
        }
        let described: Arc<[_]> = changes.described.iter().map(|(was, listener)| describe(*was, listener)).collect();
        if !described.is_empty() {
            self.workers.tell_all(|| Mail::Describe(described.clone()));
        }
        announce(&snapshot);
        self.retired.push_back((self.generation, self.snapshot.plan.clone()));
        self.generation += 1;
        // First what limits are that nodes share: one that the ledger does not know limits nothing.
        self.link.configure(&snapshot, &self.workers.board);
        self.workers.publish(&Publication { generation: self.generation, plan: snapshot.plan.clone() });
        // Who comes in there is not served before the plan knows of it.
        self.workers.listen(opened);
        self.status.borrow_mut().applied(self.generation, &snapshot, clocks().wall);
        self.issuers.configure(&snapshot);
        self.issuers.ask();
        self.workers.publish_keys(&self.issuers.book());
        self.snapshot = snapshot;
        Ok(())
    }
}

fn describe(was: u32, listener: &Listener) -> Described {
    Described { was, id: listener.id, name: listener.name.clone(), proxies: listener.proxies.clone() }
}

/// Resolvers may be given up after so long, one name after another; a disk that takes longer does not answer.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_HANGS: &str = "looking at the configuration's files takes long: a disk or a resolver does not answer; the \
                          configuration in force stays until it has";

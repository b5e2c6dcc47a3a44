//! A configuration that changes while the gateway runs.

use super::{Node, Phase, line};
use crate::config::diff::Diff;
use crate::config::snapshot::{Listener, Snapshot};
use crate::control::clock::clocks;
use crate::control::listeners::Changes;
use crate::control::source::News;
use crate::control::start::StartError;
use crate::shard::{ListenError, Mail, Publication};

impl Node {
    /// Looks at the file, and puts what it says in force if that is new and good. `asked`: somebody waits for an
    /// answer.
    pub(super) async fn look(&mut self, asked: bool) {
        if self.phase != Phase::Serving {
            if asked {
                eprintln!("shardgate: another process takes over, or this one ends: the configuration stays");
            }
            return;
        }
        self.notify.reloading();
        self.reload(asked).await;
        self.notify.ready();
    }

    async fn reload(&mut self, asked: bool) {
        match self.source.look(&self.text).await {
            News::Nothing if asked => eprintln!("shardgate: the configuration has not changed"),
            News::Nothing => {}
            News::Good(snapshot, text) => {
                let diff = Diff::between(&self.snapshot, &snapshot);
                match self.apply(*snapshot) {
                    Ok(()) => {
                        let restart = if diff.needs_restart() { "; some of it at the next start" } else { "" };
                        let (number, changes) = (self.generation, diff.summary());
                        eprintln!("shardgate: configuration {number} is in force: {changes}{restart}");
                        self.text = text;
                        self.keep();
                    }
                    Err(failed) => self.reject(StartError::Listen(failed).to_string()),
                }
            }
            News::Bad(problems) => self.reject(problems.to_string()),
            News::Unreadable(problems) => self.reject(line(&problems)),
        }
    }

    /// Says once why what the file says is not in force.
    fn reject(&self, why: String) {
        let mut status = self.status.borrow_mut();
        if status.configuration.error.as_ref() != Some(&why) {
            eprintln!("shardgate: the configuration in force stays: {}", why.trim_end());
            status.rejected(why);
        }
    }

    pub(super) fn keep(&self) {
        let kept = self.source.keep(&self.text, &self.snapshot);
        let configuration = &mut self.status.borrow_mut().configuration;
        configuration.keeping_error = kept.err();
        if let Some(error) = &configuration.keeping_error {
            configuration.keeping_failed += 1;
            eprintln!("shardgate: warning: {error}");
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
        for (was, listener) in &changes.described {
            let Listener { id, name, proxies, .. } = listener;
            self.workers.tell_all(|| Mail::Describe {
                was: *was,
                id: *id,
                name: name.clone(),
                proxies: proxies.clone(),
            });
        }
        self.workers.listen(opened);
        self.retired.push_back((self.generation, self.snapshot.plan.clone()));
        self.generation += 1;
        self.workers.publish(&Publication { generation: self.generation, plan: snapshot.plan.clone() });
        self.status.borrow_mut().applied(self.generation, &snapshot, clocks().wall);
        self.issuers.configure(&snapshot);
        self.issuers.ask();
        self.workers.publish_keys(&self.issuers.book());
        self.snapshot = snapshot;
        Ok(())
    }
}

//! What is in force is kept on disk, which may take its time: on a thread of its own, one writer at a time.

use super::{Node, Phase};
use crate::control::journal::say;
use tokio::task::JoinHandle;

/// A configuration that is being written.
pub(super) struct Keeping {
    /// Why it could not be, if so.
    kept: JoinHandle<Result<(), String>>,
    /// Another came into force meanwhile, and is written next.
    again: bool,
}

impl Keeping {
    pub(super) async fn done(&mut self) -> Result<(), String> {
        let panicked = |_| Err("the configuration in force cannot be kept: its writer panicked".to_owned());
        (&mut self.kept).await.unwrap_or_else(panicked)
    }
}

impl Node {
    /// Begins to keep what is in force, or will when the one before is kept.
    pub(super) fn keep(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.again = true;
            return;
        }
        let Some(known) = &self.known else { return };
        let kept = self.source.keep(&known.text, &self.snapshot, self.issuers.published());
        self.keeping = kept.map(|kept| Keeping { kept, again: false });
    }

    /// As `keep`, when issuers have published other keys. What is kept is another process's to say once that takes
    /// over.
    pub(super) fn keep_keys(&mut self) {
        if self.phase == Phase::Serving {
            self.keep();
        }
    }

    pub(super) fn kept(&mut self, kept: Result<(), String>) {
        let again = self.keeping.take().is_some_and(|keeping| keeping.again);
        let mut status = self.status.borrow_mut();
        let configuration = &mut status.configuration;
        configuration.keeping_error = kept.err();
        if let Some(error) = &configuration.keeping_error {
            configuration.keeping_failed += 1;
            say!(Warn, "{error}");
        }
        drop(status);
        if again {
            self.keep();
        }
    }

    /// The end, or another process takes over: what was in force last is to be what is kept.
    pub(super) async fn keep_last(&mut self) {
        while let Some(keeping) = &mut self.keeping {
            let Ok(kept) = tokio::time::timeout(super::KEEP_PATIENCE, keeping.done()).await else { return };
            self.kept(kept);
        }
    }
}

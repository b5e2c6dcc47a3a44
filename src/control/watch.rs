//! Watches the configuration's file: by its folder, because Kubernetes and editors put a new file in the place of the
//! old one instead of writing into it.

use crate::control::journal::say;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// Tells when the file may have changed. What it says now, whoever is told reads for himself.
pub struct Watch {
    /// Dropping it ends the watch. Absent where watching is not possible.
    _watcher: Option<RecommendedWatcher>,
    told: UnboundedReceiver<()>,
    /// Somebody may tell.
    is_heard: bool,
    look_at: Instant,
    /// How long it may take to notice what nobody tells of.
    look_every: Duration,
}

impl Watch {
    pub fn new(file: &Path) -> Self {
        let (tell, told) = unbounded_channel();
        let folder =
            file.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(PathBuf::from("."), Into::into);
        let on_event = move |event: notify::Result<notify::Event>| {
            // Reading is no change, and we read the file ourselves.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ended = tell.send(());
            }
        };
        let watching = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let (watcher, look_every) = match watching {
            Ok(watcher) => (Some(watcher), LOOK_EVERY),
            Err(error) => {
                say!(
                    Warn,
                    "{} cannot be watched ({error}): looking every {} s instead",
                    folder.display(),
                    LOOK_EVERY_BLIND.as_secs()
                );
                (None, LOOK_EVERY_BLIND)
            }
        };
        Self { _watcher: watcher, told, is_heard: true, look_at: Instant::now() + look_every, look_every }
    }

    /// Ready when it is time to look. Of several changes in a row it tells once. Loses nothing when it is dropped.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                heard = self.told.recv(), if self.is_heard => match heard {
                    // Whoever writes a file does it in several steps.
                    Some(()) => self.look_at = self.look_at.min(Instant::now() + SETTLE),
                    None => self.is_heard = false,
                },
                () = tokio::time::sleep_until(self.look_at) => break,
            }
        }
        self.look_at = Instant::now() + self.look_every;
    }
}

const SETTLE: Duration = Duration::from_millis(100);
/// Not every file system tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY_BLIND: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn on_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_is_noticed_though_somebody_else_is_heard_meanwhile() {
        let folder = std::env::temp_dir().join(format!("shardgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let file = folder.join("gateway.yaml");
        std::fs::write(&file, "one").expect("there is room");
        on_runtime(async {
            let mut watch = Watch::new(&file);
            std::fs::write(folder.join("beside"), "two").expect("there is room");
            std::fs::rename(folder.join("beside"), &file).expect("it is there");
            let mut told = false;
            for _ in 0..500 {
                // Shorter than it takes a change to settle, so that it is dropped again and again.
                told |= tokio::time::timeout(SETTLE / 5, watch.changed()).await.is_ok();
                if told {
                    break;
                }
            }
            assert!(told, "the change was noticed long before the next look at nothing");
        });
        std::fs::remove_dir_all(folder).expect("it was made above");
    }
}

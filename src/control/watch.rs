//! Watches the configuration's file and those that it names: by their folders, because Kubernetes and editors put a new
//! file in the place of the old one instead of writing into it.

use crate::config::named;
use crate::control::journal::say;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// Tells when a file may have changed. What it says now, whoever is told reads for himself.
pub struct Watch {
    /// Dropping it ends the watch. Absent where watching is not possible.
    watcher: Option<RecommendedWatcher>,
    /// The file's own.
    folder: PathBuf,
    /// All that are watched, or would be if they could.
    folders: BTreeSet<PathBuf>,
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
        let on_event = move |event: notify::Result<notify::Event>| {
            // Reading is no change, and we read the file ourselves.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ended = tell.send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event);
        let is_blind = watcher.as_ref().inspect_err(|error| blind(file, error)).is_err();
        let look_every = if is_blind { LOOK_EVERY_BLIND } else { LOOK_EVERY };
        let (folder, folders, look_at) = (named::folder(file).to_owned(), BTreeSet::new(), Instant::now() + look_every);
        let mut watch = Self { watcher: watcher.ok(), folder, folders, told, is_heard: true, look_at, look_every };
        watch.follow(BTreeSet::new());
        watch
    }

    /// Watches these folders beside the file's own, and no others any more.
    pub fn follow(&mut self, mut folders: BTreeSet<PathBuf>) {
        folders.insert(self.folder.clone());
        let Some(watcher) = &mut self.watcher else { return };
        for folder in self.folders.difference(&folders) {
            // One that is gone is watched no more.
            let _gone = watcher.unwatch(folder);
        }
        for folder in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                blind(folder, &error);
                self.look_every = LOOK_EVERY_BLIND;
            }
        }
        self.folders = folders;
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

fn blind(path: &Path, error: &notify::Error) {
    say!(Warn, "{} cannot be watched ({error}): looking every {} s", path.display(), LOOK_EVERY_BLIND.as_secs());
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

    #[test]
    fn a_folder_is_watched_from_when_a_file_in_it_is_named_until_none_is() {
        let root = std::env::temp_dir().join(format!("shardgate-follow-{}", std::process::id()));
        let [own, other] = ["own", "other"].map(|name| root.join(name));
        [&own, &other].into_iter().for_each(|folder| std::fs::create_dir_all(folder).expect("a folder can be made"));
        on_runtime(async {
            let mut watch = Watch::new(&own.join("gateway.yaml"));
            let told = async |watch: &mut Watch, folder: &Path| {
                // What was done before may be told late.
                while tokio::time::timeout(SETTLE * 2, watch.changed()).await.is_ok() {}
                std::fs::write(folder.join("key"), "one").expect("there is room");
                tokio::time::timeout(SETTLE * 5, watch.changed()).await.is_ok()
            };
            assert!(!told(&mut watch, &other).await);
            watch.follow([other.clone()].into());
            assert!(told(&mut watch, &other).await && told(&mut watch, &own).await);
            // One that is not there is looked for now and then, and the rest is watched all the same.
            watch.follow([root.join("none")].into());
            assert!(watch.look_every < LOOK_EVERY && !told(&mut watch, &other).await && told(&mut watch, &own).await);
        });
        std::fs::remove_dir_all(root).expect("it was made above");
    }
}

//! Watches the configuration's file and those that it names: by their folders, because Kubernetes and editors put a new
//! file in the place of the old one instead of writing into it.

use crate::config::named::Folders;
use crate::control::journal::say;
use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

/// Tells when a file may have changed. What it says now, whoever is told reads for himself.
pub struct Watch {
    /// Dropping it ends the watch. Absent where watching is not possible.
    watcher: Option<RecommendedWatcher>,
    folders: Folders,
    /// Those that cannot be watched.
    unseen: BTreeSet<PathBuf>,
    /// Whether something was taken away or renamed, a folder perhaps.
    told: UnboundedReceiver<bool>,
    /// The same since the last `follow`.
    has_moved: bool,
    /// Somebody may tell.
    is_heard: bool,
    look_at: Instant,
}

impl Watch {
    /// Of no folder yet.
    pub fn new() -> Self {
        let (tell, told) = unbounded_channel();
        let on_event = move |event: notify::Result<notify::Event>| {
            // Reading is no change, and we read the file ourselves.
            if let Some(event) = event.ok().filter(|event| !event.kind.is_access()) {
                let has_moved = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
                let _ended = tell.send(has_moved || event.need_rescan());
            }
        };
        let watcher = notify::recommended_watcher(on_event);
        if let Err(error) = &watcher {
            say!(Warn, "no file can be watched ({error}): looking every {} s instead", LOOK_EVERY_BLIND.as_secs());
        }
        let look_at = Instant::now() + LOOK_EVERY_BLIND;
        let (folders, unseen) = (Folders::new(), BTreeSet::new());
        Self { watcher: watcher.ok(), folders, unseen, told, has_moved: false, is_heard: true, look_at }
    }

    /// Watches these folders, and no others any more.
    pub fn follow(&mut self, folders: Folders) {
        let Some(watcher) = &mut self.watcher else { return };
        for (folder, _) in self.folders.iter().filter(|(folder, was)| folders.get(*folder) != Some(was)) {
            // One that is gone is watched no more.
            let _gone = watcher.unwatch(folder);
        }
        let mut unseen = BTreeSet::new();
        // Also those that are watched: one that was taken away ends the watch of what has taken its place, even if that
        // is itself.
        for (folder, is) in &folders {
            let was_watched = self.folders.get(folder) == Some(is) && !self.unseen.contains(folder);
            let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) else {
                if !was_watched || self.has_moved {
                    // What happened there before it was watched, nobody tells of.
                    self.look_at = self.look_at.min(Instant::now() + SETTLE);
                }
                continue;
            };
            self.look_at = self.look_at.min(Instant::now() + LOOK_EVERY_BLIND);
            if !self.unseen.contains(folder) {
                let (folder, every_s) = (folder.display(), LOOK_EVERY_BLIND.as_secs());
                say!(Warn, "{folder} cannot be watched ({error}): looking every {every_s} s instead");
            }
            unseen.insert(folder.clone());
        }
        (self.folders, self.unseen, self.has_moved) = (folders, unseen, false);
    }

    /// How long it may take to notice what nobody tells of.
    fn look_every(&self) -> Duration {
        if self.watcher.is_some() && self.unseen.is_empty() { LOOK_EVERY } else { LOOK_EVERY_BLIND }
    }

    /// Ready when it is time to look. Of several changes in a row it tells once. Loses nothing when it is dropped.
    pub async fn changed(&mut self) {
        loop {
            tokio::select! {
                heard = self.told.recv(), if self.is_heard => match heard {
                    // Whoever writes a file does it in several steps.
                    Some(has_moved) => {
                        self.has_moved |= has_moved;
                        self.look_at = self.look_at.min(Instant::now() + SETTLE);
                    }
                    None => self.is_heard = false,
                },
                () = tokio::time::sleep_until(self.look_at) => break,
            }
        }
        self.look_at = Instant::now() + self.look_every();
    }
}

const SETTLE: Duration = Duration::from_millis(100);
/// Not every file system tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_EVERY_BLIND: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::named::folders;
    use std::fs;
    use std::path::Path;

    fn on_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
    }

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("shardgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder can be made");
        root.canonicalize().expect("it is there")
    }

    fn put(file: PathBuf) {
        fs::write(file, "one").expect("there is room");
    }

    /// Whether anything that was done since is told.
    async fn is_told(watch: &mut Watch) -> bool {
        tokio::time::timeout(SETTLE * 5, watch.changed()).await.is_ok()
    }

    /// Waits until all is told that was done before, which may be late.
    async fn is_quiet(watch: &mut Watch) {
        while tokio::time::timeout(SETTLE * 2, watch.changed()).await.is_ok() {}
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_is_noticed_though_somebody_else_is_heard_meanwhile() {
        let root = root("watch");
        let file = root.join("gateway.yaml");
        put(file.clone());
        on_runtime(async {
            let mut watch = Watch::new();
            watch.follow(folders(&file));
            is_quiet(&mut watch).await;
            put(root.join("beside"));
            fs::rename(root.join("beside"), &file).expect("it is there");
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
        fs::remove_dir_all(root).expect("it was made above");
    }

    #[test]
    fn a_folder_is_watched_from_when_it_is_named_until_it_is_not() {
        let root = root("follow");
        let [own, other, former, none] = ["own", "other", "former", "none"].map(|name| root.join(name));
        [&own, &other].into_iter().for_each(|folder| fs::create_dir(folder).expect("a folder can be made"));
        let told = async |watch: &mut Watch, folder: &Path| {
            is_quiet(watch).await;
            put(folder.join("key"));
            is_told(watch).await
        };
        let all = |paths: &[&PathBuf]| paths.iter().flat_map(|path| folders(&path.join("key"))).collect::<Folders>();
        let is_soon = |watch: &Watch| watch.look_at <= Instant::now() + LOOK_EVERY_BLIND;
        on_runtime(async {
            let mut watch = Watch::new();
            watch.follow(all(&[&own]));
            assert!(!told(&mut watch, &other).await && told(&mut watch, &own).await);
            is_quiet(&mut watch).await;
            watch.follow(all(&[&own, &other]));
            assert!(is_told(&mut watch).await, "what happened before it was watched is looked for");
            assert!(told(&mut watch, &other).await && told(&mut watch, &own).await);
            // Another one in the place of one that is watched.
            fs::rename(&other, &former).expect("it is there");
            fs::create_dir(&other).expect("a folder can be made");
            watch.follow(all(&[&own, &other]));
            assert!(told(&mut watch, &other).await && !told(&mut watch, &former).await);
            watch.follow(all(&[&own]));
            assert!(!told(&mut watch, &other).await && told(&mut watch, &own).await);
            // One that is not there is looked for often, and the rest is watched all the same.
            watch.follow(all(&[&own, &none]));
            assert!(watch.look_every() == LOOK_EVERY_BLIND && is_soon(&watch));
            assert!(told(&mut watch, &own).await);
            fs::create_dir(&none).expect("a folder can be made");
            watch.follow(all(&[&own, &none]));
            assert_eq!(watch.look_every(), LOOK_EVERY);
            assert!(told(&mut watch, &none).await && !is_soon(&watch));
            // One that takes its own place, or that of one that had its number.
            fs::rename(&none, former.join("away")).expect("it is there");
            fs::rename(former.join("away"), &none).expect("it is there");
            is_quiet(&mut watch).await;
            watch.follow(all(&[&own, &none]));
            assert!(is_told(&mut watch).await, "what happened meanwhile is looked for");
            assert!(told(&mut watch, &none).await);
            fs::remove_dir_all(&none).expect("it is there");
            fs::create_dir(&none).expect("a folder can be made");
            is_quiet(&mut watch).await;
            watch.follow(all(&[&own, &none]));
            assert!(told(&mut watch, &none).await && !is_soon(&watch));
            // So is one that was watched and has gone.
            fs::remove_dir_all(&none).expect("it is there");
            is_quiet(&mut watch).await;
            watch.follow(all(&[&own, &none]));
            assert!(is_soon(&watch));
        });
        fs::remove_dir_all(root).expect("it was made above");
    }
}

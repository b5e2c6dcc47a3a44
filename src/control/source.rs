//! Where the configuration comes from: its file, and what was kept of it.

use crate::config::ids::Ids;
use crate::config::last_good::{LastGood, Store};
use crate::config::load::{self, load_named};
use crate::config::named::{self, Folders, NamedFiles};
use crate::config::problem::{Origin, Problem, Problems};
use crate::config::snapshot::Snapshot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub struct Source {
    pub file: PathBuf,
    pub profile: Option<String>,
    pub ids: Ids,
    /// Where the last good one is kept, if anywhere.
    pub store: Option<Store>,
    /// Where a gateway that takes over from this one, or from which this one does, is met.
    pub control: Option<PathBuf>,
}

/// What a configuration was made of, which is no news.
#[derive(Clone, Debug)]
pub struct Known {
    pub text: Arc<str>,
    pub named: NamedFiles,
}

/// What a look has found.
pub struct Look {
    pub news: News,
    /// Where it shows that there may be more, unless that is not known.
    pub folders: Option<Folders>,
}

/// What the file has become.
pub enum News {
    /// It is what is known, and so is what it names.
    Nothing,
    /// With the ids that its names have, once it is in force.
    Good(Box<Snapshot>, Known, Box<Ids>),
    Bad(Problems),
    /// It cannot be read: it may be on its way. Nothing is known to be wrong with the configuration.
    Unreadable(Problems),
}

/// What the gateway begins with.
pub struct Beginning {
    pub snapshot: Snapshot,
    pub known: Known,
    /// Why it is the one that was kept.
    pub from_last_good: Option<Problems>,
    /// What issuers had published when it was kept.
    pub keys: BTreeMap<u64, String>,
}

impl Source {
    /// The file, or what was kept if that cannot be read. A bad file never starts.
    pub fn begin(&mut self) -> Result<Beginning, Problems> {
        let kept = self.store.as_ref().and_then(|store| store.read().ok());
        let unreadable = match load::read(&self.file) {
            Ok(text) => {
                let (profile, named) = (self.profile.as_deref(), NamedFiles::beside(&self.file));
                let snapshot = load_named(&named, (&self.name(), &text), profile, &mut self.ids, &load::resolve)?;
                let keys = kept.map(|kept| kept.keys).unwrap_or_default();
                return Ok(Beginning {
                    snapshot,
                    known: Known { text: text.into(), named },
                    from_last_good: None,
                    keys,
                });
            }
            Err(problems) => problems,
        };
        let Some(kept) = kept else { return Err(unreadable) };
        let LastGood { profile, text, .. } = &kept;
        let (named, resolve) = (NamedFiles::beside(&self.file), |name: &str| kept.resolve(name));
        let snapshot = load_named(&named, ("last good", text), profile.as_deref(), &mut self.ids, &resolve)?;
        let known = Known { text: kept.text.into(), named };
        Ok(Beginning { snapshot, known, from_last_good: Some(unreadable), keys: kept.keys })
    }

    /// Looks at the file on a thread of its own, which blocks: files are read, and names are looked up. `known` is what
    /// nobody needs to be told again.
    pub fn look(&self, known: Option<Known>) -> JoinHandle<Look> {
        let (file, name, profile, mut ids) = (self.file.clone(), self.name(), self.profile.clone(), self.ids.clone());
        tokio::task::spawn_blocking(move || {
            let mut named = NamedFiles::beside(&file);
            let news = match (load::read(&file), known) {
                (Ok(text), Some(known)) if *known.text == *text && known.named.are_unchanged() => {
                    named = known.named;
                    News::Nothing
                }
                (Ok(text), _) => match load_named(&named, (&name, &text), profile.as_deref(), &mut ids, &load::resolve)
                {
                    Ok(snapshot) => {
                        let known = Known { text: text.into(), named: named.clone() };
                        News::Good(Box::new(snapshot), known, Box::new(ids))
                    }
                    Err(problems) => News::Bad(problems),
                },
                (Err(problems), _) => News::Unreadable(problems),
            };
            Look { news, folders: Some(folders(&file, &named)) }
        })
    }

    /// Where it shows that the file, or one that it names, changes; blocks.
    pub fn folders(&self, named: &NamedFiles) -> Folders {
        folders(&self.file, named)
    }

    /// What a look that panicked has found; the panic has said why.
    pub fn panicked(&self) -> Look {
        let origin = Origin::whole(&self.name());
        let problem = Problem::new(&origin, "cannot be compiled", "report what this process said before");
        let news = News::Bad(Problems { list: vec![problem], text: "".into() });
        Look { news, folders: None }
    }

    /// Keeps what is in force, on a thread of its own, which blocks; it says why if that cannot be done. `None` if
    /// nothing is to be kept.
    pub fn keep(
        &self,
        text: &str,
        snapshot: &Snapshot,
        keys: BTreeMap<u64, String>,
    ) -> Option<JoinHandle<Result<(), String>>> {
        let store = self.store.clone()?;
        let last_good = LastGood::new(text, self.profile.as_deref(), snapshot, keys);
        Some(tokio::task::spawn_blocking(move || {
            let folder = store.folder().display();
            let failed = |error| format!("the configuration in force cannot be kept in {folder}: {error}");
            store.keep(&last_good).map_err(failed)
        }))
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }
}

fn folders(file: &Path, named: &NamedFiles) -> Folders {
    let mut folders = named.folders();
    folders.extend(named::folders(file));
    folders
}

//! Asks issuers for the keys that they publish, and tells shards. What comes back is judged by [`Jwks`]; a bad answer,
//! a long one, a late one or none leaves the keys in force that there were.

use super::clock::clocks;
use super::fetch::{self, FetchError, Fetched};
use crate::config::snapshot::Snapshot;
use crate::control::journal::say;
use crate::policy::Policy;
use crate::policy::jwt::jwks::{Jwks, KeyBook, Published, Source};
use crate::stdx::time::Mono;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// All issuers that publish their keys.
pub struct Issuers {
    issuers: Vec<Issuer>,
    generation: u64,
    tell: mpsc::UnboundedSender<Answer>,
}

struct Issuer {
    jwks: Jwks,
    /// Why it could not be asked last time.
    error: Option<String>,
    answered: u64,
    failed: u64,
}

/// What became of one question.
pub struct Answer {
    source: u64,
    got: Result<Fetched, FetchError>,
}

/// What there is to say of one issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerStatus {
    pub url: String,
    pub keys: u64,
    pub answered: u64,
    pub failed: u64,
}

impl Issuers {
    /// Also returns where answers arrive.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (tell, told) = mpsc::unbounded_channel();
        (Self { issuers: Vec::new(), generation: 0, tell }, told)
    }

    /// Those of a new configuration. Keys that were fetched from the same place stay, also when more
    /// certificates are trusted there.
    pub fn configure(&mut self, snapshot: &Snapshot) {
        let mut sources: Vec<&Source> = Vec::new();
        for (_, policy) in &snapshot.attached {
            let Policy::Jwt(jwt) = &**policy else { continue };
            for source in jwt.sources() {
                match sources.iter_mut().find(|other| other.id == source.id) {
                    // Who asks more often asks for both.
                    Some(other) if source.refresh < other.refresh => *other = source,
                    Some(_) => {}
                    None => sources.push(source),
                }
            }
        }
        let now = clocks().mono;
        let keep = |source: &Source| {
            let place = self.issuers.iter().position(|issuer| issuer.jwks.source == *source);
            if let Some(place) = place {
                return self.issuers.swap_remove(place);
            }
            let same_place = self.issuers.iter().find(|issuer| source.believes(&issuer.jwks.source));
            let last_good = same_place.and_then(|issuer| issuer.jwks.published().cloned());
            Issuer { jwks: Jwks::new(source.clone(), last_good, now), error: None, answered: 0, failed: 0 }
        };
        self.issuers = sources.into_iter().map(keep).collect();
        self.generation += 1;
    }

    /// Asks those that are due.
    pub fn ask(&mut self) {
        let now = clocks().mono;
        for issuer in self.issuers.iter_mut().filter(|issuer| issuer.jwks.due() <= now) {
            issuer.jwks.began(now);
            let (source, tell) = (issuer.jwks.source.clone(), self.tell.clone());
            tokio::task::spawn_local(async move {
                let got = fetch::get(&source.url, &source.authorities).await;
                // Nobody listens any more when the gateway ends.
                let _gone = tell.send(Answer { source: source.id, got });
            });
        }
    }

    /// Asks all, and waits a while for their first answers: with them, no token has to wait for a key. Until an issuer
    /// answers, what it had published when that was kept is in force.
    pub async fn begin(&mut self, kept: &BTreeMap<u64, String>, told: &mut mpsc::UnboundedReceiver<Answer>) {
        for Issuer { jwks, .. } in &mut self.issuers {
            let kept = kept.get(&jwks.source.id).and_then(|text| Published::read(text.as_bytes()).ok());
            if let Some(published) = kept {
                say!(
                    Info,
                    "until it answers, {} keys of {} are in force that were kept",
                    published.keys.keys.len(),
                    jwks.source.url
                );
                jwks.remember(published);
            }
        }
        self.ask();
        let mut left = self.issuers.len();
        let all = async {
            while left > 0 {
                let Some(answer) = told.recv().await else { break };
                self.answered(answer);
                left -= 1;
            }
        };
        // Whoever is late is heard later.
        let _late = tokio::time::timeout(START_PATIENCE, all).await;
    }

    /// True when other keys are in force now.
    pub fn answered(&mut self, answer: Answer) -> bool {
        // Another configuration may not ask there any more.
        let Some(issuer) = self.issuers.iter_mut().find(|issuer| issuer.jwks.source.id == answer.source) else {
            return false;
        };
        let changed = issuer.answered(answer.got, clocks().mono);
        self.generation += u64::from(changed);
        changed
    }

    /// Tokens name keys that these sources do not have.
    pub fn wanted(&mut self, sources: &[u64]) {
        let now = clocks().mono;
        let wanted = self.issuers.iter_mut().filter(|issuer| sources.contains(&issuer.jwks.source.id));
        wanted.for_each(|issuer| issuer.jwks.wanted(now));
    }

    /// The keys in force.
    pub fn book(&self) -> KeyBook {
        let sets = self.issuers.iter().filter_map(|issuer| Some((issuer.jwks.source.id, issuer.jwks.keys()?.clone())));
        KeyBook { generation: self.generation, sets: sets.collect() }
    }

    /// What they have published, by the ids of their sources.
    pub fn published(&self) -> BTreeMap<u64, String> {
        let texts = self.issuers.iter().filter_map(|issuer| {
            let Published { text, .. } = issuer.jwks.published()?;
            Some((issuer.jwks.source.id, text.to_string()))
        });
        texts.collect()
    }

    pub fn status(&self) -> Vec<IssuerStatus> {
        let status = self.issuers.iter().map(|issuer| IssuerStatus {
            url: issuer.jwks.source.url.clone(),
            keys: issuer.jwks.keys().map_or(0, |keys| keys.keys.len() as u64),
            answered: issuer.answered,
            failed: issuer.failed,
        });
        status.collect()
    }
}

impl Issuer {
    fn answered(&mut self, got: Result<Fetched, FetchError>, now: Mono) -> bool {
        let judged = match got {
            Ok(Fetched { body, max_age }) => {
                self.jwks.answered(&body, max_age, now).map_err(|unusable| format!("they are not used: {unusable}"))
            }
            Err(error) => {
                self.jwks.failed(now);
                Err(error.to_string())
            }
        };
        let url = &self.jwks.source.url;
        match judged {
            Ok(changed) => {
                self.answered += 1;
                let had_failed = self.error.take().is_some();
                if changed || had_failed || self.answered == 1 {
                    let count = self.jwks.keys().map_or(0, |keys| keys.keys.len());
                    say!(Info, "{count} keys of {url} are in force");
                }
                changed
            }
            Err(error) => {
                self.failed += 1;
                // Once is enough, however often it is asked.
                if self.error.as_ref() != Some(&error) {
                    let rest = if self.jwks.keys().is_some() { "those from before stay" } else { "there are none yet" };
                    say!(Warn, "keys of {url}: {error}; {rest}");
                    self.error = Some(error);
                }
                false
            }
        }
    }
}

/// How long the gateway waits for keys before it serves without them.
const START_PATIENCE: Duration = Duration::from_secs(2);

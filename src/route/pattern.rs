//! Regular expressions: compiled once, equal ones shared, searched with memory of the shard's own.
//!
//! An expression is held against the whole value. It knows bytes and ASCII only (`\d` is `0` to `9`), and takes time
//! linear in the value: no expression and no request make it slow. One shared by threads, with the memory that the
//! library would lend it, costs a lock under load; so every search is given the shard's [`Caches`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::meta::{self, Cache, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::stdx::hash::FixedMap;

/// A compiled expression. Clones share the program.
#[derive(Clone)]
pub struct Pattern(Arc<Program>);

struct Program {
    text: Box<str>,
    /// Where shards keep the memory that it is searched with.
    index: u32,
    /// What every match begins with.
    literal: Box<[u8]>,
    regex: Regex,
}

/// The patterns of one plan.
#[derive(Debug, Default)]
pub struct Patterns {
    known: FixedMap<Box<str>, Pattern>,
}

/// One shard's memory for the patterns of the plan that it goes by.
#[derive(Debug, Default)]
pub struct Caches {
    slots: Vec<Option<Slot>>,
    groups: Vec<Option<NonMaxUsize>>,
}

#[derive(Debug)]
struct Slot {
    /// Whom it is for: exchanges may hold patterns of an earlier plan, whose places are taken by others.
    program: Pattern,
    cache: Cache,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    #[error("a regex has more than {PATTERN_BYTES_MAX} bytes")]
    TooLong,
    #[error("more than {PATTERNS_MAX} different regexes")]
    TooMany,
    #[error("the regex `{text}` is invalid, {why}")]
    Invalid { text: String, why: String },
    #[error("the regex `{text}` would need more than {PROGRAM_BYTES_MAX} bytes")]
    TooLarge { text: String },
}

impl Patterns {
    /// The pattern of this text, compiled if none was equal before.
    pub fn compile(&mut self, text: &str) -> Result<Pattern, PatternError> {
        if let Some(known) = self.known.get(text) {
            return Ok(known.clone());
        }
        if self.known.len() == PATTERNS_MAX {
            return Err(PatternError::TooMany);
        }
        let pattern = Pattern::compile(text, self.known.len() as u32)?;
        self.known.insert(text.into(), pattern.clone());
        Ok(pattern)
    }

    /// Bytes of all programs, for reports.
    pub fn program_bytes(&self) -> usize {
        self.known.values().map(|pattern| pattern.0.regex.memory_usage()).sum()
    }
}

impl Pattern {
    fn compile(text: &str, index: u32) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(NESTING_MAX).build();
        let parsed = parser
            .parse(text)
            .map_err(|error| PatternError::Invalid { text: text.escape_debug().to_string(), why: why(&error) })?;
        let mut literal = Vec::new();
        begin(&parsed, &mut literal);
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .onepass_size_limit(Some(PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES_MAX);
        let regex = Regex::builder()
            .configure(config)
            .build_from_hir(&whole)
            .map_err(|_| PatternError::TooLarge { text: text.escape_debug().to_string() })?;
        Ok(Self(Arc::new(Program { text: text.into(), index, literal: literal.into(), regex })))
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What every match begins with, as far as that can be told from the text.
    pub fn literal(&self) -> &[u8] {
        &self.0.literal
    }

    /// Groups that [`captures`](Self::captures) tells of; the first is the whole value.
    pub fn groups(&self) -> usize {
        self.0.regex.captures_len()
    }

    /// The number of the group of that name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.0.regex.group_info().to_index(regex_automata::PatternID::ZERO, name)
    }

    /// Whether the whole value matches.
    pub fn is_match(&self, value: &[u8], caches: &mut Caches) -> bool {
        self.0.regex.is_match_with(&mut caches.slot(self).cache, &Input::new(value).anchored(Anchored::Yes))
    }

    /// Calls `piece` with the value's groups if the whole value matches: where each begins and ends.
    pub fn captures<'c>(&self, value: &[u8], caches: &'c mut Caches) -> Option<Groups<'c>> {
        let mut groups = std::mem::take(&mut caches.groups);
        groups.clear();
        groups.resize(2 * self.groups(), None);
        let input = Input::new(value).anchored(Anchored::Yes);
        let found = self.0.regex.search_slots_with(&mut caches.slot(self).cache, &input, &mut groups);
        caches.groups = groups;
        found.map(|_| Groups(&caches.groups))
    }
}

/// Where the groups of a match lie.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a>(&'a [Option<NonMaxUsize>]);

impl Groups<'_> {
    /// What the group matched; nothing if it took no part.
    pub fn of<'v>(&self, value: &'v [u8], group: usize) -> &'v [u8] {
        match (self.0[2 * group], self.0[2 * group + 1]) {
            (Some(start), Some(end)) => &value[start.get()..end.get()],
            _ => b"",
        }
    }
}

impl Caches {
    fn slot(&mut self, pattern: &Pattern) -> &mut Slot {
        let index = pattern.0.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = &mut self.slots[index];
        if slot.as_ref().is_some_and(|slot| !Arc::ptr_eq(&slot.program.0, &pattern.0)) {
            *slot = None;
        }
        slot.get_or_insert_with(|| Slot { program: pattern.clone(), cache: pattern.0.regex.create_cache() })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// Appends what every match of `hir` begins with. True if that is all of the match, so that what follows goes on.
fn begin(hir: &Hir, out: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            out.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(group) => begin(&group.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| begin(part, out)),
        _ => false,
    }
}

/// The library's reason in one line, without its drawing.
fn why(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => "it cannot be read".to_owned(),
    }
}

/// A longer one was not written by hand.
const PATTERN_BYTES_MAX: usize = 1024;
/// Groups within groups; the parser's own stack is safe far beyond.
const NESTING_MAX: u32 = 32;
/// Different ones in one plan; each has memory of its own in each shard.
const PATTERNS_MAX: usize = 1024;
/// What repetitions of repetitions would explode to: beyond some 2,000 states even a short value is slow to match.
const PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Memory of one shard for the states of one pattern that it has met; beyond, it begins anew.
const CACHE_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, literal: &str, matches: &[&str], differs: &[&str]) {
        let pattern = Patterns::default().compile(text).expect("it is good");
        let mut caches = Caches::default();
        assert_eq!(pattern.literal(), literal.as_bytes(), "{text}");
        for value in matches {
            assert!(pattern.is_match(value.as_bytes(), &mut caches), "{text} {value}");
        }
        for value in differs {
            assert!(!pattern.is_match(value.as_bytes(), &mut caches), "{text} {value}");
        }
    }

    #[test]
    fn the_whole_value_is_matched() {
        check("/a[0-9]+", "/a", &["/a1", "/a22"], &["/a", "/a1/", "x/a1", "/a1\n"]);
        check("a|ab", "", &["a", "ab"], &["abc", "b", ""]);
        check("(?x) /a # the rest", "/a", &["/a"], &["/a # the rest"]);
        check("^/a$", "/a", &["/a"], &["/a/"]);
        check("(?i)/A", "/", &["/a", "/A"], &["/b"]);
        check("(/v1)/(x|y)", "/v1/", &["/v1/x", "/v1/y"], &["/v1/"]);
        check(r"/\d\w", "/", &["/1a"], &["/\u{661}a"]);
        check("", "", &[""], &["a"]);
    }

    #[test]
    fn groups_are_told_apart() {
        let pattern = Patterns::default().compile("/(?<year>[0-9]+)/(x)?(.*)").unwrap();
        let (mut caches, value) = (Caches::default(), b"/1999/rest");
        let groups = pattern.captures(value, &mut caches).unwrap();
        let texts: Vec<_> = (0..pattern.groups()).map(|group| groups.of(value, group)).collect();
        assert_eq!(texts, [&b"/1999/rest"[..], b"1999", b"", b"rest"]);
        assert_eq!((pattern.group_named("year"), pattern.group_named("x")), (Some(1), None));
        assert!(pattern.captures(b"/x/rest", &mut caches).is_none());
    }

    #[test]
    fn equal_patterns_share_a_program_and_others_never_a_cache() {
        let (mut one, mut other, mut caches) = (Patterns::default(), Patterns::default(), Caches::default());
        let (a, again) = (one.compile("a+").unwrap(), one.compile("a+").unwrap());
        assert!(Arc::ptr_eq(&a.0, &again.0));
        let b = other.compile("(b|c){3}[0-9]+x").unwrap();
        for _ in 0..3 {
            assert!(a.is_match(b"aaa", &mut caches) && !a.is_match(b"bcb1x", &mut caches));
            assert!(b.is_match(b"bcb1x", &mut caches) && !b.is_match(b"aaa", &mut caches));
        }
    }

    #[test]
    fn what_would_explode_or_cannot_be_read_is_refused() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(Patterns::default().compile(text).unwrap_err().to_string(), want);
        }
        check("(a{1,100}){1,100}", "the regex `(a{1,100}){1,100}` would need more than 65536 bytes");
        check("((a{100}){100}){100}", "the regex `((a{100}){100}){100}` would need more than 65536 bytes");
        check("a(", "the regex `a(` is invalid, unclosed group");
        check("a)|(b", "the regex `a)|(b` is invalid, unopened group");
        check(
            "(?=a)",
            "the regex `(?=a)` is invalid, look-around, including look-ahead and look-behind, is not supported",
        );
        check(r"(a)\1", r"the regex `(a)\\1` is invalid, backreferences are not supported");
        check(&"a".repeat(1025), "a regex has more than 1024 bytes");
        let deep = format!("{}a{}", "(".repeat(40), ")".repeat(40));
        assert!(Patterns::default().compile(&deep).is_err());
    }

    #[test]
    fn patterns_are_bounded() {
        let mut patterns = Patterns::default();
        (0..PATTERNS_MAX).for_each(|index| assert!(patterns.compile(&format!("a{index}")).is_ok()));
        assert_eq!(patterns.compile("b").unwrap_err(), PatternError::TooMany);
        assert!(patterns.compile("a7").is_ok() && patterns.program_bytes() > 0);
    }
}

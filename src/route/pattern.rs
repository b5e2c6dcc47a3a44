//! Regular expressions: compiled once, equal ones shared.
//!
//! An expression is held against the whole value, and knows bytes and ASCII only (`\d` is `0` to `9`). It is a table of
//! every state that it can be in, made when the file is read: a byte of a value costs one look into it, whatever the
//! expression and whatever the value. One whose table would be too large is refused there and then; the library's other
//! ways to search would take it, and be as slow as a client likes.
//!
//! Where the groups of a match lie a table cannot say. Only who rewrites asks for that: it is found in one pass again
//! if no byte leaves the expression a choice, and else by trying, within a bound.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense, onepass};
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::captures::GroupInfo;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input, PatternID};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::stdx::hash::FixedMap;

/// A compiled expression. Clones share the program.
#[derive(Clone)]
pub struct Pattern(Arc<Program>);

struct Program {
    text: Box<str>,
    /// What every match begins with.
    literal: Box<[u8]>,
    table: dense::DFA<Vec<u32>>,
    names: GroupInfo,
    /// `None` if it has no groups.
    divider: Option<Divider>,
}

/// Finds out where the groups of a match lie.
enum Divider {
    /// No byte of a value leaves a choice.
    OnePass(Box<onepass::DFA>),
    Backtracking(BoundedBacktracker),
}

/// The patterns of one plan.
#[derive(Debug, Default)]
pub struct Patterns {
    known: FixedMap<Box<str>, Pattern>,
}

/// One shard's memory for finding groups, whatever the pattern.
#[derive(Debug, Default)]
pub struct Caches {
    one_pass: Option<onepass::Cache>,
    backtracking: Option<backtrack::Cache>,
    groups: Vec<Option<NonMaxUsize>>,
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
    #[error(
        "the regex `{text}` would need a table of more than {TABLE_BYTES_MAX} bytes, which a count behind `.*` or the \
         like doubles each time"
    )]
    TableTooLarge { text: String },
}

/// To find the groups of such a value would take too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ValueTooLong;

impl Patterns {
    /// The pattern of this text, compiled if none was equal before.
    pub fn compile(&mut self, text: &str) -> Result<Pattern, PatternError> {
        if let Some(known) = self.known.get(text) {
            return Ok(known.clone());
        }
        if self.known.len() == PATTERNS_MAX {
            return Err(PatternError::TooMany);
        }
        let pattern = Pattern::compile(text)?;
        self.known.insert(text.into(), pattern.clone());
        Ok(pattern)
    }

    /// Bytes of all programs, for reports.
    pub fn program_bytes(&self) -> usize {
        self.known.values().map(|pattern| pattern.0.bytes()).sum()
    }
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let shown = || text.escape_debug().to_string();
        let invalid = |why: String| PatternError::Invalid { text: shown(), why };
        let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(NESTING_MAX).build();
        let parsed = parser.parse(text).map_err(|error| invalid(why(&error)))?;
        let mut literal = Vec::new();
        begin(&parsed, &mut literal);
        let whole = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(PROGRAM_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&whole);
        let nfa = nfa.map_err(|error| match error.size_limit() {
            Some(_) => PatternError::TooLarge { text: shown() },
            None => invalid(error.to_string()),
        })?;
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(TABLE_BYTES_MAX))
            .determinize_size_limit(Some(MAKING_BYTES_MAX));
        let table = dense::Builder::new().configure(config).build_from_nfa(&nfa);
        let table = table.map_err(|error| {
            if error.is_size_limit_exceeded() {
                PatternError::TableTooLarge { text: shown() }
            } else {
                invalid("its word boundaries are Unicode's".to_owned())
            }
        })?;
        let names = nfa.group_info().clone();
        let has_groups = names.group_len(PatternID::ZERO) > 1;
        let divider = has_groups.then(|| Divider::new(nfa)).transpose().map_err(invalid)?;
        Ok(Self(Arc::new(Program { text: text.into(), literal: literal.into(), table, names, divider })))
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
        self.0.names.group_len(PatternID::ZERO)
    }

    /// How long a value may be whose groups are asked for.
    pub fn captured_bytes_max(&self) -> usize {
        match &self.0.divider {
            Some(Divider::Backtracking(backtracker)) => backtracker.max_haystack_len(),
            Some(Divider::OnePass(_)) | None => usize::MAX,
        }
    }

    /// The number of the group of that name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.0.names.to_index(PatternID::ZERO, name)
    }

    /// Whether the whole value matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        matches!(self.0.table.try_search_fwd(&anchored(value)), Ok(Some(_)))
    }

    /// Where the value's groups begin and end, if the whole value matches.
    pub fn captures<'c>(&self, value: &[u8], caches: &'c mut Caches) -> Result<Option<Groups<'c>>, ValueTooLong> {
        if !self.is_match(value) {
            return Ok(None);
        }
        caches.groups.clear();
        caches.groups.resize(2 * self.groups(), None);
        match &self.0.divider {
            Some(divider) => divider.divide(value, caches)?,
            None => caches.groups.copy_from_slice(&[NonMaxUsize::new(0), NonMaxUsize::new(value.len())]),
        }
        Ok(Some(Groups(&caches.groups)))
    }
}

impl Program {
    fn bytes(&self) -> usize {
        let divider = self.divider.as_ref().map_or(0, |divider| match divider {
            Divider::OnePass(dfa) => dfa.memory_usage() + dfa.get_nfa().memory_usage(),
            Divider::Backtracking(backtracker) => backtracker.get_nfa().memory_usage(),
        });
        self.table.memory_usage() + divider
    }
}

impl Divider {
    fn new(nfa: NFA) -> Result<Self, String> {
        let config = onepass::Config::new().size_limit(Some(PROGRAM_BYTES_MAX));
        if let Ok(dfa) = onepass::Builder::new().configure(config).build_from_nfa(nfa.clone()) {
            return Ok(Self::OnePass(Box::new(dfa)));
        }
        let config = backtrack::Config::new().visited_capacity(VISITED_BYTES_MAX);
        let built = backtrack::Builder::new().configure(config).build_from_nfa(nfa);
        built.map(Self::Backtracking).map_err(|error| error.to_string())
    }

    /// Of a value that matches.
    fn divide(&self, value: &[u8], caches: &mut Caches) -> Result<(), ValueTooLong> {
        let Caches { one_pass, backtracking, groups } = caches;
        let input = anchored(value);
        let found = match self {
            Self::OnePass(dfa) => {
                let cache = one_pass.get_or_insert_with(|| dfa.create_cache());
                cache.reset(dfa);
                dfa.try_search_slots(cache, &input, groups)
            }
            Self::Backtracking(backtracker) => {
                let cache = backtracking.get_or_insert_with(|| backtracker.create_cache());
                cache.reset(backtracker);
                backtracker.try_search_slots(cache, &input, groups)
            }
        };
        found.map(|_| ()).map_err(|_| ValueTooLong)
    }
}

/// A search for the whole value: every pattern ends where the value does.
fn anchored(value: &[u8]) -> Input<'_> {
    Input::new(value).anchored(Anchored::Yes)
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
/// Different ones in one plan.
const PATTERNS_MAX: usize = 1024;
/// What repetitions of repetitions would explode to.
const PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Of one pattern, for all shards. Most states take 32 to 256 bytes, and a processor's nearer caches hold all of them,
/// also where a value goes from one end to the other.
const TABLE_BYTES_MAX: usize = 256 << 10;
/// While a table is made: those that would be too large are many states of many parts.
const MAKING_BYTES_MAX: usize = 1 << 20;
/// A bit for each state and each byte of a value that a search for groups may come to, and so a bound on its steps: a
/// quarter of a million, which take no more than some milliseconds.
const VISITED_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, literal: &str, matches: &[&str], differs: &[&str]) {
        let pattern = Patterns::default().compile(text).expect("it is good");
        assert_eq!(pattern.literal(), literal.as_bytes(), "{text}");
        for value in matches {
            assert!(pattern.is_match(value.as_bytes()), "{text} {value}");
        }
        for value in differs {
            assert!(!pattern.is_match(value.as_bytes()), "{text} {value}");
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
        let groups = pattern.captures(value, &mut caches).unwrap().expect("it matches");
        let texts: Vec<_> = (0..pattern.groups()).map(|group| groups.of(value, group)).collect();
        assert_eq!(texts, [&b"/1999/rest"[..], b"1999", b"", b"rest"]);
        assert_eq!((pattern.group_named("year"), pattern.group_named("x")), (Some(1), None));
        assert!(pattern.captures(b"/x/rest", &mut caches).unwrap().is_none());
    }

    #[test]
    fn equal_patterns_share_a_program_and_all_of_them_one_memory() {
        let (mut patterns, mut caches) = (Patterns::default(), Caches::default());
        let (a, again) = (patterns.compile("a+").unwrap(), patterns.compile("a+").unwrap());
        assert!(Arc::ptr_eq(&a.0, &again.0));
        let mut check = |text: &str, value: &str, want: &[&str]| {
            let pattern = patterns.compile(text).unwrap();
            let groups = pattern.captures(value.as_bytes(), &mut caches).unwrap();
            let texts: Vec<&[u8]> = groups.map_or_else(Vec::new, |groups| {
                (0..pattern.groups()).map(|group| groups.of(value.as_bytes(), group)).collect()
            });
            assert_eq!(texts, want.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{text} {value}");
        };
        for _ in 0..2 {
            check("a+", "aaa", &["aaa"]);
            check("(b|c)([0-9]+)x", "c17x", &["c17x", "c", "17"]);
            check("(.*)-(.*)-?", "a-b-", &["a-b-", "a-b", ""]);
            check("(d)", "d", &["d", "d"]);
            check("(.*?)-((e)?.*)", "-e", &["-e", "", "e", "e"]);
            check("(.*?)-((e)?.*)", "d", &[]);
        }
    }

    #[test]
    fn what_routes_ask_for_fits() {
        let words = (0..40).map(|word| format!("word{word}")).collect::<Vec<_>>().join("|");
        for text in [
            r"/users/\d+/orders(/.*)?",
            "^/v[12]/.*",
            "[^/]+",
            "(?i)mobile|tablet",
            ".*(?i:android|iphone|ipad|mobile|tablet|windows phone|opera mini).*",
            "(?i)bearer [a-z0-9._~+/-]+=*",
            "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}",
            r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*",
            r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}",
            r"[\w.+-]+@[\w-]+(\.[\w-]+)+",
            r"(.*/)?[^/]{1,60}\.(jpe?g|png|webp)",
            ".*(foo|bar).{1,5}",
            &format!("/({words})/.*"),
        ] {
            let compiled = Patterns::default().compile(text);
            assert!(compiled.is_ok(), "{compiled:?}");
        }
    }

    #[test]
    fn groups_of_a_value_are_looked_for_within_a_bound() {
        let (mut patterns, mut caches) = (Patterns::default(), Caches::default());
        let long = [vec![b'a'; 8 * VISITED_BYTES_MAX].as_slice(), b"-"].concat();
        let mut find = |text: &str, value: &[u8]| {
            let found = patterns.compile(text).unwrap().captures(value, &mut caches);
            found.map(|groups| groups.is_some())
        };
        assert_eq!(find("(.*)-(.*)", &long), Err(ValueTooLong));
        assert_eq!((find("(.*)x(.*)", &long), find("(.*)-(.*)", &long[long.len() - 500..])), (Ok(false), Ok(true)));
        assert_eq!((find("(a*)-", &long), find(".*-.*", &long)), (Ok(true), Ok(true)), "neither has a choice to make");
    }

    #[test]
    fn what_would_explode_or_cannot_be_read_is_refused() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(Patterns::default().compile(text).unwrap_err().to_string(), want);
        }
        check("(a{1,100}){1,100}", "the regex `(a{1,100}){1,100}` would need more than 65536 bytes");
        check("((a{100}){100}){100}", "the regex `((a{100}){100}){100}` would need more than 65536 bytes");
        for text in ["/.*a[ab/]{0,300}x", ".*a.{40}", ".*foo.{0,200}bar.*"] {
            let more = "bytes, which a count behind `.*` or the like doubles each time";
            check(text, &format!("the regex `{text}` would need a table of more than {TABLE_BYTES_MAX} {more}"));
        }
        check("a(", "the regex `a(` is invalid, unclosed group");
        check(r"a(?u:\b)", r"the regex `a(?u:\\b)` is invalid, its word boundaries are Unicode's");
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

//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

/// Where an object was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    pub file: Arc<str>,
    /// From 1; 0 when the whole file is meant.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    pub origin: Origin,
    pub what: String,
    /// What to do.
    pub help: String,
}

/// All problems of one file. Shown one a line, each with the line of the file that it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems {
    pub list: Vec<Problem>,
    pub text: Arc<str>,
}

impl Origin {
    pub fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl Problems {
    /// One a line, and nothing of the file: for those who may not read it.
    pub fn without_lines(&self) -> String {
        let shown = self.list.iter().take(SHOWN_MAX).map(|problem| {
            // Its words may repeat the value, which may stand some lines behind its key.
            let line = problem.origin.line as usize;
            let mut near = self.text.lines().take(line).skip(line.saturating_sub(NEAR_LINES));
            if is_secretive(&problem.what) || near.any(is_secretive) {
                format!("{}: {}", problem.origin, problem.help)
            } else {
                problem.to_string()
            }
        });
        shown.chain(self.more()).collect::<Vec<_>>().join("\n")
    }

    /// Says that there are more than are shown.
    fn more(&self) -> Option<String> {
        let more = self.list.len().saturating_sub(SHOWN_MAX);
        (more > 0).then(|| format!("and {more} more"))
    }
}

impl Problem {
    pub fn new(origin: &Origin, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { origin: origin.clone(), what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.what, self.help)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.list.iter().take(SHOWN_MAX) {
            writeln!(f, "{problem}")?;
            quote(f, &self.text, problem)?;
        }
        self.more().map_or(Ok(()), |more| writeln!(f, "{more}"))
    }
}

/// The line of the file, with a mark below the column.
fn quote(f: &mut fmt::Formatter<'_>, text: &str, Problem { origin, what, .. }: &Problem) -> fmt::Result {
    let Some(line) = origin.line.checked_sub(1).and_then(|index| text.lines().nth(index as usize)) else {
        return Ok(());
    };
    if line.len() > QUOTE_BYTES_MAX || is_secretive(line) || is_secretive(what) {
        return Ok(());
    }
    // A tab stays a tab, so that the mark stands below its column however wide the terminal shows it.
    let before = line.chars().take(origin.column.saturating_sub(1) as usize);
    let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
    let number = origin.line.to_string();
    writeln!(f, " {number} | {line}")?;
    writeln!(f, " {:width$} | {indent}^", "", width = number.len())
}

/// Whether what it is about may be a secret, which has no place in a log. The value may stand in another line than its
/// key, so that the words of the problem count too.
fn is_secretive(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    SECRETIVE.iter().any(|word| text.contains(word))
}

/// What stands in a line with a secret, or a hash of one.
const SECRETIVE: [&str; 12] = [
    "hash",
    "$argon2",
    "password",
    "secret",
    "-token",
    "_token",
    "authorization",
    "bearer ",
    "cookie",
    "credential",
    "api-key",
    "apikey",
];
/// The line of a problem, and those before it in which its key may stand.
const NEAR_LINES: usize = 4;
/// A file that is wrong throughout is not worth more of the terminal.
const SHOWN_MAX: usize = 20;
/// Longer lines (a file in one line of JSON) show nothing by being repeated.
const QUOTE_BYTES_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u32, column: u32) -> Problem {
        Problem::new(&Origin { file: "a.yaml".into(), line, column }, "no `x`", "add one")
    }

    #[track_caller]
    fn check(list: Vec<Problem>, text: &str, want: &str) {
        assert_eq!(Problems { list, text: text.into() }.to_string(), want);
    }

    #[test]
    fn a_problem_shows_its_line() {
        check(vec![problem(2, 3)], "a\n  bc\n", "a.yaml:2:3: no `x`: add one\n 2 |   bc\n   |   ^\n");
        check(vec![problem(1, 2)], "\tb", "a.yaml:1:2: no `x`: add one\n 1 | \tb\n   | \t^\n");
    }

    #[test]
    fn a_problem_without_a_line_shows_none() {
        check(vec![problem(0, 0)], "a", "a.yaml: no `x`: add one\n");
        check(vec![problem(9, 1)], "a", "a.yaml:9:1: no `x`: add one\n");
        check(vec![problem(1, 1)], &"a".repeat(QUOTE_BYTES_MAX + 1), "a.yaml:1:1: no `x`: add one\n");
    }

    #[test]
    fn a_line_with_a_secret_is_not_shown() {
        for line in ["- { prefix: x, hash: AAA", "  Authorization: Bearer AAA", "$argon2id$v=19$AAA", "Api-Key: AAA"] {
            check(vec![problem(1, 1)], line, "a.yaml:1:1: no `x`: add one\n");
        }
        let of_hash = Problem { what: "key `k` has a `hash` that is none".to_owned(), ..problem(2, 1) };
        check(vec![of_hash], "hash:\n  AAA", "a.yaml:2:1: key `k` has a `hash` that is none: add one\n");
    }

    #[test]
    fn many_problems_are_cut() {
        let problems = Problems { list: vec![problem(0, 0); SHOWN_MAX + 2], text: "".into() };
        let shown = problems.to_string();
        assert_eq!(shown.lines().count(), SHOWN_MAX + 1);
        assert!(shown.ends_with("and 2 more\n"), "{shown}");
        assert_eq!(problems.without_lines() + "\n", shown);
    }

    #[test]
    fn whoever_may_not_read_the_file_is_told_nothing_of_its_lines() {
        let problems = Problems { list: vec![problem(1, 1), problem(2, 1)], text: "b\nc".into() };
        assert_eq!(problems.without_lines(), "a.yaml:1:1: no `x`: add one\na.yaml:2:1: no `x`: add one");
    }
}

//! Which module names which: every `crate::` and `super::` path, in `use` groups and inline, made absolute.

use crate::source::{Source, Token, tokens};

/// A path that a file names.
#[derive(Debug, Eq, PartialEq)]
pub struct Import {
    /// From the crate's root: `http::head::Method`, `stdx::*`.
    pub path: String,
    pub line: usize,
}

/// Every path in `source` that begins with `crate` or climbs with `super`, made absolute.
pub fn imports(source: &Source) -> Vec<Import> {
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    // For each open brace, whether it opened a module.
    let (mut module, mut braces) = (source.module(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let is_path = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        match tokens[at].text {
            "{" => {
                let named = at >= 2 && tokens[at - 2].text == "mod";
                if named {
                    module.push(tokens[at - 1].text.to_owned());
                }
                braces.push(named);
            }
            "}" if braces.pop() == Some(true) => {
                module.pop();
            }
            "crate" if is_path => at = path(&tokens, at + 2, &[], &mut found),
            "super" if is_path => {
                let climbs = tokens[at..].chunks(2).take_while(|pair| pair[0].text == "super").count();
                let base = &module[..module.len().saturating_sub(climbs)];
                at = path(&tokens, at + 2 * climbs, base, &mut found);
            }
            // `use crate as x` would hide every path after it.
            "crate" if tokens.get(at + 1).is_some_and(|next| next.text == "as") => {
                found.push(Import { path: "*".to_owned(), line: tokens[at].line });
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path or one tree of a `use` at `at`; returns its last token.
fn path(tokens: &[Token<'_>], at: usize, base: &[String], found: &mut Vec<Import>) -> usize {
    let Some(token) = tokens.get(at) else { return at };
    if token.text == "{" {
        return group(tokens, at, base, found);
    }
    let mut path_here = base.to_vec();
    if token.text != "self" {
        path_here.push(token.text.to_owned());
    }
    let goes_on = tokens.get(at + 1).is_some_and(|next| next.text == "::")
        && tokens.get(at + 2).is_some_and(|next| next.text != "<");
    if goes_on {
        return path(tokens, at + 2, &path_here, found);
    }
    found.push(Import { path: path_here.join("::"), line: token.line });
    at
}

/// Reads `{a, b::{c, d}}`; returns its closing brace.
fn group(tokens: &[Token<'_>], open: usize, base: &[String], found: &mut Vec<Import>) -> usize {
    let mut at = open + 1;
    while at < tokens.len() && tokens[at].text != "}" {
        at = path(tokens, at, base, found) + 1;
        while at < tokens.len() && !matches!(tokens[at].text, "," | "}") {
            at += 1;
        }
        if at < tokens.len() && tokens[at].text == "," {
            at += 1;
        }
    }
    at
}

#[test]
fn paths_are_found_wherever_they_stand() {
    #[track_caller]
    fn check(path: &str, text: &str, want: &[&str]) {
        let found = imports(&Source::new(path, text));
        assert_eq!(found.iter().map(|import| &*import.path).collect::<Vec<_>>(), want, "{text}");
    }
    let file = "src/http/h1/encode.rs";
    check(file, "use crate::stdx::time::Mono;", &["stdx::time::Mono"]);
    check(file, "use crate::{a, b::{self, C as D, e::*}, f::G,\n};", &["a", "b", "b::C", "b::e::*", "f::G"]);
    check(file, "fn f(x: crate::proxy::X) { crate::shard::run::<u8>(); }", &["proxy::X", "shard::run"]);
    check(file, "match crate::a::B { C => crate::d::E {}, }", &["a::B", "d::E"]);
    check(file, "use crate as all; pub(crate) fn f() {}", &["*"]);
    check(file, "// crate::a\n/* crate::b */ let c = \"crate::d\";", &[]);
    check(file, "use super::x; use super::super::y::Z;", &["http::h1::x", "http::y::Z"]);
    check(file, "use super::super::super::proxy::{self, X};", &["proxy", "proxy::X"]);
    check(
        file,
        "mod tests { use super::*; use super::super::y; } use super::z;",
        &["http::h1::encode::*", "http::h1::y", "http::h1::z"],
    );
    check(
        "src/http/mod.rs",
        "use super::proxy::X; fn f() { if a { b } } mod t { use super::c; }",
        &["proxy::X", "http::c"],
    );
}

#[test]
fn an_import_knows_its_line() {
    let found = imports(&Source::new("src/a.rs", "\nuse crate::{\n    b,\n    c::D,\n};\n"));
    assert_eq!(found.iter().map(|import| import.line).collect::<Vec<_>>(), [3, 4]);
}

//! House rules that a machine can hold. Each is a function from a file to what is wrong with it, so that the last tests
//! can show that it finds something; the first tests apply them to the repository.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use imports::imports;
use source::{Source, Token, tokens, tree};

/// What a module may name beside itself and `stdx`; a path, and what lies below it. `policy` is the one module whose
/// files may not name each other.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("stdx", &[]),
    ("telemetry", &[]),
    ("runtime", &[]),
    ("tls", &[]),
    ("http", &[]),
    ("transport", &["runtime", "tls"]),
    ("route", &["http::head"]),
    ("policy", &["http::view"]),
    // HTTP on a connection, for both sides: where a codec meets the runtime.
    ("wire", &["runtime", "http", "transport"]),
    ("upstream", &["telemetry", "runtime", "transport", "http", "wire"]),
    ("proxy", &["telemetry", "runtime", "tls", "http", "transport", "wire", "route", "policy", "upstream"]),
    ("config", &["telemetry", "runtime", "tls", "http", "transport", "route", "policy", "upstream", "proxy"]),
    ("shard", &["telemetry", "runtime", "tls", "http", "transport", "route", "policy", "upstream", "proxy", "config"]),
    // It starts shards, each with its own event loop, and afterwards knows them by their mail: no codec, no connection.
    (
        "control",
        &[
            "config",
            "telemetry",
            "upstream",
            "policy",
            "shard",
            "runtime::driver",
            // The sockets that shards accept on are opened here, and the plan that they go by is kept here.
            "proxy::Plan",
            "runtime::calls",
            "runtime::inherit",
            "runtime::listener",
            "runtime::mailbox",
            "runtime::options",
            // For the limit ledger, which control makes.
            "runtime::pages",
            "runtime::Error",
            "runtime::Stop",
            "runtime::Runtime",
        ],
    ),
    // `cli::echo` is an origin made of the gateway's own parts.
    ("cli", &["config", "shard", "control", "runtime", "http", "wire", "route"]),
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 120;

/// Lines from the comment down to the `unsafe` that it excuses, more lines of comment not counted.
const SAFETY_LINES_MAX: usize = 4;

/// Where the data path lies above the codecs: what it sends of its own accord has its status from `ERRORS`.
const DATA_PATH: &[&str] = &["src/wire/", "src/upstream/", "src/proxy/", "src/shard/"];
const ERRORS: &str = "src/proxy/error.rs";

/// Where clocks, randomness, the environment and locks are at home (`clippy.toml`), and where their substitutes are
/// made.
const MAY_LIFT_A_BAN: &[&str] = &["src/runtime/", "src/control/", "src/cli/", "src/stdx/"];

#[test]
fn modules_import_only_what_their_row_allows() {
    let files = tree();
    let modules = module_names(&files);
    hold(&files, |source| import_violations(source, &modules));
}

#[test]
fn every_file_under_src_is_compiled() {
    let files = tree();
    let unreachable = unreachable_files(&files);
    assert!(unreachable.is_empty(), "no `mod` line leads to: {unreachable:#?}");
}

#[test]
fn files_are_short() {
    hold(&tree(), long_file);
}

#[test]
fn functions_fit_a_screen() {
    hold(&tree(), long_functions);
}

#[test]
fn lines_are_not_wide() {
    hold(&tree(), wide_lines);
}

#[test]
fn nothing_is_left_for_later() {
    hold(&tree(), unfinished);
}

#[test]
fn no_test_is_ignored_and_no_code_is_dead() {
    hold(&tree(), switched_off);
}

#[test]
fn unsafe_code_is_in_the_runtime_and_says_why() {
    hold(&tree(), unsafe_code);
}

#[test]
fn bans_are_lifted_only_where_the_clocks_are() {
    hold(&tree(), lifted_bans);
}

#[test]
fn source_files_begin_with_why_they_exist() {
    hold(&tree(), undocumented_file);
}

#[test]
fn no_path_of_one_machine_is_in_the_repository() {
    hold(&tree(), machine_paths);
}

#[test]
fn only_one_file_knows_which_status_an_error_becomes() {
    hold(&tree(), chosen_statuses);
}

#[test]
fn documents_name_only_files_that_exist() {
    let files = tree();
    let paths: BTreeSet<&str> = files.iter().map(|source| &*source.path).collect();
    hold(&files, |source| missing_files(source, &paths));
}

#[test]
fn every_configuration_example_is_shown_or_tested() {
    let files = tree();
    let unknown = unmentioned_examples(&files);
    assert!(unknown.is_empty(), "neither README.md nor a file under tests/ names: {unknown:#?}");
}

/// Applies a rule to every file and prints all that it finds.
#[track_caller]
fn hold(files: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn import_violations(source: &Source, modules: &BTreeSet<String>) -> Vec<String> {
    let own = source.module();
    let Some(module) = own.first().filter(|_| source.is_rust() && source.path.starts_with("src/")) else {
        return Vec::new();
    };
    let Some((_, row)) = MAY_IMPORT.iter().find(|(name, _)| name == module) else {
        return vec![at(source, 1, &format!("`{module}` has no row in the import table"))];
    };
    let below = |path: &str, root: &str| path == root || path.starts_with(&format!("{root}::"));
    let is_allowed = |path: &str| {
        let is_neighbour = || {
            let name = path.split("::").take(2).collect::<Vec<_>>().join("::");
            module == "policy" && own.len() > 1 && modules.contains(&name) && name != own[..2].join("::")
        };
        if below(path, module) {
            !is_neighbour()
        } else {
            below(path, "stdx") || row.iter().any(|root| below(path, root))
        }
    };
    let foreign = imports(source).into_iter().filter(|import| !is_allowed(&import.path));
    foreign.map(|import| at(source, import.line, &format!("`{module}` may not import `{}`", import.path))).collect()
}

fn module_names(files: &[Source]) -> BTreeSet<String> {
    let sources = files.iter().filter(|source| source.is_rust() && source.path.starts_with("src/"));
    sources.map(|source| source.module().join("::")).collect()
}

/// Files under `src/` to which no chain of `mod name;` leads from `lib.rs` or `main.rs`.
fn unreachable_files(files: &[Source]) -> Vec<&str> {
    let sources: Vec<&Source> =
        files.iter().filter(|source| source.is_rust() && source.path.starts_with("src/")).collect();
    let mut reached = BTreeSet::from([String::new()]);
    let mut fresh = vec![String::new()];
    while let Some(module) = fresh.pop() {
        for source in sources.iter().filter(|source| source.module().join("::") == module) {
            for child in declared_modules(&tokens(&source.code)) {
                let child = if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") };
                if reached.insert(child.clone()) {
                    fresh.push(child);
                }
            }
        }
    }
    let unreached = sources.iter().filter(|source| !reached.contains(&source.module().join("::")));
    unreached.map(|source| &*source.path).collect()
}

fn declared_modules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let declarations = tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declarations.map(|window| window[1].text).collect()
}

fn long_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if source.is_rust() && lines > FILE_LINES_MAX {
        vec![at(source, lines, &format!("more than {FILE_LINES_MAX} lines: is it still one noun?"))]
    } else {
        Vec::new()
    }
}

fn long_functions(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.code);
    let starts = (0..tokens.len()).filter(|&start| is_function(&tokens, start));
    let long = starts.filter_map(|start| {
        let lines = last_line(&tokens[start..])? - tokens[start].line + 1;
        let name = tokens[start + 1].text;
        (lines > FUNCTION_LINES_MAX).then(|| at(source, tokens[start].line, &format!("`{name}` has {lines} lines")))
    });
    long.collect()
}

/// A function with a name: `fn(u8)` is a type.
fn is_function(tokens: &[Token<'_>], at: usize) -> bool {
    tokens[at].text == "fn" && tokens.get(at + 1).is_some_and(|name| name.text != "(")
}

/// The line of the brace that closes the function's body; none without a body.
fn last_line(function: &[Token<'_>]) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for token in function {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets -= 1,
            ";" if braces == 0 && brackets == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

fn wide_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate().filter(|_| source.is_rust());
    let wide = lines.filter(|(_, line)| line.chars().count() > LINE_CHARS_MAX);
    wide.map(|(index, _)| at(source, index + 1, &format!("wider than {LINE_CHARS_MAX}"))).collect()
}

/// In any file, comments included.
fn unfinished(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let macros = [concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("db", "g!")];
    let is_found = |line: &str| {
        let mut words = line.split(|char: char| !char.is_alphanumeric() && char != '_' && char != '!');
        words.any(|word| marks.contains(&word.trim_end_matches('!')) || macros.contains(&word))
    };
    let lines = source.text.lines().enumerate();
    lines.filter(|(_, line)| is_found(line)).map(|(index, line)| at(source, index + 1, line.trim())).collect()
}

fn switched_off(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.code);
    let starts = tokens.windows(3).filter(|window| {
        let [a, b, c] = [window[0].text, window[1].text, window[2].text];
        let is_ignored = a == "#" && b == "[" && c == "ignore";
        let is_dead = matches!(a, "allow" | "expect") && b == "(" && matches!(c, "dead_code" | "unused");
        is_ignored || is_dead
    });
    starts.map(|window| at(source, window[2].line, &format!("`{}`", window[2].text))).collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let blocks = tokens(&source.code).into_iter().filter(|token| token.text == "unsafe");
    let wrong = blocks.filter_map(|token| {
        let is_explained = is_explained(&lines[..token.line]);
        match (source.path.starts_with("src/runtime/"), is_explained) {
            (false, _) => Some(at(source, token.line, "unsafe code outside src/runtime")),
            (true, false) => Some(at(source, token.line, "unsafe code without a `// SAFETY: ` comment right above")),
            (true, true) => None,
        }
    });
    wrong.collect()
}

/// The reason stands above the last line; only a few lines of the same statement may lie between.
fn is_explained(lines: &[&str]) -> bool {
    let mut lines_between = 0;
    for line in lines.iter().rev() {
        if line.contains("// SAFETY: ") || line.contains("/// # Safety") {
            return true;
        }
        lines_between += usize::from(!line.trim_start().starts_with("//"));
        if lines_between > SAFETY_LINES_MAX {
            return false;
        }
    }
    false
}

fn lifted_bans(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/") || MAY_LIFT_A_BAN.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let tokens = tokens(&source.code).into_iter().filter(|token| token.text.starts_with("disallowed_"));
    tokens.map(|token| at(source, token.line, "lifts a ban of clippy.toml")).collect()
}

fn undocumented_file(source: &Source) -> Vec<String> {
    let is_held = source.is_rust() && source.path.starts_with("src/") && source.path != "src/main.rs";
    if is_held && !source.text.starts_with("//! ") {
        return vec![at(source, 1, "does not begin with a `//!` comment that says why it exists")];
    }
    Vec::new()
}

/// A home folder or the like: what works on one machine only.
fn machine_paths(source: &Source) -> Vec<String> {
    let folders = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let is_found = |line: &str| {
        folders.iter().any(|folder| {
            // After a name it is a part of some other path.
            line.match_indices(folder).any(|(start, _)| {
                !line[..start].ends_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | '.' | '-' | '}'))
            })
        })
    };
    let lines = source.text.lines().enumerate();
    lines.filter(|(_, line)| is_found(line)).map(|(index, line)| at(source, index + 1, line.trim())).collect()
}

/// Numbers that are a status of an error. A comparison chooses none.
fn chosen_statuses(source: &Source) -> Vec<String> {
    if source.path == ERRORS || !DATA_PATH.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let tokens = tokens(&source.code);
    let is_status = |text: &str| text.parse().is_ok_and(|number: u16| (400..=511).contains(&number));
    let is_compared =
        |index: usize| index >= 2 && tokens[index - 1].text == "=" && matches!(tokens[index - 2].text, "=" | "!");
    let chosen = (0..tokens.len()).filter(|&index| is_status(tokens[index].text) && !is_compared(index));
    chosen.map(|index| at(source, tokens[index].line, &format!("status {}", tokens[index].text))).collect()
}

/// What a document at the root of the repository names in backticks and below one of its folders.
fn missing_files(source: &Source, paths: &BTreeSet<&str>) -> Vec<String> {
    if !source.path.ends_with(".md") || source.path.contains('/') {
        return Vec::new();
    }
    let folder = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
    let folders: BTreeSet<String> = paths.iter().filter_map(|path| folder(path)).collect();
    let exists = |name: &str| paths.iter().any(|path| *path == name || path.starts_with(&below(name)));
    let lines = source.text.lines().enumerate();
    let names = lines.flat_map(|(index, line)| line.split('`').skip(1).step_by(2).map(move |name| (index + 1, name)));
    let missing = names.filter(|(_, name)| folder(name).is_some_and(|top| folders.contains(&top)) && !exists(name));
    missing.map(|(line, name)| at(source, line, &format!("there is no {name}"))).collect()
}

fn below(folder: &str) -> String {
    format!("{}/", folder.trim_end_matches('/'))
}

fn unmentioned_examples(files: &[Source]) -> Vec<&str> {
    let examples = files.iter().filter_map(|source| Some((&*source.path, source.path.strip_prefix("config/")?)));
    let places: Vec<&Source> =
        files.iter().filter(|source| source.path == "README.md" || source.path.starts_with("tests/")).collect();
    let unknown = examples.filter(|(_, name)| !places.iter().any(|source| source.text.contains(name)));
    unknown.map(|(path, _)| path).collect()
}

/// Asserts what a rule finds in one small file: how many things.
#[track_caller]
fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, count: usize) {
    let found = rule(&Source::new(path, text));
    assert_eq!(found.len(), count, "in {path}: {text}\nfound: {found:#?}");
}

#[test]
fn the_import_table_finds_foreign_paths() {
    let modules = ["policy", "policy::cors", "policy::key_auth"].map(str::to_owned).into();
    let rule = |source: &Source| import_violations(source, &modules);
    check(rule, "src/http/head.rs", "use crate::{stdx::x, proxy::Y};\nfn f() { crate::runtime::z() }", 2);
    check(rule, "src/http/head.rs", "use crate::stdx::x; use crate::http::y; use super::body;", 0);
    check(rule, "src/http/mod.rs", "use super::proxy::Exchange;", 1);
    check(rule, "src/http/head.rs", "mod tests { use crate::proxy::X; use crate::stdx::rng::Rng; }", 1);
    check(rule, "src/route/table.rs", "use crate::http::head::X; use crate::http::head; use crate::http::header;", 1);
    check(rule, "src/stdx/time.rs", "use crate::telemetry::X;", 1);
    check(rule, "src/news/mod.rs", "", 1);
    check(rule, "src/lib.rs", "pub use crate::anything::X;", 0);
    check(rule, "src/policy/cors.rs", "use super::key_auth::X; use crate::policy::key_auth;", 2);
    check(rule, "src/policy/cors.rs", "use super::Verdict; use crate::policy::{Context, cors::Y};", 0);
    check(rule, "src/policy/mod.rs", "use cors::X; use crate::policy::key_auth::Y;", 0);
}

#[test]
fn files_that_nothing_declares_are_found() {
    let files = [
        ("src/lib.rs", "pub mod a;\n// mod c;\nmod tests {}"),
        ("src/a/mod.rs", "mod b;"),
        ("src/a/b.rs", ""),
        ("src/a/d.rs", ""),
        ("src/c.rs", "mod e;"),
        ("src/c/e.rs", ""),
    ];
    let files = files.map(|(path, text)| Source::new(path, text));
    assert_eq!(unreachable_files(&files), ["src/a/d.rs", "src/c.rs", "src/c/e.rs"]);
}

#[test]
fn sizes_are_measured() {
    check(long_file, "src/a.rs", &"\n".repeat(FILE_LINES_MAX), 0);
    check(long_file, "src/a.rs", &"\n".repeat(FILE_LINES_MAX + 1), 1);
    let function = |lines: usize| format!("trait T {{ fn g(x: [u8; 2]); }}\nfn f() {{{}}}\n", "\n".repeat(lines - 1));
    check(long_functions, "src/a.rs", &function(FUNCTION_LINES_MAX), 0);
    check(long_functions, "src/a.rs", &function(FUNCTION_LINES_MAX + 1), 1);
    check(long_functions, "src/a.rs", &function(FUNCTION_LINES_MAX + 1).replace("{\n", "{ \"}\"; // }\n"), 1);
    check(long_functions, "src/a.rs", &format!("type F = fn(u8);\nimpl X {{{}}}", "\n".repeat(100)), 0);
    check(wide_lines, "src/a.rs", &"ä".repeat(LINE_CHARS_MAX), 0);
    check(wide_lines, "src/a.rs", &"a".repeat(LINE_CHARS_MAX + 1), 1);
}

#[test]
fn leftovers_are_found() {
    check(unfinished, "a.sh", concat!("# TO", "DO: later\n# FIX", "ME\nXX", "X HA", "CK"), 3);
    check(unfinished, "a.rs", concat!("to", "do!(); \ndb", "g!(x);\nunimpl", "emented!(\"x\")"), 3);
    check(unfinished, "a.rs", concat!("TO", "DOS, a_to", "do, HA", "CKER"), 0);
    check(
        switched_off,
        "tests/a.rs",
        concat!("#[ig", "nore]\n#[ig", "nore = \"slow\"] #[allow(dead_code)] #![expect(unused)]"),
        4,
    );
    check(switched_off, "tests/a.rs", concat!("// #[ig", "nore]\nfn ignore() { allow(x); \"allow(dead_code)\" }"), 0);
}

#[test]
fn unsafe_code_is_found() {
    check(unsafe_code, "src/http/a.rs", "// SAFETY: never\nunsafe { f() }", 1);
    check(unsafe_code, "src/runtime/a.rs", "unsafe { f() }\nunsafe impl Send for X {}", 2);
    check(unsafe_code, "src/runtime/a.rs", "// SAFETY: checked above\n// and below\nlet x =\n unsafe { f() };", 0);
    check(unsafe_code, "src/runtime/a.rs", &format!("// SAFETY: far\n{}unsafe {{}}", "\n".repeat(SAFETY_LINES_MAX)), 1);
    check(unsafe_code, "src/http/a.rs", "#![deny(unsafe_code)]\n// unsafe { }", 0);
    check(unsafe_code, "benches/a.rs", "unsafe { f() }", 0);
    check(chosen_statuses, "src/proxy/a.rs", "status.set(502); if a == 503 || b != 404 { f(512, 304, 1400) }", 1);
    check(chosen_statuses, "src/proxy/error.rs", "client(400)", 0);
    check(lifted_bans, "src/proxy/a.rs", "#[expect(clippy::disallowed_methods, reason = \"x\")]", 1);
    check(lifted_bans, "src/control/a.rs", "#[expect(clippy::disallowed_methods, reason = \"x\")]", 0);
}

#[test]
fn missing_words_and_foreign_paths_are_found() {
    check(undocumented_file, "src/a.rs", "use std::fs;\n//! late", 1);
    check(undocumented_file, "src/a.rs", "//! Why.", 0);
    check(undocumented_file, "src/main.rs", "fn main() {}", 0);
    check(machine_paths, "a.md", concat!("see /wo", "rk/x\n`/ro", "ot/.cargo`\n/ho", "me/me"), 3);
    check(machine_paths, "a.md", concat!("${HOME}/x a/wo", "rk/b ../ho", "me/x /wo", "rks/"), 0);
    let rule = |source: &Source| missing_files(source, &["src/a.rs", "src/b/c.rs"].into());
    check(rule, "A.md", "`src/a.rs` `src/b/` `src/b` `cargo/x` src/d.rs", 0);
    check(rule, "A.md", "`src/d.rs` is\n`src/b/d` and `src/c/`", 3);
    check(rule, "docs/a.md", "`src/d.rs`", 0);
    let files = [("config/a.yaml", ""), ("config/b.yaml", ""), ("README.md", "see config/b.yaml")];
    let files = files.map(|(path, text)| Source::new(path, text));
    assert_eq!(unmentioned_examples(&files), ["config/a.yaml"]);
}

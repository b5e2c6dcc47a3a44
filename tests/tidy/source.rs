//! The repository as the house rules see it: its text files, and Rust code without comments and literals.

use std::fs;
use std::path::Path;

/// One text file.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked out, line by line as long as before. Empty unless it is Rust.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The module that a file under `src/` is: `src/http/h1/mod.rs` is `["http", "h1"]`, `src/lib.rs` is `[]`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let path = path.trim_end_matches("/mod");
        if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }
}

/// Every text file of the repository, sorted by path.
pub fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("the repository is readable") {
        let path = entry.expect("the repository is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if matches!(&*name, ".git" | "target" | "__pycache__") {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("the walk stays below its root").to_string_lossy();
            files.push(Source::new(&path.replace('\\', "/"), &text));
        }
    }
}

/// A word, `::` or one character of punctuation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of blanked code.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut line, mut at) = (Vec::new(), 1, 0);
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    while let Some(char) = code[at..].chars().next() {
        let length = match char {
            _ if is_word(char) => code[at..].find(|char| !is_word(char)).unwrap_or(code.len() - at),
            ':' if code[at..].starts_with("::") => 2,
            _ => char.len_utf8(),
        };
        if char == '\n' {
            line += 1;
        } else if !char.is_whitespace() {
            tokens.push(Token { text: &code[at..at + length], line });
        }
        at += length;
    }
    tokens
}

/// Replaces comments, strings and characters by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let after_word = code.ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let length = literal_length(rest, after_word);
        if length == 0 {
            code.push(char);
            rest = &rest[char.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// How many bytes at the start of `text` are a comment or a literal. The `b` of `b"x"` stays: it harms nobody.
fn literal_length(text: &str, after_word: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if text.starts_with('"') {
        return quoted_length(text);
    }
    let raw = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix));
    if let (false, Some(raw)) = (after_word, raw) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = text.len() - raw.len() + hashes + 1;
            return text[start..].find(&end).map_or(text.len(), |found| start + found + end.len());
        }
    }
    char_length(text)
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character between quotes; nothing for a lifetime, which has no closing quote.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    match (chars.next(), chars.next(), chars.next()) {
        // The character after the backslash may itself be a quote.
        (Some((_, '\'')), Some((_, '\\')), Some(_)) => text[3..].find('\'').map_or(0, |end| end + 4),
        (Some((_, '\'')), Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn comments_and_literals_are_blanked() {
    #[track_caller]
    fn check(text: &str, words: &str) {
        let code = blank(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let found: Vec<&str> = tokens(&code).iter().map(|token| token.text).collect();
        assert_eq!(found.join(" "), words);
    }
    check("a // b \" c\nd", "a d");
    check("a /* b /* c */ d */ e", "a e");
    check(r#"a("b \" // c", d)"#, "a ( , d )");
    check("a(r#\"b \" c\"#, br\"\\\", d)", "a ( , , d )");
    check(r"let c = '\''; let d = '{'; let e = '\u{1b}';", "let c = ; let d = ; let e = ;");
    check("fn f<'a>(x: &'a str, y: b'\"')", "fn f < ' a > ( x : & ' a str , y : b )");
    check("for\"x\ny\"z", "for z");
    check("crate::a::B", "crate :: a :: B");
}

#[test]
fn a_file_knows_its_module() {
    for (path, module) in
        [("src/lib.rs", ""), ("src/http/mod.rs", "http"), ("src/http/h1/mod.rs", "http::h1"), ("src/a/b.rs", "a::b")]
    {
        assert_eq!(Source::new(path, "").module().join("::"), module);
    }
}

#[test]
fn the_tree_holds_this_file() {
    assert!(tree().iter().any(|source| source.path == "tests/tidy/source.rs" && source.text.contains("this_file")));
}

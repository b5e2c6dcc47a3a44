//! Reads llhttp's Markdown: a heading, a `meta` comment, an `http` block and the `log` that its parser wrote.

use std::fs;
use std::path::Path;

use super::verdict::Verdict;

#[derive(Debug)]
pub struct Vector {
    /// The heading, with a number where it repeats.
    pub name: String,
    /// File and title.
    heading: String,
    /// `request` or `response`, with how lenient llhttp was and whether its input then ended.
    kind: String,
    pub skips_body: bool,
    pub input: Vec<u8>,
    pub logged: Verdict,
}

impl Vector {
    pub fn is_response(&self) -> bool {
        self.kind.starts_with("response")
    }

    pub fn is_strict(&self) -> bool {
        !self.kind.contains("lenient")
    }

    /// The stream ends after the input.
    pub fn finishes(&self) -> bool {
        self.kind.ends_with("-finish")
    }
}

/// All vectors under `root`, by file name and then as they stand.
pub fn read(root: &Path) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for side in ["request", "response"] {
        let folder = fs::read_dir(root.join(side)).unwrap_or_else(|error| panic!("{side}: {error}"));
        let mut paths: Vec<_> = folder.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).expect("a readable file");
            let file = path.file_name().expect("a file").to_string_lossy();
            read_file(&format!("{side}/{file}"), &text, &mut vectors);
        }
    }
    vectors
}

fn read_file(file: &str, text: &str, vectors: &mut Vec<Vector>) {
    let (mut title, mut meta, mut input) = ("", "", Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix('#') {
            title = heading.trim_start_matches('#').trim();
        } else if line.starts_with("<!-- meta=") {
            meta = line;
        } else if line == "```http" {
            input = unescape(&block(&mut lines).join("\r\n"));
        } else if line == "```log" {
            let log = block(&mut lines);
            let heading = format!("{file}: {title}");
            let repeats = vectors.iter().filter(|vector| vector.heading == heading).count();
            vectors.push(Vector {
                name: if repeats == 0 { heading.clone() } else { format!("{heading} #{}", repeats + 1) },
                heading,
                kind: meta.split('"').skip_while(|part| *part != "type").nth(2).expect("a type").to_owned(),
                skips_body: meta.contains("skipBody"),
                input: std::mem::take(&mut input),
                logged: logged(&log),
            });
        }
    }
}

fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.take_while(|line| *line != "```").collect()
}

/// As llhttp's own runner does: a backslash at a line's end joins lines, the others are C-like escapes.
fn unescape(text: &str) -> Vec<u8> {
    let joined = text.replace("\\\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, taken) = match tail {
            [b'r', ..] if *first == b'\\' => (b'\r', 2),
            [b'n', ..] if *first == b'\\' => (b'\n', 2),
            [b't', ..] if *first == b'\\' => (b'\t', 2),
            [b'f', ..] if *first == b'\\' => (0x0c, 2),
            [b'x', ..] if *first == b'\\' => number(&tail[1..], 16),
            [b'0'..=b'7', ..] if *first == b'\\' => number(tail, 8),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
    bytes
}

/// The byte that up to three digits give, and how long the escape is with its backslash (and `x`).
fn number(digits: &[u8], radix: u32) -> (u8, usize) {
    let longest = if radix == 16 { 2 } else { 3 };
    let len = digits.iter().take(longest).take_while(|digit| char::from(**digit).is_digit(radix)).count();
    let text = str::from_utf8(&digits[..len]).expect("digits");
    let byte = u8::from_str_radix(text, radix).expect("an escape that fits a byte");
    (byte, len + if radix == 16 { 2 } else { 1 })
}

/// Codes 21 to 23 are no refusals: llhttp pauses where its caller takes over.
fn logged(log: &[&str]) -> Verdict {
    let mut body = 0;
    for line in log {
        if let Some((_, code)) = line.split_once("error code=") {
            let code = code.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
            if !(21..=23).contains(&code) {
                return Verdict::Refuses;
            }
        }
        if line.ends_with("finish=2") {
            return Verdict::Refuses;
        }
        if let Some((before, _)) = line.split_once(" span[body]") {
            let (_, len) = before.split_once("len=").expect("a span has a length");
            body += len.parse::<u64>().expect("a number");
        }
    }
    Verdict::Accepts { body }
}

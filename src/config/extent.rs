//! Where what stands in a YAML file begins and ends, for who changes a part of its text.

use serde_saphyr::Location;

/// In bytes.
pub fn offset(text: &str, at: Location) -> usize {
    let line = text.split_inclusive('\n').take(at.line() as usize - 1).map(str::len).sum::<usize>();
    let characters = text[line..].char_indices().map(|(index, _)| index).nth(at.column() as usize - 1);
    characters.map_or(text.len(), |index| line + index)
}

pub fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

pub fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end)
}

/// Where a word or a quoted text ends that has no line end in it.
pub fn scalar_end(text: &str, start: usize) -> usize {
    match text[start..].chars().next() {
        Some(quote @ ('"' | '\'')) => quoted_end(text, start, quote),
        _ => {
            let word = &text[start..line_end(text, start)];
            let word = word.split([',', '}', ']']).next().unwrap_or(word);
            start + word.split(" #").next().unwrap_or(word).trim_end().len()
        }
    }
}

pub fn quoted_end(text: &str, start: usize, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in text[start..].char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if character == quote => return start + index + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Behind the bracket that closes the one at `start`.
pub fn flow_end(text: &str, start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while let Some(character) = text[at..].chars().next() {
        match character {
            '"' | '\'' => {
                at = quoted_end(text, at, character);
                continue;
            }
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        at += character.len_utf8();
        if depth == 0 {
            break;
        }
    }
    at
}

/// Where the first line begins that is not a part of the entry whose dash is in the line at `line`, so far to the
/// right.
pub fn block_end(text: &str, line: usize, dash: usize) -> usize {
    let mut end = line;
    for (index, line) in text[line..].split_inclusive('\n').enumerate() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if index > 0 && (line.trim().is_empty() || indent <= dash) {
            break;
        }
        end += line.len();
    }
    end
}

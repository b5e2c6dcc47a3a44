//! What an operator writes of JSON: where a value lies, and a value.

use super::check;

/// Where values lie in a text: `a.b`, `a[0]`, `a[*].b`, `[*].b`. The first element is 0.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Path(pub(super) Vec<Step>);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Member(String),
    Element(usize),
    /// Each element.
    Every,
}

/// A value as JSON text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value(pub(super) Box<[u8]>);

impl Path {
    pub fn read(text: &str) -> Option<Self> {
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (index, after) = inside.split_once(']')?;
                steps.push(match index {
                    "*" => Step::Every,
                    digits => Step::Element(digits.parse().ok().filter(|_| !digits.starts_with('+'))?),
                });
                if !after.is_empty() && !after.starts_with(['.', '[']) {
                    return None;
                }
                rest = after;
                continue;
            }
            let name = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
            let length = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(length);
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(']') {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        }
        (1..=STEPS_MAX).contains(&steps.len()).then_some(Self(steps))
    }

    /// The name that it is, if it is one.
    pub fn name(&self) -> Option<&str> {
        match &self.0[..] {
            [Step::Member(name)] => Some(name),
            _ => None,
        }
    }

    /// It leads to a member of an object.
    pub fn is_of_a_member(&self) -> bool {
        matches!(self.0.last(), Some(Step::Member(_)))
    }
}

impl Value {
    /// A string.
    pub fn string(text: &str) -> Self {
        Self(quoted(text))
    }

    /// The value that `text` is.
    pub fn json(text: &str) -> Option<Self> {
        let text = text.trim();
        check(text.as_bytes()).ok().map(|()| Self(text.as_bytes().into()))
    }
}

pub(super) fn quoted(text: &str) -> Box<[u8]> {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\0'..' ' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
    out.into_bytes().into()
}

const STEPS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_places() {
        let member = |name: &str| Step::Member(name.to_owned());
        for (text, steps) in [
            ("a", vec![member("a")]),
            ("a b-c", vec![member("a b-c")]),
            ("a.b", vec![member("a"), member("b")]),
            ("a[0]", vec![member("a"), Step::Element(0)]),
            ("a[*].b[12][1]", vec![member("a"), Step::Every, member("b"), Step::Element(12), Step::Element(1)]),
            ("[*].b", vec![Step::Every, member("b")]),
        ] {
            assert_eq!(Path::read(text), Some(Path(steps)), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[+1]", "a[0]b", "a]", "a.[0]", "]"] {
            assert_eq!(Path::read(text), None, "{text}");
        }
        assert_eq!(Path::read(&["a"; STEPS_MAX + 1].join(".")), None);
    }

    #[test]
    fn a_string_is_escaped_and_a_value_is_json() {
        assert_eq!(&*Value::string("a\"\\\n\u{e9}").0, "\"a\\\"\\\\\\u000a\u{e9}\"".as_bytes());
        assert_eq!(Value::json(" {\"a\": 1.0} ").unwrap().0, (*b"{\"a\": 1.0}").into());
        assert_eq!(Value::json("a"), None);
        assert_eq!(Value::json("1,2"), None);
    }
}

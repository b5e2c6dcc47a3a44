//! Edits of JSON bodies as an operator writes them, and what they mean for the headers of a message.

use super::{Body, Edited, Given, Invalid, Renamed};
use crate::http::view::{FieldName, Headers};
use crate::stdx::json::{Malformed, OPERATIONS_MAX, Operation, Path, Program, Value};
use crate::stdx::number::Bounded;

/// Of a body that is edited: it is held in memory as a whole, and its like once more while it is edited.
pub type BodyBytes = Bounded<1, { 8 << 20 }>;

/// Edits of bodies, compiled.
#[derive(Debug, Eq, PartialEq)]
pub struct BodyEdits {
    program: Program,
    pub bytes_max: u64,
}

/// What a body is, by the headers of its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    Json,
    /// JSON in another encoding than UTF-8, or compressed.
    EncodedJson,
    Other,
}

impl BodyEdits {
    /// `None` if there are none.
    pub fn new(edited: Edited<Path, Value>, bytes_max: Option<BodyBytes>) -> Result<Option<Self>, Invalid> {
        let bytes_max = bytes_max.map_or(BODY_BYTES_DEFAULT, BodyBytes::get);
        if edited.is_empty() {
            return Ok(None);
        }
        let program = Program::new(operations(edited)?).ok_or_else(|| {
            Invalid::new(format!("more than {OPERATIONS_MAX} changes of a body"), "leave some to the service")
        })?;
        Ok(Some(Self { program, bytes_max }))
    }

    /// Edits a body; says whether that has changed it.
    pub fn apply(&self, body: &mut Body<'_>) -> Result<bool, Malformed> {
        let edited = self.program.apply(body.bytes())?.map(|edited| edited.text());
        let has_changed = edited.is_some();
        edited.into_iter().for_each(|edited| body.replace(edited));
        Ok(has_changed)
    }
}

impl Content {
    /// Of two lines that contradict each other, the one that makes JSON of the body counts: the service may go by it.
    pub fn of(headers: &Headers<'_>) -> Self {
        let any = |name: FieldName, is_it: fn(&[u8]) -> bool| headers.values(&name).any(is_it);
        if !any(CONTENT_TYPE, is_json) {
            return Self::Other;
        }
        // A list of types is none, and which of them a service goes by nobody knows.
        let has_other_charset = any(CONTENT_TYPE, |value| has_other_charset(value) || value.contains(&b','));
        let is_coded = any(CONTENT_ENCODING, |value| !value.eq_ignore_ascii_case(b"identity"));
        if has_other_charset || is_coded { Self::EncodedJson } else { Self::Json }
    }
}

/// Takes away what was said of trailers: a body that is held as a whole goes on without them.
pub fn forget_trailers(headers: &mut Headers<'_>) {
    headers.remove(&TRAILER);
}

/// Takes away what was said of a body that is now another.
pub fn forget_body(headers: &mut Headers<'_>) {
    OF_THE_BODY.iter().for_each(|name| headers.remove(name));
}

/// Whether one of the types is `application/json`, or ends in `+json` (RFC 6839 §3.1).
fn is_json(content_type: &[u8]) -> bool {
    content_type.split(|byte| *byte == b',').any(is_json_type)
}

fn is_json_type(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends = |with: &[u8]| {
        let begin = media_type.len().checked_sub(with.len());
        begin.is_some_and(|begin| media_type[begin..].eq_ignore_ascii_case(with))
    };
    media_type.eq_ignore_ascii_case(b"application/json") || ends(b"+json")
}

/// JSON between systems is UTF-8 (RFC 8259 §8.1), and US-ASCII is that too.
fn has_other_charset(content_type: &[u8]) -> bool {
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    parameters.any(|parameter| {
        let Some((name, value)) = parameter.split_at_checked(b"charset=".len()) else { return false };
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.eq_ignore_ascii_case(b"charset=")
            && !value.eq_ignore_ascii_case(b"utf-8")
            && !value.eq_ignore_ascii_case(b"us-ascii")
    })
}

/// In Kong's order.
fn operations(edited: Edited<Path, Value>) -> Result<Vec<Operation>, Invalid> {
    let Edited { remove, rename, replace, add, append } = edited;
    let mut operations: Vec<_> = remove.into_iter().map(Operation::Remove).collect();
    for Renamed { from, to } in rename {
        let Some(name) = to.name().filter(|_| from.is_of_a_member()) else {
            let what = "a member of a body that would be renamed to a path, or an element to a name";
            return Err(Invalid::new(what, "write `path.old:new`"));
        };
        operations.push(Operation::Rename(from, name.to_owned()));
    }
    operations.extend(replace.into_iter().map(|Given { name, value }| Operation::Replace(name, value)));
    for Given { name, value } in add {
        if !name.is_of_a_member() {
            return Err(Invalid::new("an element of a body that would be added at a place", "use `append`"));
        }
        operations.push(Operation::Add(name, value));
    }
    operations.extend(append.into_iter().map(|Given { name, value }| Operation::Append(name, value)));
    Ok(operations)
}

const CONTENT_TYPE: FieldName = FieldName::fixed("Content-Type");
const TRAILER: FieldName = FieldName::fixed("Trailer");
const CONTENT_ENCODING: FieldName = FieldName::fixed("Content-Encoding");
/// Digests of it, what it is known by in caches, and that parts of it may be asked for.
const OF_THE_BODY: [FieldName; 6] = [
    FieldName::fixed("Content-MD5"),
    FieldName::fixed("Digest"),
    FieldName::fixed("Content-Digest"),
    FieldName::fixed("Repr-Digest"),
    FieldName::fixed("ETag"),
    FieldName::fixed("Accept-Ranges"),
];
const BODY_BYTES_DEFAULT: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::view::{Edits, Fields};

    #[test]
    fn what_a_body_is_its_headers_say() {
        #[track_caller]
        fn check(fields: &[(&str, &str)], want: Content) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let mut edits = Edits::default();
            edits.begin(Fields::Own(&fields), |_| false);
            assert_eq!(Content::of(&Headers::new(Fields::Own(&fields), &mut edits)), want, "{fields:?}");
        }
        for json in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/problem+json; q=1",
            "application/vnd.a+JSON;charset=us-ascii",
        ] {
            check(&[("Content-Type", json)], Content::Json);
            check(&[("content_type", json), ("Content-Encoding", "identity")], Content::Json);
            check(&[("Content-Type", json), ("Content-Encoding", "gzip")], Content::EncodedJson);
            check(&[("Content-Type", "text/plain"), ("Content-Type", json)], Content::Json);
        }
        for encoded in [
            "application/json; charset=utf-16",
            "application/json; a=b; CHARSET=iso-8859-1",
            "application/json, application/json",
            "text/plain,application/json",
        ] {
            check(&[("Content-Type", encoded)], Content::EncodedJson);
        }
        for other in ["", "text/json", "application/jsonx", "application/x-ndjson", "text/plain; a=application/json"] {
            check(&[("Content-Type", other)], Content::Other);
        }
        check(&[], Content::Other);
    }
}

//! Edits of JSON, one after the other, by paths.

use super::Malformed;
use super::path::{Path, Step, Value};
use super::scan::{check, skip_space, skip_value};
use super::tree::{ELEMENTS_MAX, Names, Node, Part, position};

/// What is done to every value that a path leads to; a path that leads nowhere does nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    Remove(Path),
    /// Gives a member another name, in place of the one that had it.
    Rename(Path, String),
    /// Gives what is there another value.
    Replace(Path, Value),
    /// Adds a member that is not there to an object that is.
    Add(Path, Value),
    /// Adds an element behind those of an array; what is no array becomes the first element of one, and what is not
    /// there an array of one.
    Append(Path, Value),
}

/// Operations that have been compiled.
#[derive(Debug, Eq, PartialEq)]
pub struct Program {
    names: Names,
    edits: Vec<Edit>,
}

#[derive(Debug, Eq, PartialEq)]
struct Edit {
    steps: Vec<At>,
    act: Act,
}

/// A step, names by their places among the names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    Member(usize),
    Element(usize),
    Every,
}

#[derive(Debug, Eq, PartialEq)]
enum Act {
    Remove,
    Rename(usize),
    Replace(Value),
    Add(Value),
    Append(Value),
}

/// A text after its edits, not yet written.
pub struct Edited<'a> {
    root: Node<'a>,
}

impl Program {
    /// `None` for more operations than there may be.
    pub fn new(operations: Vec<Operation>) -> Option<Self> {
        if operations.len() > OPERATIONS_MAX {
            return None;
        }
        let mut names = Vec::new();
        for operation in &operations {
            let (Operation::Remove(path)
            | Operation::Rename(path, _)
            | Operation::Replace(path, _)
            | Operation::Add(path, _)
            | Operation::Append(path, _)) = operation;
            names.extend(path.0.iter().filter_map(|step| match step {
                Step::Member(name) => Some(name.as_str()),
                Step::Element(_) | Step::Every => None,
            }));
            if let Operation::Rename(_, name) = operation {
                names.push(name);
            }
        }
        let names = Names::new(names);
        let edits = operations.iter().map(|operation| Edit::new(operation, &names)).collect();
        Some(Self { names, edits })
    }

    /// Makes the edits of `text`. `None` if none of them changes anything.
    pub fn apply<'a>(&'a self, text: &'a [u8]) -> Result<Option<Edited<'a>>, Malformed> {
        check(text)?;
        let begin = skip_space(text, 0);
        let mut root = Node::Text(&text[begin..skip_value(text, begin)]);
        let mut editor = Editor { names: &self.names, left: ELEMENTS_MAX };
        let mut has_changed = false;
        for Edit { steps, act } in &self.edits {
            has_changed |= editor.edit(&mut root, steps, act)?;
        }
        Ok(has_changed.then_some(Edited { root }))
    }
}

impl Edit {
    fn new(operation: &Operation, names: &Names) -> Self {
        let name = |text: &str| names.find(text.as_bytes()).expect("all have been listed");
        let (path, act) = match operation {
            Operation::Remove(path) => (path, Act::Remove),
            Operation::Rename(path, to) => (path, Act::Rename(name(to))),
            Operation::Replace(path, value) => (path, Act::Replace(value.clone())),
            Operation::Add(path, value) => (path, Act::Add(value.clone())),
            Operation::Append(path, value) => (path, Act::Append(value.clone())),
        };
        let at = |step: &Step| match step {
            Step::Member(text) => At::Member(name(text)),
            Step::Element(index) => At::Element(*index),
            Step::Every => At::Every,
        };
        Self { steps: path.0.iter().map(at).collect(), act }
    }
}

impl Edited<'_> {
    /// The text as it is now.
    pub fn text(&self) -> Vec<u8> {
        let mut length = 0;
        self.root.write(&mut |bytes| length += bytes.len());
        let mut text = Vec::with_capacity(length);
        self.root.write(&mut |bytes| text.extend_from_slice(bytes));
        text
    }
}

struct Editor<'a> {
    names: &'a Names,
    /// Members and elements that may still be met.
    left: usize,
}

impl<'a> Editor<'a> {
    /// Whether anything has changed.
    fn edit(&mut self, node: &mut Node<'a>, steps: &[At], act: &'a Act) -> Result<bool, Malformed> {
        let Some((step, rest)) = steps.split_first() else { return self.act(node, act) };
        node.open(self.names, &mut self.left)?;
        match (node, *step) {
            (Node::Object(parts), At::Member(name)) => self.member(parts, name, rest, act),
            (Node::Array(elements), At::Element(index)) if index < elements.len() => match (rest, act) {
                ([], Act::Remove) => {
                    elements.remove(index);
                    Ok(true)
                }
                _ => self.edit(&mut elements[index], rest, act),
            },
            (Node::Array(elements), At::Every) => {
                if rest.is_empty() && *act == Act::Remove {
                    let had_some = !elements.is_empty();
                    elements.clear();
                    return Ok(had_some);
                }
                let mut has_changed = false;
                for element in elements {
                    has_changed |= self.edit(element, rest, act)?;
                }
                Ok(has_changed)
            }
            _ => Ok(false),
        }
    }

    fn member(&mut self, parts: &mut Vec<Part<'a>>, name: usize, rest: &[At], act: &'a Act) -> Result<bool, Malformed> {
        let found = position(parts, name);
        match (rest, act, found) {
            ([], Act::Add(value), None) => {
                parts.push(Part::Member { name, key: self.names.quoted(name), value: Node::Text(&value.0) });
                Ok(true)
            }
            ([], Act::Append(value), None) => {
                let value = Node::Array(vec![Node::Text(&value.0)]);
                parts.push(Part::Member { name, key: self.names.quoted(name), value });
                Ok(true)
            }
            (_, _, None) | ([], Act::Add(_), _) => Ok(false),
            ([], Act::Remove, Some(at)) => {
                parts.remove(at);
                Ok(true)
            }
            ([], Act::Rename(to), Some(at)) if *to != name => {
                if let Part::Member { name, key, .. } = &mut parts[at] {
                    (*name, *key) = (*to, self.names.quoted(*to));
                }
                let is_displaced = |(index, part): (usize, &Part<'_>)| {
                    index != at && matches!(part, Part::Member { name, .. } if name == to)
                };
                let displaced = parts.iter().enumerate().position(is_displaced);
                displaced.into_iter().for_each(|index| drop(parts.remove(index)));
                Ok(true)
            }
            (_, _, Some(at)) => match &mut parts[at] {
                Part::Member { value, .. } => self.edit(value, rest, act),
                Part::Others(_) => Ok(false),
            },
        }
    }

    /// What is done to a value where it is.
    fn act(&mut self, node: &mut Node<'a>, act: &'a Act) -> Result<bool, Malformed> {
        match act {
            Act::Replace(value) => *node = Node::Text(&value.0),
            Act::Append(value) => {
                let added = Node::Text(&value.0);
                if let Node::Text([b'[', ..]) = node {
                    node.open(self.names, &mut self.left)?;
                }
                match node {
                    Node::Array(elements) => elements.push(added),
                    other => *other = Node::Array(vec![std::mem::replace(other, Node::Text(b"")), added]),
                }
            }
            Act::Remove | Act::Rename(_) | Act::Add(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// Operations of one program: each is a walk through what is open of the text.
pub const OPERATIONS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::read(text).unwrap_or_else(|| panic!("{text} is no path"))
    }

    fn json(text: &str) -> Value {
        Value::json(text).unwrap_or_else(|| panic!("{text} is no value"))
    }

    fn remove(at: &str) -> Operation {
        Operation::Remove(path(at))
    }

    fn rename(at: &str, to: &str) -> Operation {
        Operation::Rename(path(at), to.to_owned())
    }

    fn replace(at: &str, value: &str) -> Operation {
        Operation::Replace(path(at), json(value))
    }

    fn add(at: &str, value: &str) -> Operation {
        Operation::Add(path(at), json(value))
    }

    fn append(at: &str, value: &str) -> Operation {
        Operation::Append(path(at), json(value))
    }

    fn apply(operations: Vec<Operation>, text: &str) -> Result<Option<String>, Malformed> {
        let program = Program::new(operations).expect("they are few");
        let edited = program.apply(text.as_bytes())?.map(|edited| String::from_utf8(edited.text()).unwrap());
        if let Some(edited) = &edited {
            assert_eq!(check(edited.as_bytes()), Ok(()), "{edited}");
        }
        Ok(edited)
    }

    #[track_caller]
    fn edits<const N: usize>(operations: [Operation; N], text: &str, want: &str) {
        let got = apply(operations.to_vec(), text);
        assert_eq!(got.as_ref().map(|edited| edited.as_deref()), Ok(Some(want)), "{operations:?} of {text}");
    }

    #[track_caller]
    fn leaves<const N: usize>(operations: [Operation; N], text: &str) {
        assert_eq!(apply(operations.to_vec(), text), Ok(None), "{operations:?} of {text}");
    }

    #[test]
    fn each_operation_is_of_members() {
        edits([remove("a")], r#"{"a":1,"b":2}"#, r#"{"b":2}"#);
        edits([remove("b")], r#"{"a":1,"b":2}"#, r#"{"a":1}"#);
        edits([remove("a")], r#"{"a":1}"#, "{}");
        edits([rename("a", "c")], r#"{"a":1,"b":2}"#, r#"{"c":1,"b":2}"#);
        edits([rename("a", "b")], r#"{"a":1,"b":2}"#, r#"{"b":1}"#);
        edits([rename("b", "a")], r#"{"a":1,"b":2}"#, r#"{"a":2}"#);
        edits([replace("a", "[9]")], r#"{"a":1,"b":2}"#, r#"{"a":[9],"b":2}"#);
        edits([add("c", "null")], r#"{"a":1}"#, r#"{"a":1,"c":null}"#);
        edits([add("c", "3")], "{}", r#"{"c":3}"#);
        edits([append("a", "9")], r#"{"a":1}"#, r#"{"a":[1,9]}"#);
        edits([append("a", "9")], r#"{"a":[1]}"#, r#"{"a":[1,9]}"#);
        edits([append("a", "9")], r#"{"a":[]}"#, r#"{"a":[9]}"#);
        edits([append("a", "9")], r#"{"a":{"a":2}}"#, r#"{"a":[{"a":2},9]}"#);
        edits([append("a", "9")], "{}", r#"{"a":[9]}"#);
    }

    #[test]
    fn a_path_that_leads_nowhere_changes_nothing() {
        let text = r#"{"a":1,"b":{"c":[1]}}"#;
        leaves([remove("x"), remove("a.x"), remove("b.x"), remove("b.c[1]"), remove("[0]"), remove("b[*]")], text);
        leaves([rename("x", "a"), rename("a", "a"), replace("x", "1"), replace("a.b", "1")], text);
        leaves([add("a", "9"), add("x.y", "9"), add("a.y", "9"), append("x.y", "9"), append("b.c[1]", "9")], text);
        for text in ["1", "\"a\"", "null", "[]", "{}", "[{}]"] {
            leaves([remove("a"), rename("a", "b"), replace("a.b", "1"), add("a.b", "1"), remove("[*].a")], text);
        }
    }

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        let text = r#"{"u":[{"n":1,"p":2},{"p":3},4],"t":{"n":{"p":5}}}"#;
        edits([remove("u[*].p")], text, r#"{"u":[{"n":1},{},4],"t":{"n":{"p":5}}}"#);
        edits([remove("u[0]")], text, r#"{"u":[{"p":3},4],"t":{"n":{"p":5}}}"#);
        edits([remove("u[*]")], text, r#"{"u":[],"t":{"n":{"p":5}}}"#);
        edits([replace("t.n.p", "6")], text, r#"{"u":[{"n":1,"p":2},{"p":3},4],"t":{"n":{"p":6}}}"#);
        edits([replace("u[*]", "0")], text, r#"{"u":[0,0,0],"t":{"n":{"p":5}}}"#);
        edits([add("u[*].n", "7")], text, r#"{"u":[{"n":1,"p":2},{"p":3,"n":7},4],"t":{"n":{"p":5}}}"#);
        edits([append("u[2]", "8")], text, r#"{"u":[{"n":1,"p":2},{"p":3},[4,8]],"t":{"n":{"p":5}}}"#);
        edits([rename("u[*].p", "q")], text, r#"{"u":[{"n":1,"q":2},{"q":3},4],"t":{"n":{"p":5}}}"#);
        edits([replace("[*].a", "2")], r#"[{"a":1},{"b":1}]"#, r#"[{"a":2},{"b":1}]"#);
        edits([replace("[1][0]", "2")], "[1,[1,1]]", "[1,[2,1]]");
    }

    #[test]
    fn operations_see_what_those_before_them_did() {
        edits(
            [remove("a"), rename("b", "a"), replace("a", "5"), add("b", "6"), append("b", "7")],
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"a":5,"c":3,"b":[6,7]}"#,
        );
        edits([rename("a", "b"), remove("b.x")], r#"{"a":{"x":1,"y":2}}"#, r#"{"b":{"y":2}}"#);
        edits([add("a", "{}"), add("a.b", "1")], "{}", r#"{"a":{"b":1}}"#);
    }

    #[test]
    fn what_is_not_edited_keeps_its_bytes() {
        let others = r#""n" : 12345678901234567890.10e-5 ,"z":-0.0, "s":"\u00e9\/" , "o" : { "b":1 , "a" : [ 1,2 ] }"#;
        let text = format!(" {{ {others} , \"x\" : 1,\"y\":1E400 , \"y\":2 }}\n");
        edits([replace("x", "2")], &text, &format!("{{{others},\"x\":2,\"y\":1E400 , \"y\":2}}"));
        edits([remove("x")], &text, &format!("{{{others},\"y\":1E400 , \"y\":2}}"));
        edits([replace("o.a[1]", "3")], &text, &{
            let edited = others.replace(r#"{ "b":1 , "a" : [ 1,2 ] }"#, r#"{"b":1,"a":[1,3]}"#);
            format!("{{{},\"x\" : 1,\"y\":1E400 , \"y\":2}}", edited.replace(" , \"o\" : ", ",\"o\":"))
        });
    }

    #[test]
    fn an_escaped_name_is_found_and_a_repeated_one_refused() {
        edits([remove("role")], r#"{"\u0072ole":"admin","a":1}"#, r#"{"a":1}"#);
        edits([rename("a", "b\"c")], r#"{"\u0061":1}"#, r#"{"b\"c":1}"#);
        for text in [r#"{"role":1,"role":2}"#, r#"{"role":1,"a":0,"r\u006fle":2}"#] {
            assert_eq!(apply(vec![remove("role")], text), Err(Malformed::Repeated), "{text}");
        }
        let text = r#"{"x":{"role":1,"role":2}}"#;
        leaves([remove("role")], text);
        assert_eq!(apply(vec![remove("x.role")], text), Err(Malformed::Repeated));
    }

    #[test]
    fn a_text_has_bounds() {
        let long = format!("{{\"a\":[{}0]}}", "0,".repeat(ELEMENTS_MAX));
        assert_eq!(apply(vec![replace("a[*]", "1")], &long), Err(Malformed::TooMany));
        assert!(apply(vec![replace("a", "1")], &long).is_ok_and(|edited| edited.is_some()));
        assert_eq!(apply(vec![remove("a")], "{\"a\":"), Err(Malformed::NotJson));
        assert_eq!(apply(vec![remove("a")], &"[".repeat(100)), Err(Malformed::TooDeep));
        assert_eq!(Program::new(vec![remove("a"); OPERATIONS_MAX + 1]), None);
    }
}

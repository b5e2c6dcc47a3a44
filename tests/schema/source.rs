//! The types of the model as their source text shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every type of the sources that is read from a file, by its name; several have the same one.
pub struct Sources {
    files: Vec<File>,
}

pub struct File {
    /// As in `src/config/model.rs`.
    pub name: String,
    text: String,
    types: BTreeMap<String, Type>,
}

#[derive(Debug)]
pub struct Type {
    pub comment: String,
    attributes: String,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Struct(Vec<Member>),
    Enum(Vec<Member>),
    Alias(String),
}

/// A field, or a variant, whose `kind` is what it holds: nothing, if that is empty.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub kind: String,
    pub comment: String,
    attributes: String,
}

impl Sources {
    pub fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        collect(root, &root.join("src"), &mut files);
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self { files }
    }

    pub fn file(&self, name: &str) -> &File {
        self.files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name} is gone"))
    }

    /// The type that `name` means in `file`, and the file that it is in: the file's own, or the only one there is.
    pub fn find<'a>(&'a self, file: &'a File, name: &str) -> Option<(&'a File, &'a Type)> {
        if let Some(own) = file.types.get(name) {
            return Some((file, own));
        }
        let mut others = self.files.iter().filter_map(|other| Some((other, other.types.get(name)?)));
        let found = others.next()?;
        assert!(others.next().is_none(), "{}: which {name} is meant?", file.name);
        Some(found)
    }

    /// Whether the type is read from one word, by what the file itself says or, if it says nothing, another one.
    pub fn is_word(&self, file: &File, name: &str) -> bool {
        let is_word = |body: &str| body.contains("parsed(") || body.contains("deserialize_str(");
        file.reading(name).or_else(|| self.files.iter().find_map(|file| file.reading(name))).is_some_and(is_word)
    }

    /// The number that an expression of constants is in `file`.
    pub fn number(&self, file: &File, expression: &str) -> u64 {
        let expression = expression.trim().trim_start_matches('{').trim_end_matches('}').trim();
        if let Some((value, _)) = expression.rsplit_once(" as ") {
            return self.number(file, value);
        }
        if let Some((value, bits)) = expression.split_once("<<") {
            return self.number(file, value) << self.number(file, bits);
        }
        if let Ok(number) = expression.replace('_', "").parse() {
            return number;
        }
        let (path, name) = expression.rsplit_once("::").unwrap_or(("", expression));
        match (path, name) {
            ("u16", "MAX") => u16::MAX.into(),
            ("u32", "MAX") => u32::MAX.into(),
            _ => {
                let (file, value) = self.constant(file, name);
                self.number(file, value)
            }
        }
    }

    /// The file's own, or the only one there is.
    fn constant<'a>(&'a self, file: &'a File, name: &str) -> (&'a File, &'a str) {
        let begin = format!("const {name}: ");
        let value = |file: &'a File| {
            let is_it = |line: &&str| line.trim().trim_start_matches("pub ").starts_with(&begin);
            let (_, value) = file.text.lines().find(is_it)?.rsplit_once(" = ")?;
            Some((file, value.trim_end_matches(';')))
        };
        value(file).unwrap_or_else(|| {
            let mut all = self.files.iter().filter_map(value);
            let found = all.next().unwrap_or_else(|| panic!("the constant {name} is gone"));
            assert!(all.next().is_none(), "{}: which {name} is meant?", file.name);
            found
        })
    }
}

impl File {
    /// How a type is read that is read by hand.
    pub fn reading(&self, name: &str) -> Option<&str> {
        let begins = [' ', '<'].map(|after| format!("Deserialize<'de> for {name}{after}"));
        let at = begins.iter().find_map(|begin| self.text.find(begin))?;
        self.text[at..].split("\n}\n").next()
    }
}

impl Type {
    /// A word of its `#[serde(...)]`.
    pub fn has(&self, word: &str) -> bool {
        words(&self.attributes).any(|(name, _)| name == word)
    }

    /// A name of Rust's as the file has it.
    pub fn renamed(&self, member: &Member) -> String {
        if let Some((_, Some(name))) = words(&member.attributes).find(|(name, _)| *name == "rename") {
            return name.to_owned();
        }
        match words(&self.attributes).find(|(name, _)| *name == "rename_all") {
            Some((_, Some("snake_case"))) => snake(&member.name),
            Some((_, Some("UPPERCASE"))) => member.name.to_uppercase(),
            Some((_, how)) => panic!("rename_all = {how:?}"),
            None => member.name.clone(),
        }
    }
}

impl Member {
    pub fn has(&self, word: &str) -> bool {
        words(&self.attributes).any(|(name, _)| name == word)
    }

    /// It is read by the function of that name.
    pub fn is_read_by(&self, function: &str) -> bool {
        words(&self.attributes).any(|word| word == ("deserialize_with", Some(function)))
    }
}

/// `CamelCase` in snake case.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (place, letter) in name.char_indices() {
        if letter.is_uppercase() && place > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Each word within `#[serde(...)]`, and what is said of it.
fn words(attributes: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let inside = attributes.split("#[serde(").skip(1).filter_map(|rest| rest.split(")]").next());
    inside.flat_map(|words| words.split(", ")).map(|word| match word.split_once(" = ") {
        Some((name, value)) => (name, Some(value.trim_matches('"'))),
        None => (word, None),
    })
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            let types = types(&text);
            files.push(File { name, text, types });
        }
    }
}

/// The public types of a file that can be read.
fn types(text: &str) -> BTreeMap<String, Type> {
    let lines: Vec<&str> = text.lines().collect();
    let mut types = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("pub ") else { continue };
        let Some((kind, rest)) = rest.split_once(' ') else { continue };
        let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        let (comment, attributes) = above(&lines[..at]);
        let is_read = attributes.contains("Deserialize");
        let what = match kind {
            "type" => What::Alias(rest.split_once(" = ").map_or("", |(_, of)| of.trim_end_matches(';')).to_owned()),
            "struct" if is_read && rest.ends_with('{') => What::Struct(members(&lines, at)),
            "enum" if is_read => What::Enum(members(&lines, at)),
            _ => continue,
        };
        types.insert(name, Type { comment, attributes, what });
    }
    types
}

/// The fields or variants of the type that begins there.
fn members(lines: &[&str], at: usize) -> Vec<Member> {
    let end = at + lines[at..].iter().position(|line| *line == "}").expect("a type ends");
    let mut members = Vec::new();
    for (place, line) in lines.iter().enumerate().take(end).skip(at + 1) {
        let Some(line) = line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '/', '#'])) else { continue };
        let line = line.trim_end_matches(',').trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let (name, kind) =
            line.split_once(": ").or_else(|| line.trim_end_matches(')').split_once('(')).unwrap_or((line, ""));
        let (comment, attributes) = above(&lines[..place]);
        members.push(Member { name: name.to_owned(), kind: kind.to_owned(), comment, attributes });
    }
    members
}

/// The comment and the attributes that end at the last of these lines, each as one line.
fn above(lines: &[&str]) -> (String, String) {
    let (mut comment, mut attributes) = (Vec::new(), Vec::new());
    for line in lines.iter().rev().map(|line| line.trim()) {
        match line.strip_prefix("///") {
            Some(words) => comment.push(words.trim()),
            None if line.starts_with("#[") => attributes.push(line),
            None => break,
        }
    }
    comment.reverse();
    (comment.join(" "), attributes.concat())
}

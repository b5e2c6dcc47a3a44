//! The schema, made of the types of the model.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use shardgate::policy::Kind;
use shardgate::runtime::options::SHARDS_MAX;

use super::source::{File, Member, Sources, Type, What};

/// Of a whole file.
pub fn schema(root: &Path) -> Value {
    let render = Render { sources: Sources::read(root), definitions: RefCell::default() };
    let model = render.sources.file("src/config/model.rs");
    let mut schema = render.of_type(model, "Model");
    let definitions = render.definitions.take();
    let whole = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition");
    schema = definitions[whole].clone();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = "urn:shardgate:schema:1".into();
    schema["title"] = "A configuration of Shardgate".into();
    schema["$defs"] = definitions.into_iter().filter(|(name, _)| name != "model.Model").collect();
    schema
}

struct Render {
    sources: Sources,
    definitions: RefCell<BTreeMap<String, Value>>,
}

impl Render {
    /// `kind` as it stands in `file`.
    fn of_type(&self, file: &File, kind: &str) -> Value {
        let kind = kind.trim();
        let (outer, inner) = match kind.split_once('<') {
            Some((outer, inner)) => (outer, inner.strip_suffix('>').expect("it ends")),
            None => (kind, ""),
        };
        match outer {
            "Option" => or_null(self.of_type(file, inner)),
            "Spanned" | "Box" => self.of_type(file, inner),
            "Vec" if inner.starts_with('(') => self.of_map(file, inner.trim_matches(['(', ')'])),
            "Vec" => json!({ "type": "array", "items": self.of_type(file, inner) }),
            "BTreeMap" => self.of_map(file, inner),
            "Bounded" => {
                let (min, max) = inner.split_once(", ").expect("two bounds");
                let [min, max] = [min, max].map(|bound| self.sources.number(file, bound));
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            "String" => json!({ "type": "string" }),
            "bool" => json!({ "type": "boolean" }),
            "u64" | "usize" => json!({ "type": "integer", "minimum": 0 }),
            "u32" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            "policy::Config" => self.of_policies(),
            "policy::Kind" => json!({ "enum": Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>() }),
            _ => self.of_name(file, outer),
        }
    }

    /// A map as the file has it: `inner` is its key and its value.
    fn of_map(&self, file: &File, inner: &str) -> Value {
        let (key, value) = inner.split_once(", ").expect("a key and a value");
        let mut map = json!({ "type": "object", "additionalProperties": self.of_type(file, value) });
        let key = self.of_type(file, key);
        if key != json!({ "type": "string" }) {
            map["propertyNames"] = key;
        }
        map
    }

    fn of_name(&self, file: &File, path: &str) -> Value {
        let name = path.rsplit("::").next().expect("a name");
        let file = match path.rsplit_once("::") {
            Some((policy, _)) => self.policy(policy),
            None => file,
        };
        if let Some(by_hand) = by_hand(name) {
            return by_hand;
        }
        let found = self.sources.find(file, name).filter(|_| file.reading(name).is_none());
        let Some((file, found)) = found else {
            assert!(self.sources.is_word(file, name), "{}: say in `by_hand` how {name} is written", file.name);
            return json!({ "type": "string" });
        };
        if let What::Alias(kind) = &found.what {
            return self.of_type(file, kind);
        }
        let definition = format!("{}.{name}", module(&file.name));
        if !self.definitions.borrow().contains_key(&definition) {
            // Before what is in it: a type may hold itself.
            self.definitions.borrow_mut().insert(definition.clone(), Value::Null);
            let mut schema = match &found.what {
                What::Struct(fields) => self.of_struct(file, found, fields),
                What::Enum(variants) => self.of_enum(file, found, variants),
                What::Alias(_) => unreachable!("it has been followed"),
            };
            if !found.comment.is_empty() {
                schema["description"] = found.comment.as_str().into();
            }
            self.definitions.borrow_mut().insert(definition.clone(), schema);
        }
        json!({ "$ref": format!("#/$defs/{definition}") })
    }

    fn of_struct(&self, file: &File, whole: &Type, fields: &[Member]) -> Value {
        let mut properties = BTreeMap::new();
        let mut required = Vec::new();
        for field in fields.iter().filter(|field| !field.has("skip")) {
            let kind = field.kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>'));
            let kind = kind.filter(|_| field.is_read_by("not_null")).unwrap_or(&field.kind);
            let mut schema = self.of_type(file, kind);
            if !field.comment.is_empty() {
                schema["description"] = field.comment.as_str().into();
            }
            if let Some(default) = default(&field.comment, &field.kind) {
                schema["default"] = default;
            }
            let name = whole.renamed(field);
            if !field.kind.starts_with("Option<") && !field.has("default") && !whole.has("default") {
                required.push(name.clone());
            }
            properties.insert(name, schema);
        }
        assert!(whole.has("deny_unknown_fields"), "{}: a struct takes keys that nobody reads", file.name);
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    /// Words, or objects with one key.
    fn of_enum(&self, file: &File, whole: &Type, variants: &[Member]) -> Value {
        let words = variants.iter().filter(|variant| variant.kind.is_empty());
        let words: Vec<String> = words.map(|variant| whole.renamed(variant)).collect();
        let objects = variants.iter().filter(|variant| !variant.kind.is_empty());
        let objects: BTreeMap<String, Value> =
            objects.map(|variant| (whole.renamed(variant), self.of_type(file, &variant.kind))).collect();
        match (words.is_empty(), objects.is_empty()) {
            (_, true) => json!({ "enum": words }),
            (true, false) => one_of(objects),
            (false, false) => json!({ "anyOf": [{ "enum": words }, one_of(objects)] }),
        }
    }

    fn of_policies(&self) -> Value {
        let definition = "policies.Policy".to_owned();
        if !self.definitions.borrow().contains_key(&definition) {
            self.definitions.borrow_mut().insert(definition.clone(), Value::Null);
            let config = |kind: &Kind| (kind.name().to_owned(), self.of_type(self.policy(kind.name()), "Config"));
            let schema = one_of(Kind::ALL.iter().map(config).collect());
            self.definitions.borrow_mut().insert(definition.clone(), schema);
        }
        json!({ "$ref": format!("#/$defs/{definition}") })
    }

    /// The file with the configuration of a policy.
    fn policy(&self, name: &str) -> &File {
        let name = name.rsplit("::").next().expect("a name");
        let (one, folder) = (format!("src/policy/{name}.rs"), format!("src/policy/{name}/config.rs"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        self.sources.file(if root.join(&one).exists() { &one } else { &folder })
    }
}

/// Those that are written in more than one form.
fn by_hand(name: &str) -> Option<Value> {
    Some(match name {
        "Path" => {
            let word = json!({ "type": "string" });
            let forms = ["prefix", "exact", "regex"].map(|form| (form.to_owned(), word.clone()));
            json!({ "anyOf": [word, one_of(forms.into())] })
        }
        "Shards" => {
            json!({ "anyOf": [{ "enum": ["auto"] }, { "type": "integer", "minimum": 1, "maximum": SHARDS_MAX }] })
        }
        "Percent" => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
        "Audiences" | "ClaimPath" => {
            let word = json!({ "type": "string" });
            json!({ "anyOf": [word, { "type": "array", "items": word }] })
        }
        _ => return None,
    })
}

/// An object with one of these keys.
fn one_of(keys: BTreeMap<String, Value>) -> Value {
    json!({
        "type": "object", "properties": keys, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
    })
}

fn or_null(mut schema: Value) -> Value {
    match schema.get("type").and_then(Value::as_str).map(str::to_owned) {
        Some(name) => {
            schema["type"] = json!([name, "null"]);
            schema
        }
        None => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// `Default: 100.` of a comment, if that is a number, true, false, or a word of the file.
fn default(comment: &str, kind: &str) -> Option<Value> {
    let (_, rest) = comment.rsplit_once("Default: ")?;
    let word = rest.split([' ', ',', ';']).next()?.trim_end_matches('.');
    match word.strip_prefix('`').and_then(|word| word.strip_suffix('`')) {
        Some(word) if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => Some(word.into()),
        Some(_) => None,
        None => match serde_json::from_str(word).ok()? {
            Value::Bool(value) if kind.contains("bool") => Some(value.into()),
            Value::Number(number) if !kind.contains("bool") => Some(Value::Number(number)),
            _ => None,
        },
    }
}

/// `src/policy/cors.rs` as `cors`, `src/policy/jwt/config.rs` as `jwt`.
fn module(file: &str) -> &str {
    let name = file.trim_end_matches(".rs").trim_end_matches("/config").trim_end_matches("/mod");
    name.rsplit('/').next().expect("a name")
}

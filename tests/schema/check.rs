//! As much of JSON Schema as ours uses: a file is held against it. A keyword that is not known here fails the test.

use serde_json::{Map, Value};

/// Everything that is wrong with a value, each with where.
pub fn check(schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    Check { root: schema, wrong: &mut wrong }.check(schema, value, "");
    wrong
}

/// The names that an object at a place may have, in order.
pub fn properties(schema: &Value, place: &str) -> Vec<String> {
    let found = at(schema, place);
    found.get("properties").and_then(Value::as_object).map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

/// What the schema says of a place, as in `/services/0/name`, with what it refers to.
pub fn at(schema: &Value, place: &str) -> Value {
    place.split('/').filter(|step| !step.is_empty()).fold(resolved(schema, schema), |found, step| {
        let inner = match step.parse::<usize>() {
            Ok(_) => found.get("items"),
            Err(_) => found.get("properties").and_then(|all| all.get(step)),
        };
        resolved(schema, inner.unwrap_or_else(|| panic!("{place}: no {step} in {found}")))
    })
}

/// With what it refers to laid beneath it; of a choice, the part that is an object or a list.
fn resolved(root: &Value, schema: &Value) -> Value {
    let own = schema.as_object().expect("a schema is an object");
    let mut all = Map::new();
    for part in own.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        let part = resolved(root, part);
        if part.get("properties").is_some() || part.get("items").is_some() || part.get("enum").is_some() {
            all.extend(part.as_object().expect("resolved").clone());
        }
    }
    if let Some(name) = own.get("$ref").and_then(Value::as_str) {
        all.extend(resolved(root, definition(root, name)).as_object().expect("resolved").clone());
    }
    all.extend(own.clone());
    Value::Object(all)
}

fn definition<'a>(root: &'a Value, reference: &str) -> &'a Value {
    let name = reference.strip_prefix("#/$defs/").expect("a reference into the schema");
    root["$defs"].get(name).unwrap_or_else(|| panic!("{reference} is not defined"))
}

struct Check<'a> {
    root: &'a Value,
    wrong: &'a mut Vec<String>,
}

impl Check<'_> {
    fn check(&mut self, schema: &Value, value: &Value, place: &str) {
        for (keyword, expected) in schema.as_object().expect("a schema is an object") {
            let fault = match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" | "default" => None,
                "$ref" => {
                    let definition = definition(self.root, expected.as_str().expect("a reference"));
                    self.check(definition, value, place);
                    None
                }
                "type" => (!is_of_type(expected, value)).then(|| format!("not {expected}")),
                "enum" => (!expected.as_array().expect("a list").contains(value)).then(|| format!("not {expected}")),
                "minimum" => (value.as_f64() < expected.as_f64().filter(|_| value.is_number()))
                    .then(|| format!("less than {expected}")),
                "maximum" => (value.as_f64() > expected.as_f64()).then(|| format!("more than {expected}")),
                "maxProperties" => (keys(value).count() > 1).then(|| format!("more than {expected} key")),
                "minProperties" => (keys(value).count() < 1).then(|| format!("less than {expected} key")),
                "required" => {
                    let missing = expected.as_array().expect("a list").iter().filter_map(Value::as_str);
                    let missing = missing.filter(|name| value.is_object() && value.get(*name).is_none());
                    self.wrong.extend(missing.map(|name| format!("{}: no `{name}`", shown(place))));
                    None
                }
                "items" => {
                    let items = value.as_array().into_iter().flatten().enumerate();
                    items.for_each(|(index, item)| self.check(expected, item, &format!("{place}/{index}")));
                    None
                }
                "properties" | "additionalProperties" => {
                    self.members(schema, value, place, keyword);
                    None
                }
                "propertyNames" => {
                    keys(value).for_each(|name| self.check(expected, &name.clone().into(), place));
                    None
                }
                "anyOf" => self.any_of(expected, value, place),
                unknown => panic!("{place}: the schema has `{unknown}`"),
            };
            self.wrong.extend(fault.map(|fault| format!("{}: {fault}", shown(place))));
        }
    }

    fn members(&mut self, schema: &Value, value: &Value, place: &str, keyword: &str) {
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, member) in value.as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            match (known.and_then(|known| known.get(name)), keyword, &schema[keyword]) {
                (Some(schema), "properties", _) => self.check(schema, member, &place),
                (None, "additionalProperties", Value::Bool(false)) => {
                    let (before, _) = place.rsplit_once('/').expect("it has a name");
                    self.wrong.push(format!("{}: `{name}` is not known", shown(before)));
                }
                (None, "additionalProperties", schema) => self.check(schema, member, &place),
                _ => {}
            }
        }
    }

    /// What is wrong with the alternative that is nearest, or that none is near.
    fn any_of(&mut self, schemas: &Value, value: &Value, place: &str) -> Option<String> {
        let mut faults = schemas.as_array().expect("a list").iter().map(|schema| {
            let mut wrong = Vec::new();
            Check { root: self.root, wrong: &mut wrong }.check(schema, value, place);
            wrong
        });
        let here = format!("{}: not ", shown(place));
        let first = faults.by_ref().collect::<Vec<_>>();
        if first.iter().any(Vec::is_empty) {
            return None;
        }
        let near = first.iter().find(|wrong| !wrong.iter().any(|line| line.starts_with(&here)));
        self.wrong.extend(near.into_iter().flatten().cloned());
        near.is_none().then(|| "not one of the choices".to_owned())
    }
}

fn is_of_type(expected: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        other => panic!("the type {other:?}"),
    };
    match expected {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

fn keys(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(Map::keys)
}

fn shown(place: &str) -> &str {
    if place.is_empty() { "/" } else { place }
}

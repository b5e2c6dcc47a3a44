//! JSON from strangers: bounded in depth, and refused when an object names a member twice, which two parsers would read
//! in two ways (RFC 8725 §2.4, RFC 7519 §4).

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// One object, and nothing but white space after it.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: DEPTH_MAX }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// A value in which so many more may be nested.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let (inner, mut values) = (self.deeper()?, Vec::new());
        while let Some(value) = elements.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (inner, mut map) = (self.deeper()?, Map::new());
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(map.into())
    }
}

/// Objects and arrays within one another.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, is_read: bool) {
        assert_eq!(object(text.as_bytes()).is_some(), is_read, "{text}");
    }

    #[test]
    fn one_object_is_read() {
        check(r#"{"a":[1,-1,1.5,true,null,"x",{"b":{}}]} "#, true);
        check("{}", true);
        for text in ["", "{", "[]", "\"a\"", "{}{}", "{},", "{\"a\":01}", "{\"a\":\"\u{1}\"}", "{'a':1}", "{\"a\":1,}"]
        {
            check(text, false);
        }
    }

    #[test]
    fn a_member_that_is_named_twice_is_refused_at_any_depth_and_in_any_spelling() {
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":2}"#, false);
        check(r#"{"x":[{"a":1,"b":2,"a":3}]}"#, false);
        check(r#"{"a":1,"A":2,"x":{"a":3}}"#, true);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        check(&nested(DEPTH_MAX), true);
        check(&nested(DEPTH_MAX + 1), false);
        check(&nested(100_000), false);
    }

    #[test]
    fn text_that_is_not_unicode_is_refused() {
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        check(r#"{"a":"\ud800"}"#, false);
    }
}

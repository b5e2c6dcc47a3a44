//! Values of a configuration that are read from one word of it, and say what would fit when the word does not.

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads a word by `read`; `expected` completes the sentence "write ...".
pub fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Visit { expected, read })
}

struct Visit<'a, F> {
    expected: &'a str,
    read: F,
}

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Visit<'_, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let expected = self.expected;
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug)]
    struct Even(u32);

    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            parsed(deserializer, "an even number", |text| text.parse().ok().filter(|n| n % 2 == 0).map(Self))
        }
    }

    #[test]
    fn a_word_that_does_not_fit_says_what_would() {
        assert_eq!(serde_saphyr::from_str::<Even>("12").unwrap().0, 12);
        let refused = serde_saphyr::from_str::<Even>("13").unwrap_err().to_string();
        assert!(refused.contains("string \"13\", expected an even number"), "{refused}");
    }
}

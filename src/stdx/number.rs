//! Numbers whose bounds are part of their type, so that a file which is read is in range.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

/// A time in milliseconds, at most a day: longer is a mistake in the unit.
pub type Millis = Bounded<1, 86_400_000>;
/// A count of something that the gateway holds.
pub type Count = Bounded<1, { u32::MAX as u64 }>;
/// A size of something that the gateway holds, at most 1 TiB.
pub type Bytes = Bounded<0, { 1 << 40 }>;

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Millis {
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `any`, because only then does the visitor see what was written instead of a number, and can say so.
        deserializer.deserialize_any(Visit::<MIN, MAX>).map(Self)
    }
}

struct Visit<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Visit<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        if (MIN..=MAX).contains(&number) {
            Ok(number)
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<u64, &str>) {
        match (serde_saphyr::from_str::<Bounded<2, 10>>(text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got.get(), want, "{text}"),
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{text}: {got}"),
            (got, want) => panic!("{text}: {got:?}, expected {want:?}"),
        }
    }

    #[test]
    fn only_whole_numbers_in_range_are_read() {
        check("2", Ok(2));
        check("10", Ok(10));
        check("1", Err("integer `1`, expected a whole number from 2 to 10"));
        check("11", Err("integer `11`, expected a whole number from 2 to 10"));
        check("-1", Err("integer `-1`, expected a whole number from 2 to 10"));
        check("2.5", Err("floating point `2.5`, expected a whole number from 2 to 10"));
        check("10s", Err("string \"10s\", expected a whole number from 2 to 10"));
        check("yes", Err("expected a whole number from 2 to 10"));
        check("[2]", Err("expected a whole number from 2 to 10"));
    }
}

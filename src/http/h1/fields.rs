//! The field lines (RFC 9112 §5): into the table, with what they say about framing and connection.

use super::reader::{Reader, Stop};
use super::refusal;
use super::signals::Signals;
use crate::http::error::HeadError;
use crate::http::field::{Field, FieldTable, Known, Span, is_an_alias};
use crate::http::head::{FIELDS_MAX, HeadLimits, Underscores};

/// What holds for the fields of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldRules {
    fields_max: usize,
    underscores: Underscores,
    /// Names go on that some programs take for others.
    aliases: bool,
}

impl FieldRules {
    pub(super) fn of_request(limits: &HeadLimits) -> Self {
        Self { aliases: false, underscores: limits.underscores, ..Self::of_response(limits) }
    }

    /// What an upstream sends is its own to say.
    pub(super) fn of_response(limits: &HeadLimits) -> Self {
        Self { fields_max: limits.fields_max.min(FIELDS_MAX), underscores: Underscores::Allow, aliases: true }
    }

    /// Whether a field goes on whose name has an underscore.
    fn keeps(self, name: &[u8]) -> bool {
        self.underscores == Underscores::Allow && (self.aliases || !is_an_alias(name))
    }
}

/// Reads all field lines of the head `bytes` and the empty line after them. The reader comes and goes by value, which
/// keeps it in registers.
pub(super) fn read<'a>(
    mut reader: Reader<'a>,
    bytes: &[u8],
    table: &mut FieldTable,
    signals: &mut Signals,
    rules: FieldRules,
) -> Result<Reader<'a>, Stop> {
    table.clear();
    let mut lines_left = rules.fields_max;
    loop {
        if let [b'\r', b'\n', rest @ ..] = reader.rest {
            return Ok(Reader { rest });
        }
        let (name, has_underscore) = reader.token();
        match reader.rest {
            [b':', rest @ ..] if !name.is_empty() => reader.rest = rest,
            rest => return Err(refusal::name(name, rest)),
        }
        if lines_left == 0 {
            return Err(Stop::Refused(HeadError::TooManyFields));
        }
        lines_left -= 1;
        let (value, is_plain) = reader.value()?;
        // No known name has an underscore.
        if has_underscore && !rules.keeps(name) {
            continue;
        }
        let known = Known::of(name);
        let (name, value_span) = (Span::within(bytes, name), Span::within(bytes, value));
        table.push(Field { name, value: value_span, known, is_plain });
        if Signals::are_in(known) {
            signals.read_field(table, known, value, bytes)?;
        }
    }
}

//! The field lines (RFC 9112 §5): into the table, with what they say about framing and connection.

use super::reader::{Line, Reader, Stop};
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
        let line = match reader.plain_line() {
            Some(line) => line,
            None => match any_line(reader, rules, lines_left)? {
                (Some(line), behind) => {
                    reader = behind;
                    line
                }
                (None, behind) => return Ok(behind),
            },
        };
        if lines_left == 0 {
            return Err(Stop::Refused(HeadError::TooManyFields));
        }
        lines_left -= 1;
        if line.is_dropped {
            continue;
        }
        let known = Known::of(line.name);
        let (name, value) = (Span::within(bytes, line.name), Span::within(bytes, line.value));
        table.push(Field { name, value, known, is_plain: line.is_plain });
        if Signals::are_in(known) {
            signals.read_field(table, known, line.value, bytes)?;
        }
    }
}

/// A line however it is written, or none where an empty one ends the head, and what is behind it.
#[inline(never)]
fn any_line(
    mut reader: Reader<'_>,
    rules: FieldRules,
    lines_left: usize,
) -> Result<(Option<Line<'_>>, Reader<'_>), Stop> {
    if let [b'\r', b'\n', rest @ ..] = reader.rest {
        return Ok((None, Reader { rest }));
    }
    let (name, has_underscore) = reader.token();
    match reader.rest {
        [b':', rest @ ..] if !name.is_empty() => reader.rest = rest,
        rest => return Err(refusal::name(name, rest)),
    }
    if lines_left == 0 {
        return Err(Stop::Refused(HeadError::TooManyFields));
    }
    let (value, is_plain) = reader.value()?;
    // No known name has an underscore.
    let is_dropped = has_underscore && !rules.keeps(name);
    Ok((Some(Line { name, value, is_plain, is_dropped }), reader))
}

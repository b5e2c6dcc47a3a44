//! What policies change of one head, noted until it is written.

use super::name::Marks;
use super::{FieldName, Fields};
use crate::http::field::Field;
use crate::http::head::FIELDS_MAX;

/// Memory for the edits of one head after another: it grows to what the largest needed, within bounds.
#[derive(Debug, Default)]
pub struct Edits {
    /// A bit for each field of the head that does not go on.
    dropped: [u64; WORDS],
    /// By how long their names are, those that do; and those of one length with another of them.
    lengths: u64,
    lengths_again: u64,
    /// What goes on behind them, as it is written: bytes that a policy gives are copied here, and from here to the
    /// wire.
    lines: Vec<u8>,
    /// By their marks, the names in there.
    names: u64,
    /// The query, if it was edited; empty for none.
    pub(super) query: Option<Vec<u8>>,
    pub(super) query_spare: Vec<u8>,
    /// More was asked for than there is room for.
    pub(super) overflowed: bool,
    /// A policy has set fields or taken them away, be it that there were none.
    pub(super) edited: bool,
}

/// One of the lines: where it begins, where its name, its value and itself end.
struct Line {
    start: usize,
    name_end: usize,
    value_end: usize,
    end: usize,
}

impl Edits {
    /// Forgets the head before. Fields of the next one for which `stays_behind` is true are not there for policies:
    /// they would not go on either.
    #[inline]
    pub fn begin(&mut self, fields: Fields<'_>, stays_behind: impl Fn(&Field) -> bool) {
        self.dropped = [0; WORDS];
        self.lines.clear();
        self.names = 0;
        if let Some(query) = self.query.take() {
            self.query_spare = query;
        }
        (self.overflowed, self.edited) = (false, false);
        let (mut lengths, mut again) = (0, 0);
        let mut note = |length: u64| {
            let bit = Marks::of_length(length);
            again |= lengths & bit;
            lengths |= bit;
        };
        match fields {
            Fields::Read(fields, _) => {
                for (index, field) in fields.iter().enumerate() {
                    if stays_behind(field) {
                        self.drop_field(index);
                    } else {
                        note(field.name.len.into());
                    }
                }
            }
            Fields::Own(fields) => fields.iter().for_each(|(name, _)| note(name.len() as u64)),
        }
        (self.lengths, self.lengths_again) = (lengths, again);
    }

    /// Whether the field of this index does not go on.
    #[inline]
    pub fn drops(&self, index: usize) -> bool {
        self.dropped[index / BITS] >> (index % BITS) & 1 == 1
    }

    /// What is to be written behind the fields of the head.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The same, taken apart into names and values.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let next = |start| Line::at(&self.lines, start);
        let lines = std::iter::successors(next(0), move |line| next(line.end));
        lines.map(|line| (line.name(&self.lines), line.value(&self.lines)))
    }

    /// The query in place of the head's; the inner `None` is none at all.
    pub fn query(&self) -> Option<Option<&[u8]>> {
        self.query.as_ref().map(|query| Some(query.as_slice()).filter(|query| !query.is_empty()))
    }

    /// The head must not go on: some of its edits found no room.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// What comes behind the body must not bring back what was changed before it.
    pub fn edited(&self) -> bool {
        self.edited
    }

    /// How much longer than the head the edited one can be.
    pub fn bytes_more(&self) -> usize {
        self.lines.len() + self.query.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn drop_field(&mut self, index: usize) {
        self.dropped[index / BITS] |= 1 << (index % BITS);
    }

    /// Adds what `write` writes, which are whole lines, whose names have these marks.
    #[inline]
    pub(super) fn write(&mut self, marks: Marks, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.lines.len();
        write(&mut self.lines);
        self.names |= marks.names;
        if self.lines.len() > TEXT_BYTES_MAX {
            self.lines.truncate(before);
            self.overflowed = true;
        }
    }

    /// Whether fields of the head may go on that have a name with these marks.
    #[inline]
    pub(super) fn may_have(&self, marks: Marks) -> bool {
        self.lengths & marks.lengths != 0
    }

    /// Whether there may be another one beside the first.
    #[inline]
    pub(super) fn may_have_more(&self, marks: Marks) -> bool {
        self.lengths_again & marks.lengths != 0
    }

    /// Whether there may be lines with such a name.
    #[inline]
    pub(super) fn may_have_added(&self, marks: Marks) -> bool {
        self.names & marks.names != 0
    }

    /// The next value of that name at or behind this place in the lines, and the place behind it.
    #[inline]
    pub(super) fn find_added(&self, start: usize, name: &FieldName) -> Option<(&[u8], usize)> {
        if !self.may_have_added(name.marks()) {
            return None;
        }
        let line = self.find_line(start, name)?;
        Some((line.value(&self.lines), line.end))
    }

    #[cold]
    fn find_line(&self, start: usize, name: &FieldName) -> Option<Line> {
        let next = |start| Line::at(&self.lines, start);
        std::iter::successors(next(start), |line| next(line.end)).find(|line| name.is(line.name(&self.lines)))
    }

    /// Takes away lines by name.
    #[inline]
    pub(super) fn remove_added(&mut self, name: &FieldName) {
        if self.may_have_added(name.marks()) {
            self.remove_lines(name);
        }
    }

    #[cold]
    fn remove_lines(&mut self, name: &FieldName) {
        let mut at = 0;
        while let Some(line) = self.find_line(at, name) {
            self.lines.drain(line.start..line.end);
            at = line.start;
        }
    }

    /// Gives lines of one name another.
    pub(super) fn rename_added(&mut self, from: &FieldName, to: &FieldName) {
        let mut at = 0;
        while let Some(line) = self.find_line(at, from) {
            self.lines.splice(line.start..line.name_end, to.text().bytes()).for_each(drop);
            at = line.end - (line.name_end - line.start) + to.text().len();
            self.names |= to.marks().names;
        }
        self.overflowed |= self.lines.len() > TEXT_BYTES_MAX;
    }
}

impl Line {
    /// The line that begins there. Neither has a name a colon nor a value a line end.
    fn at(lines: &[u8], start: usize) -> Option<Self> {
        let end = start + memchr::memchr(LINE_END[1], &lines[start..])? + 1;
        let name_end = start + memchr::memchr(SEPARATOR[0], &lines[start..end])?;
        Some(Self { start, name_end, value_end: end - LINE_END.len(), end })
    }

    fn name<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        &lines[self.start..self.name_end]
    }

    fn value<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        &lines[self.name_end + SEPARATOR.len()..self.value_end]
    }
}

/// The lines that policies may add to one head; also an edited query.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = FIELDS_MAX.div_ceil(BITS);
pub(super) const SEPARATOR: &[u8; 2] = b": ";
pub(super) const LINE_END: &[u8; 2] = b"\r\n";

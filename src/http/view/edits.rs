//! What policies change of one head, noted until it is written.

use super::Fields;
use super::name::{Mark, Marks};
use crate::http::head::FIELDS_MAX;

/// Memory for the edits of one head after another: it grows to what the largest needed, within bounds.
#[derive(Debug, Default)]
pub struct Edits {
    /// A bit for each field of the head that does not go on.
    dropped: [u64; WORDS],
    added: Vec<Added>,
    /// The lines of `added`, as they are written; room for more behind them.
    text: Vec<u8>,
    text_len: usize,
    /// Nothing else is in the text.
    is_whole: bool,
    /// The marks of all names, those of the head too: most that are asked for are not there.
    pub(super) marks: Marks,
    /// The query, if it was edited; empty for none.
    pub(super) query: Option<Vec<u8>>,
    pub(super) query_spare: Vec<u8>,
    /// More was asked for than there is room for.
    pub(super) overflowed: bool,
    /// A policy has set fields or taken them away, be it that there were none.
    pub(super) edited: bool,
}

/// A field behind those of the head: where its line and its value lie in the text.
#[derive(Clone, Copy, Debug)]
struct Added {
    start: u32,
    value_start: u32,
    end: u32,
}

impl Edits {
    /// Forgets the head before. Fields of the next one for which `stays_behind` is true are not there for policies:
    /// they would not go on either.
    pub fn begin(&mut self, fields: Fields<'_>, mut stays_behind: impl FnMut(usize) -> bool) {
        self.dropped = [0; WORDS];
        self.added.clear();
        (self.text_len, self.is_whole, self.marks) = (0, true, Marks::default());
        if let Some(query) = self.query.take() {
            self.query_spare = query;
        }
        (self.overflowed, self.edited) = (false, false);
        for index in 0..fields.len() {
            if stays_behind(index) {
                self.drop_field(index);
            } else {
                self.marks.insert(Mark::of(fields.name(index)));
            }
        }
    }

    /// Whether the field of this index does not go on.
    pub fn drops(&self, index: usize) -> bool {
        self.dropped[index / BITS] >> (index % BITS) & 1 == 1
    }

    /// The fields behind those of the head.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.added.iter().map(|added| added.of(&self.text))
    }

    /// One of them by its place.
    pub(super) fn added_at(&self, place: usize) -> Option<(&[u8], &[u8])> {
        self.added.get(place).map(|added| added.of(&self.text))
    }

    /// The same as lines, each or several at once.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let (whole, lines) =
            if self.is_whole { (Some(&self.text[..self.text_len]), &[][..]) } else { (None, &self.added[..]) };
        whole.into_iter().chain(lines.iter().map(|added| &self.text[added.start as usize..added.end as usize]))
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
        self.text_len + self.query.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn drop_field(&mut self, index: usize) {
        self.dropped[index / BITS] |= 1 << (index % BITS);
    }

    pub(super) fn add(&mut self, name: &[u8], mark: Mark, value: &[u8]) {
        let line_len = name.len() + SEPARATOR.len() + value.len() + LINE_END.len();
        if self.added.len() == EDITS_MAX || self.text_len + line_len > TEXT_BYTES_MAX {
            self.overflowed = true;
            return;
        }
        let added = self.place(name.len(), value.len());
        let (to_name, rest) = self.text[added.start as usize..self.text_len].split_at_mut(name.len());
        let (to_separator, rest) = rest.split_at_mut(SEPARATOR.len());
        let (to_value, to_end) = rest.split_at_mut(value.len());
        to_name.copy_from_slice(name);
        to_separator.copy_from_slice(SEPARATOR);
        to_value.copy_from_slice(value);
        to_end.copy_from_slice(LINE_END);
        self.added.push(added);
        self.marks.insert(mark);
    }

    /// Removes added fields by name.
    pub(super) fn remove_added(&mut self, name_len: usize, is_it: impl Fn(&[u8]) -> bool) {
        let Self { added, text, is_whole, .. } = self;
        let is_it = |added: &Added| added.name_len() == name_len && is_it(added.of(text).0);
        if added.iter().any(is_it) {
            added.retain(|added| !is_it(added));
            *is_whole = false;
        }
    }

    /// Gives added fields of one name another.
    pub(super) fn rename_added(&mut self, is_it: impl Fn(&[u8]) -> bool, name: &[u8]) {
        for index in 0..self.added.len() {
            let (own, value) = self.added[index].of(&self.text);
            if is_it(own) {
                let (from, value_len) = (self.added[index].value_start as usize, value.len());
                let added = self.place(name.len(), value_len);
                let (start, to) = (added.start as usize, added.value_start as usize);
                self.text[start..][..name.len()].copy_from_slice(name);
                self.text[to - SEPARATOR.len()..to].copy_from_slice(SEPARATOR);
                self.text.copy_within(from..from + value_len + LINE_END.len(), to);
                self.added[index] = added;
                self.marks.insert(Mark::of(name));
                self.is_whole = false;
                self.overflowed |= self.text_len > TEXT_BYTES_MAX;
            }
        }
    }

    /// A place for a line at the end of the text.
    #[inline(always)]
    fn place(&mut self, name_len: usize, value_len: usize) -> Added {
        let start = self.text_len;
        let value_start = start + name_len + SEPARATOR.len();
        let end = value_start + value_len + LINE_END.len();
        if self.text.len() < end {
            self.grow(end);
        }
        self.text_len = end;
        Added { start: start as u32, value_start: value_start as u32, end: end as u32 }
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.text.resize(end.next_power_of_two().max(TEXT_BYTES_USUAL), 0);
    }
}

impl Added {
    fn name_len(self) -> usize {
        (self.value_start - self.start) as usize - SEPARATOR.len()
    }

    /// Name and value.
    fn of(self, text: &[u8]) -> (&[u8], &[u8]) {
        let (start, value_start, end) = (self.start as usize, self.value_start as usize, self.end as usize);
        (&text[start..value_start - SEPARATOR.len()], &text[value_start..end - LINE_END.len()])
    }
}

/// Fields that policies may add to one head.
pub const EDITS_MAX: usize = 64;
/// Their lines; also an edited query.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = FIELDS_MAX.div_ceil(BITS);
/// What a few lines take.
const TEXT_BYTES_USUAL: usize = 1 << 10;
const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

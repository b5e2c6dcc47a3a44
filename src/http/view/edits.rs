//! What policies change of one head, noted until it is written.

use crate::http::head::FIELDS_MAX;

/// Memory for the edits of one head after another: it grows to what the largest needed, within bounds.
#[derive(Debug, Default)]
pub struct Edits {
    /// A bit for each field of the head that does not go on.
    dropped: [u64; WORDS],
    added: Vec<Added>,
    /// The names and values of `added`.
    text: Vec<u8>,
    /// The query, if it was edited; empty for none.
    pub(super) query: Option<Vec<u8>>,
    pub(super) query_spare: Vec<u8>,
    /// More was asked for than there is room for.
    pub(super) overflowed: bool,
    /// A policy has set fields or taken them away, be it that there were none.
    pub(super) edited: bool,
}

/// A field behind those of the head: where its name and its value lie in the text.
#[derive(Clone, Copy, Debug)]
struct Added {
    start: u32,
    value_start: u32,
    end: u32,
}

impl Edits {
    /// Forgets the head before. Fields of the next one for which `stays_behind` is true are not there for policies:
    /// they would not go on either.
    pub fn begin(&mut self, fields: usize, mut stays_behind: impl FnMut(usize) -> bool) {
        self.dropped = [0; WORDS];
        self.added.clear();
        self.text.clear();
        if let Some(query) = self.query.take() {
            self.query_spare = query;
        }
        (self.overflowed, self.edited) = (false, false);
        for index in 0..fields {
            if stays_behind(index) {
                self.drop_field(index);
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
        self.text.len() + LINE_BYTES_MORE * self.added.len() + self.query.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn drop_field(&mut self, index: usize) {
        self.dropped[index / BITS] |= 1 << (index % BITS);
    }

    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        self.keep(start, name.len());
    }

    /// Removes added fields by name.
    pub(super) fn remove_added(&mut self, is_it: impl Fn(&[u8]) -> bool) {
        let Self { added, text, .. } = self;
        added.retain(|added| !is_it(added.of(text).0));
    }

    /// Gives added fields of one name another.
    pub(super) fn rename_added(&mut self, is_it: impl Fn(&[u8]) -> bool, name: &[u8]) {
        // Those that the loop adds have the new name and need no second one.
        for index in 0..self.added.len() {
            let Added { start, value_start, end } = self.added[index];
            if is_it(&self.text[start as usize..value_start as usize]) {
                let renamed = self.text.len();
                self.text.extend_from_slice(name);
                self.text.extend_from_within(value_start as usize..end as usize);
                let value_start = renamed + name.len();
                self.added[index] = Added { start: renamed as u32, value_start: value_start as u32, end: self.end() };
                self.overflowed |= self.text.len() > TEXT_BYTES_MAX;
            }
        }
    }

    fn keep(&mut self, start: usize, name_len: usize) {
        if self.added.len() == EDITS_MAX || self.text.len() > TEXT_BYTES_MAX {
            self.text.truncate(start);
            self.overflowed = true;
            return;
        }
        self.added.push(Added { start: start as u32, value_start: (start + name_len) as u32, end: self.end() });
    }

    fn end(&self) -> u32 {
        self.text.len() as u32
    }
}

impl Added {
    fn of(self, text: &[u8]) -> (&[u8], &[u8]) {
        let Self { start, value_start, end } = self;
        (&text[start as usize..value_start as usize], &text[value_start as usize..end as usize])
    }
}

/// Fields that policies may add to one head.
pub const EDITS_MAX: usize = 64;
/// Their names and values; also an edited query.
pub const TEXT_BYTES_MAX: usize = 16 << 10;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = FIELDS_MAX.div_ceil(BITS);
/// A colon, a space and a line's end.
const LINE_BYTES_MORE: usize = 4;

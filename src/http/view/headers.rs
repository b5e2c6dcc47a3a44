//! The fields of a head, read and edited.

use super::{Edits, FieldName};
use crate::http::field::Field;

/// The fields that the edits are of.
#[derive(Clone, Copy)]
pub enum Fields<'a> {
    /// Of a head that was read, and the bytes that they point into.
    Read(&'a [Field], &'a [u8]),
    /// Of a head that the gateway is about to write.
    Own(&'a [(&'a [u8], &'a [u8])]),
}

/// Every lookup sees all lines of a name: which of several a reader would take is not for a gateway to guess.
pub struct Headers<'a> {
    fields: Fields<'a>,
    pub(super) edits: &'a mut Edits,
}

impl<'a> Fields<'a> {
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(self) -> usize {
        match self {
            Self::Read(fields, _) => fields.len(),
            Self::Own(fields) => fields.len(),
        }
    }

    pub(super) fn name(self, index: usize) -> &'a [u8] {
        match self {
            Self::Read(fields, bytes) => fields[index].name.of(bytes),
            Self::Own(fields) => fields[index].0,
        }
    }

    #[inline(always)]
    fn is(self, index: usize, name: &FieldName) -> bool {
        name.is(self.name(index))
    }

    /// The first one from there on that has this name.
    #[inline]
    fn find(self, from: usize, name: &FieldName) -> Option<usize> {
        let len = name.text().len();
        let mut from = from;
        loop {
            let place = match self {
                Self::Read(fields, _) => {
                    fields.get(from..)?.iter().position(|field| usize::from(field.name.len) == len)
                }
                Self::Own(fields) => fields.get(from..)?.iter().position(|(name, _)| name.len() == len),
            };
            let found = from + place?;
            if self.is(found, name) {
                return Some(found);
            }
            from = found + 1;
        }
    }

    fn value(self, index: usize) -> &'a [u8] {
        match self {
            Self::Read(fields, bytes) => fields[index].value.of(bytes),
            Self::Own(fields) => fields[index].1,
        }
    }
}

impl<'a> Headers<'a> {
    /// The edits must have begun with these fields.
    pub fn new(fields: Fields<'a>, edits: &'a mut Edits) -> Self {
        Self { fields, edits }
    }

    /// The value of each line of that name.
    pub fn values<'b>(&'b self, name: &'b FieldName) -> impl Iterator<Item = &'b [u8]> {
        let (fields, edits) = (self.fields, &*self.edits);
        let (mut at, mut added) = if self.may_have(name) { (0, 0) } else { (usize::MAX, usize::MAX) };
        std::iter::from_fn(move || {
            while let Some(found) = fields.find(at, name) {
                at = found + 1;
                if !edits.drops(found) {
                    return Some(fields.value(found));
                }
            }
            at = usize::MAX;
            while let Some((other, value)) = edits.added_at(added) {
                added += 1;
                if name.is(other) {
                    return Some(value);
                }
            }
            None
        })
    }

    /// Whether one of the names may be this one.
    #[inline]
    fn may_have(&self, name: &FieldName) -> bool {
        self.edits.marks.contains(name.mark())
    }

    pub fn has(&self, name: &FieldName) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of the only line of that name; of several, none is the right one.
    pub fn only<'b>(&'b self, name: &'b FieldName) -> Option<&'b [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    pub fn remove(&mut self, name: &FieldName) {
        self.edits.edited = true;
        if !self.may_have(name) {
            return;
        }
        self.remove_sent(name);
        self.edits.remove_added(name.text().len(), |other| name.is(other));
    }

    /// Takes away what was sent under that name, and leaves what was set since.
    pub fn remove_sent(&mut self, name: &FieldName) {
        self.edits.edited = true;
        let mut at = 0;
        while let Some(found) = self.fields.find(at, name) {
            self.edits.drop_field(found);
            at = found + 1;
        }
    }

    /// The header has this value and no other.
    pub fn set(&mut self, name: &FieldName, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// One more line.
    pub fn add(&mut self, name: &FieldName, value: &[u8]) {
        self.edits.edited = true;
        self.edits.add(name.text().as_bytes(), name.mark(), value);
    }

    /// Gives every line of one name another, which they then share with no line that had it before.
    pub fn rename(&mut self, from: &FieldName, to: &FieldName) {
        self.edits.edited = true;
        if !self.has(from) {
            return;
        }
        if !from.is(to.text().as_bytes()) {
            self.remove(to);
        }
        self.edits.rename_added(|other| from.is(other), to.text().as_bytes());
        for index in 0..self.fields.len() {
            if self.fields.is(index, from) && !self.edits.drops(index) {
                self.edits.drop_field(index);
                self.edits.add(to.text().as_bytes(), to.mark(), self.fields.value(index));
            }
        }
    }
}

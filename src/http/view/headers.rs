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

    fn get(self, index: usize) -> (&'a [u8], &'a [u8]) {
        match self {
            Self::Read(fields, bytes) => (fields[index].name.of(bytes), fields[index].value.of(bytes)),
            Self::Own(fields) => fields[index],
        }
    }
}

impl<'a> Headers<'a> {
    pub fn new(fields: Fields<'a>, edits: &'a mut Edits) -> Self {
        Self { fields, edits }
    }

    /// The value of each line of that name.
    pub fn values<'b>(&'b self, name: &'b FieldName) -> impl Iterator<Item = &'b [u8]> {
        let (fields, edits) = (self.fields, &*self.edits);
        let own = (0..fields.len()).filter(|index| !edits.drops(*index)).map(move |index| fields.get(index));
        own.chain(edits.added()).filter(|(other, _)| name.is(other)).map(|(_, value)| value)
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
        for index in 0..self.fields.len() {
            if name.is(self.fields.get(index).0) {
                self.edits.drop_field(index);
            }
        }
        self.edits.remove_added(|other| name.is(other));
    }

    /// The header has this value and no other.
    pub fn set(&mut self, name: &FieldName, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// One more line.
    pub fn add(&mut self, name: &FieldName, value: &[u8]) {
        self.edits.edited = true;
        self.edits.add(name.text().as_bytes(), value);
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
            let (name, value) = self.fields.get(index);
            if from.is(name) && !self.edits.drops(index) {
                self.edits.drop_field(index);
                self.edits.add(to.text().as_bytes(), value);
            }
        }
    }
}

//! The fields of a head, read and edited.

use super::edits::{LINE_END, SEPARATOR};
use super::{Edits, FieldName, FieldNames};
use crate::http::field::{Field, is_an_identitys};

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
        let (mut at, mut line) = (0, 0);
        std::iter::from_fn(move || {
            if let Some(found) = self.find(at, name) {
                at = found + 1;
                return Some(self.fields.value(found));
            }
            at = usize::MAX;
            let (value, end) = self.edits.find_added(line, name)?;
            line = end;
            Some(value)
        })
    }

    /// The first field of the head from there on that has this name and goes on.
    #[inline]
    fn find(&self, from: usize, name: &FieldName) -> Option<usize> {
        let marks = name.marks();
        let may_have = if from == 0 { self.edits.may_have(marks) } else { self.edits.may_have_more(marks) };
        if may_have { self.find_field(from, name) } else { None }
    }

    fn find_field(&self, from: usize, name: &FieldName) -> Option<usize> {
        let (len, edits) = (name.text().len(), &*self.edits);
        match self.fields {
            Fields::Read(fields, bytes) => {
                let mut fields = fields.get(from..)?.iter().zip(from..);
                let is_it = |field: &Field| usize::from(field.name.len) == len && name.is(field.name.of(bytes));
                fields.find(|(field, place)| is_it(field) && !edits.drops(*place)).map(|(_, place)| place)
            }
            Fields::Own(fields) => {
                let mut fields = fields.get(from..)?.iter().zip(from..);
                fields.find(|((other, _), place)| name.is(other) && !edits.drops(*place)).map(|(_, place)| place)
            }
        }
    }

    pub fn has(&self, name: &FieldName) -> bool {
        self.find(0, name).is_some() || self.edits.find_added(0, name).is_some()
    }

    /// The value of the only line of that name; of several, none is the right one.
    pub fn only<'b>(&'b self, name: &'b FieldName) -> Option<&'b [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    #[inline]
    pub fn remove(&mut self, name: &FieldName) {
        self.remove_sent(name);
        self.edits.remove_added(name);
    }

    /// Takes away what was sent under that name, and leaves what was set since.
    #[inline]
    pub fn remove_sent(&mut self, name: &FieldName) {
        self.edits.edited = true;
        let mut at = 0;
        while let Some(found) = self.find(at, name) {
            self.edits.drop_field(found);
            at = found + 1;
        }
    }

    /// Takes away what was sent under all names that say who asks, and leaves what was set since. It is no edit: no
    /// trailer brings it back.
    pub fn remove_sent_identity(&mut self) {
        let Fields::Read(fields, bytes) = self.fields else { return };
        for (index, field) in fields.iter().enumerate() {
            if is_an_identitys(field.name.of(bytes)) {
                self.edits.drop_field(index);
            }
        }
    }

    /// The header has this value and no other.
    pub fn set(&mut self, name: &FieldName, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Several headers have the values that `write` gives them, in whole lines, and no others.
    #[inline]
    pub fn set_lines(&mut self, names: &FieldNames, write: impl FnOnce(&mut Vec<u8>)) {
        if self.edits.may_have(names.marks()) || self.edits.may_have_added(names.marks()) {
            names.iter().for_each(|name| self.remove(name));
        }
        self.add_lines(names, write);
    }

    /// More lines of these names. Of no names nothing is written, and nothing is edited.
    #[inline]
    pub fn add_lines(&mut self, names: &FieldNames, write: impl FnOnce(&mut Vec<u8>)) {
        if names.is_empty() {
            return;
        }
        self.edits.edited = true;
        self.edits.write(names.marks(), write);
    }

    /// One more line.
    pub fn add(&mut self, name: &FieldName, value: &[u8]) {
        self.edits.edited = true;
        self.edits.write(name.marks(), |lines| {
            let name = name.text().as_bytes();
            lines.reserve(name.len() + SEPARATOR.len() + value.len() + LINE_END.len());
            lines.extend_from_slice(name);
            lines.extend_from_slice(SEPARATOR);
            lines.extend_from_slice(value);
            lines.extend_from_slice(LINE_END);
        });
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
        self.edits.rename_added(from, to);
        let mut at = 0;
        while let Some(found) = self.find(at, from) {
            self.edits.drop_field(found);
            self.add(to, self.fields.value(found));
            at = found + 1;
        }
    }
}

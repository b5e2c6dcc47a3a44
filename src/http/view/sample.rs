//! A request as a test writes it.

use super::{Edits, Fields, RequestView};
use crate::http::field::Field;
use crate::http::h1::Scan;
use crate::http::head::{HeadLimits, RequestHead, Underscores};

/// A request's head and its edits.
pub struct Sample {
    head: RequestHead,
    bytes: Vec<u8>,
    edits: Edits,
}

impl Sample {
    /// `text` is the head with lines that end in `\n`, the last one left out.
    #[track_caller]
    pub fn new(text: &str) -> Self {
        let bytes = format!("{text}\n\n").replace('\n', "\r\n").into_bytes();
        let mut head = RequestHead::new();
        let parsed = head.parse(&bytes, &LIMITS, &mut Scan::default());
        assert_eq!(parsed, Ok(Some(bytes.len())), "{text}");
        Self { head, bytes, edits: Edits::default() }
    }

    /// Forgets all edits. Of fields for which `stays_behind` is true policies hear nothing.
    pub fn begin(&mut self, stays_behind: impl Fn(&Field) -> bool) {
        self.edits.begin(Fields::Read(self.head.fields(), &self.bytes), stays_behind);
    }

    pub fn view(&mut self) -> RequestView<'_> {
        RequestView::new(&self.head, &self.bytes, &mut self.edits)
    }

    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// The fields that go on, each as a line.
    pub fn fields(&self) -> Vec<String> {
        let kept = self.head.fields().iter().enumerate().filter(|(index, _)| !self.edits.drops(*index));
        let kept = kept.map(|(_, field)| (field.name.of(&self.bytes), field.value.of(&self.bytes)));
        let text = |(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        kept.chain(self.edits.added()).map(text).collect()
    }
}

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 1 << 16,
    fields_max: 256,
    uri_bytes_max: 1 << 15,
    underscores: Underscores::Allow,
    merge_slashes: true,
};

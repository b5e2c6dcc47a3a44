//! Slots of the ledger: who owns which, and how one changes hands.
//!
//! ```text
//!            claim: word -> RESERVED (it was past)          publish: word -> a fresh one
//!   X's slot -----------------------------------> reserved ------------------------------> Y's slot
//!                                                 | tag -> Y, and look for another Y
//!                                                 +--- there is one: tag -> NOBODY, word -> free
//! ```
//!
//! A slot's word is what decides. Taking from it is a compare-and-swap, so whoever still takes it for X's fails once it
//! is reserved, and later too: a word's upper bits count the slot's owners. Two shards that bring the same key to two
//! slots at the same time both write their tag before they look for the other's, so one of them sees it, and withdraws.

use super::limit::Meter;
use crate::stdx::atomic::{AtomicU64, Ordering, fence};

/// A keyed hash of what is limited, and below it the limit's number: never `NOBODY`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tag(u64);

#[derive(Debug)]
pub struct Table {
    groups: Box<[Group]>,
}

/// The slots that a key may have: their tags in one line of the cache, their words in the next.
#[derive(Debug)]
#[repr(align(128))]
struct Group {
    tags: [AtomicU64; GROUP_SLOTS],
    words: [AtomicU64; GROUP_SLOTS],
}

/// A slot's word as it was read, its owner's number included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen(u64);

/// Where a key is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place(u32);

impl Tag {
    pub fn new(hash: u64, limit: u16) -> Self {
        debug_assert!(limit != 0, "limits are numbered from 1");
        Self(hash << LIMIT_BITS | u64::from(limit))
    }

    pub fn limit(self) -> u16 {
        self.0 as u16
    }

    /// Of the hash, 48 bits.
    pub fn hash(self) -> u64 {
        self.0 >> LIMIT_BITS
    }
}

impl Place {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Seen {
    /// What the limit's meter reads.
    pub fn word(self) -> u64 {
        self.0 & WORD_MASK
    }

    fn next_owner(self) -> u64 {
        (self.0 & !WORD_MASK).wrapping_add(WORD_MASK + 1)
    }

    pub fn is_same_owner(self, other: Self) -> bool {
        (self.0 ^ other.0) & !WORD_MASK == 0
    }
}

impl Table {
    /// `slots` is a power of two, of at least a group.
    pub fn new(slots: usize) -> Self {
        assert!(slots.is_power_of_two() && slots >= GROUP_SLOTS, "groups are found by masking a hash");
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { groups: (0..slots / GROUP_SLOTS).map(|_| Group { tags: zeros(), words: zeros() }).collect() }
    }

    /// The key's slot, if it has one.
    pub fn find(&self, tag: Tag) -> Option<Place> {
        let (group, first) = self.group(tag);
        let slot = group.tags.iter().position(|other| other.load(Ordering::Acquire) == tag.0)?;
        Some(Place(first + slot as u32))
    }

    /// Gives a key that has none a slot, whose word is then `fresh`. None if the group is crowded. `meter` is that of
    /// another tag's limit.
    pub fn claim(&self, tag: Tag, fresh: impl Fn() -> u64, meter: impl Fn(Tag) -> Option<Meter>) -> Option<Place> {
        for _ in 0..CLAIMS_MAX {
            if let Some(place) = self.find(tag) {
                return Some(place);
            }
            let (group, first) = self.group(tag);
            let (slot, last) = group.reserve(&meter)?;
            let publish = |word: u64| group.words[slot].store(last.next_owner() | word, Ordering::Release);
            group.tags[slot].store(tag.0, Ordering::Release);
            // Between here and the publication: who counted this key elsewhere did so before, or sees the tag.
            fence(Ordering::SeqCst);
            if group.has_other(tag, slot) {
                group.tags[slot].store(NOBODY, Ordering::Release);
                publish(0);
            } else {
                publish(fresh());
                return Some(Place(first + slot as u32));
            }
        }
        None
    }

    /// The slot's word; none while it changes hands, and once it is another's.
    pub fn load(&self, place: Place, tag: Tag) -> Option<Seen> {
        let (tags, words) = self.slot(place);
        let word = words.load(Ordering::Acquire);
        (word != RESERVED && tags.load(Ordering::Acquire) == tag.0).then_some(Seen(word))
    }

    /// Writes a word in place of the one seen; none if that is not there any more.
    pub fn exchange(&self, place: Place, from: Seen, word: u64) -> Option<Seen> {
        debug_assert!(word & !WORD_MASK == 0, "a word leaves the owner's number alone");
        let to = from.0 & !WORD_MASK | word;
        let words = self.slot(place).1;
        words.compare_exchange(from.0, to, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| Seen(to))
    }

    /// The place of this number, and who has it.
    pub fn place(&self, index: usize) -> Option<(Place, Tag)> {
        let place = Place(u32::try_from(index).ok()?);
        let tag = self.slot(place).0.load(Ordering::Acquire);
        (tag != NOBODY).then_some((place, Tag(tag)))
    }

    /// Every slot that has an owner.
    pub fn places(&self) -> impl Iterator<Item = (Place, Tag)> {
        (0..self.slots()).filter_map(|index| self.place(index))
    }

    pub fn slots(&self) -> usize {
        self.groups.len() * GROUP_SLOTS
    }

    fn group(&self, tag: Tag) -> (&Group, u32) {
        let index = tag.hash() as usize & (self.groups.len() - 1);
        (&self.groups[index], (index * GROUP_SLOTS) as u32)
    }

    fn slot(&self, place: Place) -> (&AtomicU64, &AtomicU64) {
        let group = &self.groups[place.0 as usize / GROUP_SLOTS];
        let slot = place.0 as usize % GROUP_SLOTS;
        (&group.tags[slot], &group.words[slot])
    }
}

impl Group {
    /// Reserves a slot that nobody has or needs.
    fn reserve(&self, meter: impl Fn(Tag) -> Option<Meter>) -> Option<(usize, Seen)> {
        for slot in 0..GROUP_SLOTS {
            let tag = self.tags[slot].load(Ordering::Acquire);
            let word = self.words[slot].load(Ordering::Acquire);
            let is_past = || meter(Tag(tag)).is_some_and(|meter| meter.is_past(Seen(word).word()));
            let is_free = word != RESERVED && (tag == NOBODY || is_past());
            let reserve = |from| self.words[slot].compare_exchange(from, RESERVED, Ordering::AcqRel, Ordering::Relaxed);
            if !is_free || reserve(word).is_err() {
                continue;
            }
            // Between tag and word it may have become another's, whose word means something else.
            if self.tags[slot].load(Ordering::Acquire) == tag {
                return Some((slot, Seen(word)));
            }
            self.words[slot].store(word, Ordering::Release);
        }
        None
    }

    fn has_other(&self, tag: Tag, own: usize) -> bool {
        (0..GROUP_SLOTS).any(|slot| slot != own && self.tags[slot].load(Ordering::Acquire) == tag.0)
    }
}

/// Slots that are looked at for a key.
pub const GROUP_SLOTS: usize = 8;

const LIMIT_BITS: u32 = 16;
/// Above it is the number of the slot's owner. Who took its word for an earlier owner's would have to sleep over 16.
const WORD_MASK: u64 = u64::MAX >> 4;
/// The tag of a slot that nobody has.
const NOBODY: u64 = 0;
/// The word of a slot that changes hands. No word in use is like it: not so much can be out on lease.
const RESERVED: u64 = u64::MAX;
/// Times that a shard withdraws because another brings the same key.
const CLAIMS_MAX: usize = 4;

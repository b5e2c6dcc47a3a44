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
//!
//! A key that found its group crowded is counted elsewhere, and the group is stamped with when it owes nothing more
//! there. Only who gets a slot before that may bring a debt with it.

use super::limit::Meter;
use crate::stdx::atomic::{AtomicU64, Ordering, fence};
use crate::stdx::time::Mono;
use std::mem::MaybeUninit;
use std::num::NonZeroU32;

/// A keyed hash of what is limited, and below it the limit's number: never `NOBODY`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tag(u64);

#[derive(Debug)]
pub struct Table {
    groups: Box<[Group]>,
    /// Until when keys of the group may owe what they were charged elsewhere, in nanoseconds; apart from the slots, as
    /// hardly anybody looks at it.
    crowded_until: Box<[AtomicU64]>,
}

/// The slots that a key may have, in two lines of the cache. Its hash says in which of them it is looked for first, so
/// that a key nearly always costs one line that is not near: as long as there is room it has its slot there.
#[derive(Debug)]
#[repr(align(128))]
pub struct Group {
    slots: [Slot; GROUP_SLOTS],
}

/// Whose it is, and what it says, side by side.
#[derive(Debug)]
struct Slot {
    tag: AtomicU64,
    word: AtomicU64,
}

/// What is done with the memory of groups before it is written to.
pub type Prepare = fn(&mut [MaybeUninit<Group>]);

/// A slot's word as it was read, its owner's number included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen(u64);

/// Where a key is counted: the slot's number, and one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place(NonZeroU32);

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

    /// The first slots of the two lines of its group, in the order in which they are looked at.
    fn lines(self) -> [usize; 2] {
        let first = (self.0 >> 63) as usize * LINE_SLOTS;
        [first, first ^ LINE_SLOTS]
    }

    /// In which order its group's slots are looked at.
    fn order(self) -> impl Iterator<Item = usize> {
        let [first, _] = self.lines();
        (0..GROUP_SLOTS).map(move |step| first ^ step)
    }
}

impl Place {
    fn new(index: usize) -> Option<Self> {
        NonZeroU32::new(u32::try_from(index).ok()?.checked_add(1)?).map(Self)
    }

    pub fn index(self) -> usize {
        self.0.get() as usize - 1
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
    pub fn new(slots: usize, prepare: Prepare) -> Self {
        assert!(slots.is_power_of_two() && slots >= GROUP_SLOTS, "groups are found by masking a hash");
        let free = |_| Slot { tag: AtomicU64::new(NOBODY), word: AtomicU64::new(0) };
        let count = slots / GROUP_SLOTS;
        let mut groups = Vec::with_capacity(count);
        prepare(groups.spare_capacity_mut());
        groups.extend((0..count).map(|_| Group { slots: std::array::from_fn(free) }));
        Self { groups: groups.into(), crowded_until: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A key of this group is counted elsewhere, and owes it until then. A fence is to follow.
    pub fn crowd(&self, tag: Tag, until: Mono) {
        self.crowded_until[self.index(tag)].fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    /// When no key of this group owes anything elsewhere any more.
    pub fn crowded_until(&self, tag: Tag) -> Mono {
        Mono::from_nanos(self.crowded_until[self.index(tag)].load(Ordering::Relaxed))
    }

    /// What is owed takes longer from now on: every stamp that is still ahead is what `later` makes of it.
    pub fn crowd_longer(&self, now: Mono, later: impl Fn(Mono) -> Mono) {
        // Who has stamped a group since the terms were changed knows of them, or is seen here.
        fence(Ordering::SeqCst);
        for stamp in &self.crowded_until {
            let _ = stamp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| {
                let until = Mono::from_nanos(until);
                (until > now).then(|| later(until).as_nanos())
            });
        }
    }

    /// The lines of the cache in which a key is looked for: that where it nearly always has its slot, and those
    /// read besides when it has none.
    pub fn lines(&self, tag: Tag) -> [&AtomicU64; 3] {
        let (group, _) = self.group(tag);
        let [first, other] = tag.lines().map(|line| &group.slots[line].tag);
        [first, other, &self.crowded_until[self.index(tag)]]
    }

    /// The key's slot, if it has one.
    #[inline]
    pub fn find(&self, tag: Tag) -> Option<Place> {
        let (group, first) = self.group(tag);
        let slot = tag.lines().into_iter().find_map(|line| group.find(line, tag))?;
        Place::new(first + slot)
    }

    /// Gives a key that has none a slot, whose word is then `fresh`. None if the group is crowded. `meter` is that of
    /// another tag's limit.
    pub fn claim(&self, tag: Tag, fresh: impl Fn() -> u64, meter: impl Fn(Tag) -> Option<Meter>) -> Option<Place> {
        for _ in 0..CLAIMS_MAX {
            if let Some(place) = self.find(tag) {
                return Some(place);
            }
            let (group, first) = self.group(tag);
            let (slot, last) = group.reserve(tag, &meter)?;
            let publish = |word: u64| group.slots[slot].word.store(last.next_owner() | word, Ordering::Release);
            group.slots[slot].tag.store(tag.0, Ordering::Release);
            // Between here and the publication: who counted this key elsewhere did so before, or sees the tag.
            fence(Ordering::SeqCst);
            if group.has_other(tag, slot) {
                group.slots[slot].tag.store(NOBODY, Ordering::Release);
                publish(0);
            } else {
                publish(fresh());
                return Place::new(first + slot);
            }
        }
        None
    }

    /// The slot's word; none while it changes hands, and once it is another's.
    pub fn load(&self, place: Place, tag: Tag) -> Option<Seen> {
        let slot = self.slot(place);
        let word = slot.word.load(Ordering::Acquire);
        (word != RESERVED && slot.tag.load(Ordering::Acquire) == tag.0).then_some(Seen(word))
    }

    /// Writes a word in place of the one seen; none if that is not there any more.
    pub fn exchange(&self, place: Place, from: Seen, word: u64) -> Option<Seen> {
        debug_assert!(word & !WORD_MASK == 0, "a word leaves the owner's number alone");
        let to = from.0 & !WORD_MASK | word;
        let word = &self.slot(place).word;
        word.compare_exchange(from.0, to, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| Seen(to))
    }

    /// The place of this number, and who has it.
    pub fn place(&self, index: usize) -> Option<(Place, Tag)> {
        let place = Place::new(index)?;
        let tag = self.slot(place).tag.load(Ordering::Acquire);
        (tag != NOBODY).then_some((place, Tag(tag)))
    }

    /// Every slot that has an owner.
    pub fn places(&self) -> impl Iterator<Item = (Place, Tag)> {
        (0..self.slots()).filter_map(|index| self.place(index))
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.groups) + size_of_val(&*self.crowded_until)
    }

    pub fn slots(&self) -> usize {
        self.groups.len() * GROUP_SLOTS
    }

    fn group(&self, tag: Tag) -> (&Group, usize) {
        let index = self.index(tag);
        (&self.groups[index], index * GROUP_SLOTS)
    }

    fn index(&self, tag: Tag) -> usize {
        tag.hash() as usize & (self.groups.len() - 1)
    }

    fn slot(&self, place: Place) -> &Slot {
        &self.groups[place.index() / GROUP_SLOTS].slots[place.index() % GROUP_SLOTS]
    }
}

impl Group {
    /// All slots of the line are looked at, whichever it is: which one cannot be foretold, and a wrong guess would wait
    /// for the line to come before the next request can be thought of.
    #[inline]
    fn find(&self, line: usize, tag: Tag) -> Option<usize> {
        let tags: [u64; LINE_SLOTS] = std::array::from_fn(|slot| self.slots[line + slot].tag.load(Ordering::Acquire));
        let nowhere = LINE_SLOTS;
        let found = (0..LINE_SLOTS).fold(nowhere, |found, slot| if tags[slot] == tag.0 { slot } else { found });
        (found != nowhere).then_some(line + found)
    }

    /// Reserves a slot that nobody has or needs.
    fn reserve(&self, wanted: Tag, meter: impl Fn(Tag) -> Option<Meter>) -> Option<(usize, Seen)> {
        for slot in wanted.order() {
            let tag = self.slots[slot].tag.load(Ordering::Acquire);
            let word = self.slots[slot].word.load(Ordering::Acquire);
            let is_past = || meter(Tag(tag)).is_some_and(|meter| meter.is_past(Seen(word).word()));
            let is_free = word != RESERVED && (tag == NOBODY || is_past());
            let of_slot = &self.slots[slot].word;
            let reserve = |from| of_slot.compare_exchange(from, RESERVED, Ordering::AcqRel, Ordering::Relaxed);
            if !is_free || reserve(word).is_err() {
                continue;
            }
            // Between tag and word it may have become another's, whose word means something else.
            if self.slots[slot].tag.load(Ordering::Acquire) == tag {
                return Some((slot, Seen(word)));
            }
            of_slot.store(word, Ordering::Release);
        }
        None
    }

    fn has_other(&self, tag: Tag, own: usize) -> bool {
        (0..GROUP_SLOTS).any(|slot| slot != own && self.slots[slot].tag.load(Ordering::Acquire) == tag.0)
    }
}

/// Slots that are looked at for a key.
pub const GROUP_SLOTS: usize = 8;
/// Of them, those in one line of the cache.
const LINE_SLOTS: usize = GROUP_SLOTS / 2;

const LIMIT_BITS: u32 = 16;
/// Above it is the number of the slot's owner. Who took its word for an earlier owner's would have to sleep over 16.
const WORD_MASK: u64 = u64::MAX >> 4;
/// The tag of a slot that nobody has.
const NOBODY: u64 = 0;
/// The word of a slot that changes hands. No word in use is like it: not so much can be out on lease.
const RESERVED: u64 = u64::MAX;
/// Times that a shard withdraws because another brings the same key.
const CLAIMS_MAX: usize = 4;

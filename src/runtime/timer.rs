//! Timers: one hierarchical wheel a shard.
//!
//! Entries are never removed. Whoever set one keeps the time it really wants, looks when the entry fires, and sets
//! another if that time has moved on. A deadline that moves with every request then costs nothing.

use super::op::Owner;
use crate::stdx::time::Mono;

/// Four levels of 64 slots; a slot of level n spans 64^n ms.
#[derive(Debug)]
pub struct Wheel {
    /// The tick, in ms, up to which everything has fired.
    elapsed: u64,
    levels: [Level; LEVELS],
    /// When the first occupied slot begins, so that a turn in which nothing fires looks at one number.
    next_at: Mono,
    /// Memory for the slot that is being emptied.
    firing: Vec<Entry>,
    len: usize,
}

/// A wish to be told at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    pub at: Mono,
    pub owner: Owner,
}

#[derive(Debug)]
struct Level {
    occupied: u64,
    slots: [Vec<Entry>; SLOTS],
}

impl Wheel {
    pub fn new(now: Mono) -> Self {
        let levels = std::array::from_fn(|_| Level {
            occupied: 0,
            slots: std::array::from_fn(|_| Vec::with_capacity(SLOT_ENTRIES)),
        });
        Self {
            elapsed: tick_before(now),
            levels,
            next_at: Mono::NEVER,
            firing: Vec::with_capacity(SLOT_ENTRIES),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fires at `at` or up to a millisecond later.
    pub fn insert(&mut self, entry: Entry) {
        self.put(entry);
        self.next_at = self.first_slot_at();
    }

    fn put(&mut self, entry: Entry) {
        let tick = tick_after(entry.at).clamp(self.elapsed + 1, self.elapsed + SPAN_TICKS);
        let level = level_of(self.elapsed, tick);
        let slot = slot_of(tick, level);
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].push(entry);
        self.len += 1;
    }

    /// When `expire` next has something to do; it may be earlier than the next entry.
    pub fn next(&self) -> Option<Mono> {
        (self.next_at < Mono::NEVER).then_some(self.next_at)
    }

    /// Appends to `fired` every entry whose time has come.
    pub fn expire(&mut self, now: Mono, fired: &mut Vec<Entry>) {
        if now < self.next_at {
            return;
        }
        let now_tick = tick_before(now);
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > now_tick {
                break;
            }
            self.elapsed = tick;
            self.levels[level].occupied &= !(1 << slot);
            let mut entries = std::mem::take(&mut self.firing);
            std::mem::swap(&mut entries, &mut self.levels[level].slots[slot]);
            self.len -= entries.len();
            for entry in entries.drain(..) {
                if level > 0 && tick_after(entry.at) > tick { self.put(entry) } else { fired.push(entry) }
            }
            // A burst of connections is not paid for ever.
            entries.shrink_to(SLOT_ENTRIES_KEPT);
            self.firing = entries;
        }
        self.elapsed = self.elapsed.max(now_tick);
        self.next_at = self.first_slot_at();
    }

    fn first_slot_at(&self) -> Mono {
        self.next_slot().map_or(Mono::NEVER, |(_, _, tick)| Mono::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// The earliest occupied slot: its level, its index and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        // A lower level lies wholly before the next slot of a higher one.
        (0..LEVELS).find_map(|level| {
            let occupied = self.levels[level].occupied;
            if occupied == 0 {
                return None;
            }
            let current = slot_of(self.elapsed, level);
            let ahead = occupied.rotate_right(current as u32).trailing_zeros() as usize;
            let slot = (current + ahead) % SLOTS;
            let width = 6 * level as u32;
            let lap = self.elapsed >> (width + 6) << (width + 6);
            let mut tick = lap + ((slot as u64) << width);
            if tick <= self.elapsed && slot < current {
                tick += 64 << width;
            }
            Some((level, slot, tick))
        })
    }
}

/// The level at which the two ticks first differ, so that every entry of a level fires within one lap of it.
fn level_of(elapsed: u64, tick: u64) -> usize {
    let differing = (elapsed ^ tick) | (SLOTS as u64 - 1);
    (((63 - differing.leading_zeros()) / 6) as usize).min(LEVELS - 1)
}

fn slot_of(tick: u64, level: usize) -> usize {
    (tick >> (6 * level)) as usize % SLOTS
}

fn tick_after(at: Mono) -> u64 {
    at.as_nanos().div_ceil(TICK_NANOS)
}

fn tick_before(at: Mono) -> u64 {
    at.as_nanos() / TICK_NANOS
}

const LEVELS: usize = 4;
const SLOTS: usize = 64;
/// What a slot holds before it grows: a few connections that became idle in the same millisecond.
const SLOT_ENTRIES: usize = 16;
/// What an emptied slot keeps at most, of 257.
const SLOT_ENTRIES_KEPT: usize = 128;
const TICK_NANOS: u64 = 1_000_000;
/// A little less than one lap of the highest level, so that an entry never lands in the slot that is current.
const SPAN_TICKS: u64 = 63 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::rng::Rng;
    use std::time::Duration;

    fn at(ms: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(ms)
    }

    fn fired(wheel: &mut Wheel, now_ms: u64) -> Vec<u64> {
        let mut entries = Vec::new();
        wheel.expire(at(now_ms), &mut entries);
        entries.iter().map(|entry| entry.at.as_nanos() / TICK_NANOS).collect()
    }

    fn insert(wheel: &mut Wheel, ms: u64) {
        wheel.insert(Entry { at: at(ms), owner: Owner::Token(ms) });
    }

    #[test]
    fn fires_in_time_and_once() {
        let mut wheel = Wheel::new(at(1000));
        for ms in [1005, 1070, 1005, 9_000, 400_000] {
            insert(&mut wheel, ms);
        }
        assert_eq!(fired(&mut wheel, 1004), [0; 0]);
        assert_eq!(fired(&mut wheel, 1005), [1005, 1005]);
        assert_eq!(fired(&mut wheel, 8_999), [1070]);
        assert_eq!(fired(&mut wheel, 9_000), [9_000]);
        assert_eq!(fired(&mut wheel, 399_999), [0; 0]);
        assert_eq!(fired(&mut wheel, 500_000), [400_000]);
        assert!(wheel.is_empty() && wheel.next().is_none());
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut wheel = Wheel::new(at(0));
        for ms in 0..400_000 {
            insert(&mut wheel, 1 + ms % 20_000);
        }
        assert_eq!(fired(&mut wheel, 20_000).len(), 400_000);
        let slots = wheel.levels.iter().flat_map(|level| &level.slots);
        assert!(slots.map(Vec::capacity).sum::<usize>() <= LEVELS * SLOTS * SLOT_ENTRIES_KEPT);
    }

    #[test]
    fn what_is_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(at(1000));
        insert(&mut wheel, 10);
        assert_eq!(wheel.next(), Some(at(1001)));
        assert_eq!(fired(&mut wheel, 1001), [10]);
    }

    #[test]
    fn next_never_sleeps_past_an_entry_and_every_entry_fires() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut now_ms = rng.below(1 << 30);
            let mut wheel = Wheel::new(at(now_ms));
            let mut waiting: Vec<u64> = Vec::new();
            for _ in 0..400 {
                let ahead_ms = 1 << rng.below(24);
                let ms = now_ms + rng.between(1, ahead_ms);
                insert(&mut wheel, ms);
                waiting.push(ms);
                let next_ms = wheel.next().unwrap().as_nanos() / TICK_NANOS;
                assert!(next_ms <= *waiting.iter().min().unwrap(), "seed {seed}: would sleep too long");
                now_ms = if rng.chance(500) { next_ms.max(now_ms) } else { now_ms + rng.below(5000) };
                let mut got = fired(&mut wheel, now_ms);
                let mut want: Vec<u64> = waiting.extract_if(.., |ms| *ms <= now_ms).collect();
                got.sort_unstable();
                want.sort_unstable();
                assert_eq!(got, want, "seed {seed}");
            }
            assert_eq!(wheel.len(), waiting.len());
        }
    }
}

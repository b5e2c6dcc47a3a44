//! How often a time was how long, to an eighth of itself: cells grow with what they hold, and any two add up.

use std::time::Duration;

/// From a microsecond to over a minute; what is shorter or longer counts as that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Histogram {
    cells: [u64; CELLS],
}

impl Histogram {
    pub fn record(&mut self, time: Duration) {
        self.cells[cell_of(time.as_micros().try_into().unwrap_or(u64::MAX))] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.cells.iter_mut().zip(&other.cells) {
            *to += from;
        }
    }

    /// Each cell that counts something: the longest time that belongs to it, in microseconds, and how many there were.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.cells.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(cell, count)| (most_us(cell), *count))
    }

    pub fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// All of them together, each taken for the longest of its cell, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.iter().map(|(most, count)| most * count).sum()
    }

    /// How many were `at_most_us` long or shorter, to the cell that it lies in.
    pub fn up_to(&self, at_most_us: u64) -> u64 {
        self.iter().take_while(|(most, _)| *most <= at_most_us).map(|(_, count)| count).sum()
    }

    /// The time that `share` of all were not longer than, in microseconds; 0 of none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (most, count) in self.iter() {
            seen += count;
            if seen >= wanted {
                return most;
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: [0; CELLS] }
    }
}

/// Below `STEPS` microseconds a cell each, then `STEPS` cells to every doubling.
fn cell_of(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let octave = micros.ilog2() - STEPS.ilog2();
    let cell = (u64::from(octave) * STEPS + (micros >> octave)) as usize;
    cell.min(CELLS - 1)
}

fn most_us(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < STEPS {
        return cell;
    }
    let octave = cell / STEPS - 1;
    ((cell - octave * STEPS + 1) << octave) - 1
}

/// Cells to a doubling.
const STEPS: u64 = 8;
/// Up to 2^27 microseconds, over two minutes.
const CELLS: usize = (STEPS * 25) as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_a_cell_that_is_an_eighth_of_it_wide() {
        let mut last = None;
        for micros in (0..100_000).chain((100_000..100_000_000).step_by(997)) {
            let cell = cell_of(micros);
            let least = if cell == 0 { 0 } else { most_us(cell - 1) + 1 };
            assert!((least..=most_us(cell)).contains(&micros), "{micros} in {cell}: {least} to {}", most_us(cell));
            assert!(most_us(cell) - least <= micros / 8, "{micros}");
            assert!(last <= Some(cell));
            last = Some(cell);
        }
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn what_years_bring_is_counted() {
        let mut sum = Histogram::default();
        sum.record(Duration::from_micros(5));
        for _ in 0..40 {
            let twice = sum.clone();
            sum.merge(&twice);
        }
        assert_eq!(sum.count(), 1 << 40);
    }

    #[test]
    fn two_add_up_and_quantiles_are_read_from_the_sum() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        (1..=90).for_each(|_| one.record(Duration::from_micros(5)));
        (1..=10).for_each(|_| other.record(Duration::from_millis(2)));
        one.merge(&other);
        assert_eq!((one.count(), one.up_to(5), one.up_to(1_000)), (100, 90, 90));
        assert_eq!((one.quantile_us(0.5), one.quantile_us(0.9)), (5, 5));
        assert!((1_900..2_300).contains(&one.quantile_us(0.91)));
        assert_eq!(Histogram::default().quantile_us(0.5), 0);
    }
}

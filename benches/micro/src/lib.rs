//! Times small things: medians of interleaved rounds, and user instructions where `perf` or `valgrind` can count them.
//!
//! A subject is a program in `src/bin` that hands its cases to a [`Suite`]. Rounds go through all cases, A B C A B C,
//! so that a busy machine is busy for each of them; of the rounds the median and the quartiles are printed.
//! Instructions are the slope between two numbers of repetitions, of which the smaller takes away what the program
//! costs besides: they repeat, times do not.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The cases of one subject.
pub struct Suite<'a> {
    cases: Vec<Case<'a>>,
}

struct Case<'a> {
    name: &'static str,
    /// Does it so many times.
    repeat: Box<dyn FnMut(u64) + 'a>,
    /// How many times take about [`ROUND`].
    count: u64,
    /// Nanoseconds for one, by round.
    rounds: Vec<f64>,
}

impl<'a> Suite<'a> {
    #[expect(clippy::new_without_default, reason = "a suite without cases is none")]
    pub fn new() -> Self {
        Self { cases: Vec::new() }
    }

    /// `body` is done once a repetition. It has to keep what it makes from being optimised away
    /// (`std::hint::black_box`).
    #[must_use]
    pub fn case(mut self, name: &'static str, mut body: impl FnMut() + 'a) -> Self {
        let repeat = Box::new(move |count| (0..count).for_each(|_| body()));
        self.cases.push(Case { name, repeat, count: 1, rounds: Vec::new() });
        self
    }

    /// Measures all cases and prints a line for each. With `--repeat CASE COUNT` it only does that, for who counts.
    pub fn main(mut self) -> ExitCode {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if let [flag, name, count] = words.as_slice()
            && flag == "--repeat"
        {
            let case = self.cases.iter_mut().find(|case| case.name == name);
            let (Some(case), Ok(count)) = (case, count.parse()) else { return ExitCode::from(2) };
            (case.repeat)(count);
            return ExitCode::SUCCESS;
        }
        if !words.is_empty() {
            eprintln!("usage: without arguments, or --repeat CASE COUNT");
            return ExitCode::from(2);
        }
        self.cases.iter_mut().for_each(Case::calibrate);
        for _ in 0..ROUNDS {
            self.cases.iter_mut().for_each(Case::round);
        }
        println!("{:<44} {:>10} {:>22} {:>14}", "", "ns", "quartiles", "instructions");
        for case in &mut self.cases {
            let [low, median, high] = quartiles(&mut case.rounds);
            let instructions = case.instructions().map_or("-".to_owned(), |count| format!("{count:.1}"));
            let spread = format!("{low:.1} to {high:.1}");
            println!("{:<44} {median:>10.1} {spread:>22} {instructions:>14}", case.name);
        }
        ExitCode::SUCCESS
    }
}

impl Case<'_> {
    fn calibrate(&mut self) {
        while self.time() < ROUND {
            self.count *= 2;
        }
    }

    fn round(&mut self) {
        let time = self.time();
        self.rounds.push(time.as_nanos() as f64 / self.count as f64);
    }

    fn time(&mut self) -> Duration {
        let start = Instant::now();
        (self.repeat)(self.count);
        start.elapsed()
    }

    /// For one repetition, by processes of their own; `None` where nobody can count.
    fn instructions(&self) -> Option<f64> {
        let counter = COUNTERS.iter().find(|counter| self.count_instructions(counter, 1).is_some())?;
        let [few, many] = [COUNTED_FEW, COUNTED_MANY].map(|count| self.count_instructions(counter, count));
        Some((many? - few?) / (COUNTED_MANY - COUNTED_FEW) as f64)
    }

    fn count_instructions(&self, counter: &Counter, count: u64) -> Option<f64> {
        let program = std::env::current_exe().ok()?;
        let mut command = Command::new(counter.command[0]);
        command.args(&counter.command[1..]).arg(program).args(["--repeat", self.name, &count.to_string()]);
        let output = command.stdout(Stdio::null()).output().ok()?;
        (counter.read)(&String::from_utf8_lossy(&output.stderr))
    }
}

/// A program that says on stderr how many user instructions another one took.
struct Counter {
    command: &'static [&'static str],
    read: fn(&str) -> Option<f64>,
}

/// In virtual machines the processor's own counters are often hidden; valgrind counts by itself, slowly.
const COUNTERS: &[Counter] = &[
    Counter { command: &["perf", "stat", "-x", ",", "-e", "instructions:u", "--"], read: read_perf },
    Counter { command: &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], read: read_callgrind },
];

/// `1234,,instructions:u,...`
fn read_perf(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("instructions"))?;
    line.split(',').next()?.parse().ok()
}

/// `==7== Collected : 1234`
fn read_callgrind(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(4);
const COUNTED_FEW: u64 = 1_000;
const COUNTED_MANY: u64 = 11_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_rounds_is_told() {
        assert_eq!(quartiles(&mut [5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&mut [7.0]), [7.0; 3]);
    }

    #[test]
    fn what_is_said_of_instructions_is_read_and_what_cannot_be_said_is_not() {
        assert_eq!(read_perf("a warning\n12345,,instructions:u,100,100.00,,\n"), Some(12345.0));
        assert_eq!(read_perf("<not supported>,,instructions:u,0,100.00,,\n"), None);
        assert_eq!(read_perf("Error: no permission"), None);
        assert_eq!(read_callgrind("==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n"), Some(1_234_567.0));
        assert_eq!(read_callgrind("valgrind: not for this processor"), None);
    }

    #[test]
    fn a_case_is_repeated_until_a_round_is_long_enough_to_measure() {
        let mut times = 0_u64;
        let mut suite = Suite::new().case("count", || times += std::hint::black_box(1));
        suite.cases[0].calibrate();
        let count = suite.cases[0].count;
        assert!(count > 1);
        drop(suite);
        assert!(times >= count);
    }
}

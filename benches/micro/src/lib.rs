//! Times small things: medians of interleaved rounds, and where `perf` can count, user instructions.
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

    /// Measures all cases and prints a line for each. With `--repeat CASE COUNT` it only does that, for `perf`.
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

    /// For one repetition, by `perf` and a process of its own; `None` where it cannot count.
    fn instructions(&self) -> Option<f64> {
        let (few, many) = (PERF_FEW, PERF_MANY);
        let slope = (self.count_instructions(many)? - self.count_instructions(few)?) / (many - few) as f64;
        Some(slope)
    }

    fn count_instructions(&self, count: u64) -> Option<f64> {
        let program = std::env::current_exe().ok()?;
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "instructions:u", "--"]).arg(program);
        let output = perf.args(["--repeat", self.name, &count.to_string()]).stdout(Stdio::null()).output().ok()?;
        first_number(&String::from_utf8_lossy(&output.stderr))
    }
}

/// `1234,,instructions:u,...`: what perf says of one event.
fn first_number(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("instructions"))?;
    line.split(',').next()?.parse().ok()
}

fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(4);
const PERF_FEW: u64 = 10_000;
const PERF_MANY: u64 = 110_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_rounds_is_told() {
        assert_eq!(quartiles(&mut [5.0, 1.0, 4.0, 2.0, 3.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&mut [7.0]), [7.0; 3]);
    }

    #[test]
    fn what_perf_says_is_read_and_what_it_cannot_say_is_not() {
        assert_eq!(first_number("a warning\n12345,,instructions:u,100,100.00,,\n"), Some(12345.0));
        assert_eq!(first_number("<not supported>,,instructions:u,0,100.00,,\n"), None);
        assert_eq!(first_number("Error: no permission"), None);
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

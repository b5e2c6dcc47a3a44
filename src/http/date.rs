//! The `Date` of what is sent now, as HTTP writes it (RFC 9110 §5.6.7).

use crate::stdx::date::{Date, SECONDS_A_DAY, put};
use crate::stdx::time::Wall;

/// Its line, kept for the second that it was made for.
#[derive(Debug)]
pub struct DateLine {
    second: u64,
    line: Line,
}

/// Name, value and line end.
pub type Line = [u8; LINE_BYTES];

impl DateLine {
    pub fn at(&mut self, time: Wall) -> &Line {
        let second = time.as_secs();
        if second != self.second {
            self.second = second;
            self.write_second();
        }
        &self.line
    }

    #[cold]
    fn write_second(&mut self) {
        let (days, rest) = (self.second / SECONDS_A_DAY, (self.second % SECONDS_A_DAY) as u32);
        let Date { year, month, day } = Date::of(days);
        // The first of all days was a Thursday.
        self.line[6..9].copy_from_slice(DAYS[(days % 7) as usize]);
        put(&mut self.line[11..13], day);
        self.line[14..17].copy_from_slice(MONTHS[month as usize - 1]);
        put(&mut self.line[18..22], year);
        put(&mut self.line[23..25], rest / 3_600);
        put(&mut self.line[26..28], rest / 60 % 60);
        put(&mut self.line[29..31], rest % 60);
    }
}

impl Default for DateLine {
    fn default() -> Self {
        Self { second: 0, line: *FIRST }
    }
}

/// What stands between the name and the line end.
pub fn value(line: &Line) -> &[u8] {
    &line[NAME_BYTES..LINE_BYTES - LINE_END_BYTES]
}

const FIRST: &Line = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
const LINE_BYTES: usize = 37;
const NAME_BYTES: usize = "Date: ".len();
const LINE_END_BYTES: usize = "\r\n".len();
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_its_second() {
        let mut date = DateLine::default();
        let mut check = |second: u64, want: &str| {
            let line = *date.at(Wall::from_nanos(second * 1_000_000_000 + 999_999_999));
            assert_eq!(std::str::from_utf8(value(&line)).unwrap(), want);
            assert!(line.starts_with(b"Date: ") && line.ends_with(b" GMT\r\n"), "{}", line.escape_ascii());
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT");
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}

//! Dates of the calendar (UTC), and time stamps as RFC 3339 writes them.

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Date {
    pub year: u32,
    pub month: u32,
    pub day: u32,
}

impl Date {
    /// Howard Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>): years are counted
    /// from March, so that the leap day is a year's last.
    pub fn of(days_since_1970: u64) -> Self {
        let days = days_since_1970 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: (era * 400 + year_of_era + u64::from(month <= 2)) as u32,
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
        }
    }

    /// Days since 1970, if there is such a day and it is not before then.
    fn days(self) -> Option<u64> {
        let Self { year, month, day } = self;
        if !(1970..=YEAR_MAX).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = u64::from(era) * 146_097 + u64::from(day_of_era) - 719_468;
        // The 31st of a shorter month is a day of the next one.
        (Self::of(days) == self).then_some(days)
    }
}

/// Seconds since 1970 of a stamp such as `2027-01-31T23:59:59Z`, where another offset than `Z` may stand. None if it is
/// no time from 1970 on.
pub fn parse(stamp: &str) -> Option<u64> {
    let (date, rest) = stamp.split_at_checked("2027-01-31".len())?;
    let (time, offset) = rest.split_at_checked("T23:59:59".len())?;
    let [year, month, day] = numbers(date, "0000-00-00")?;
    let [hour, minute, second] = numbers(&time.to_ascii_uppercase(), "T00:00:00")?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = Date { year, month, day }.days()?;
    let local = days * SECONDS_A_DAY + u64::from(hour * 3_600 + minute * 60 + second);
    match offset.as_bytes().first()? {
        b'Z' | b'z' if offset.len() == 1 => Some(local),
        sign @ (b'+' | b'-') => {
            let [hours, minutes, _] = numbers(&offset[1..], "00:00")?;
            let seconds = u64::from(hours * 3_600 + minutes * 60);
            let is_offset = hours <= 23 && minutes <= 59;
            let utc = if *sign == b'+' { local.checked_sub(seconds) } else { local.checked_add(seconds) };
            utc.filter(|_| is_offset)
        }
        _ => None,
    }
}

/// `2027-01-31T23:59:59Z`
pub fn stamp(seconds_since_1970: u64) -> String {
    let Date { year, month, day } = Date::of(seconds_since_1970 / SECONDS_A_DAY);
    let rest = seconds_since_1970 % SECONDS_A_DAY;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// The same of a time that `parse` reads: years have four digits.
pub fn checked_stamp(seconds_since_1970: u64) -> Option<String> {
    let text = stamp(seconds_since_1970);
    (parse(&text) == Some(seconds_since_1970)).then_some(text)
}

/// The numbers of a text in which digits stand where `form` has zeros, and the same as there otherwise. Those that the
/// form does not have are 0.
fn numbers(text: &str, form: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    let mut place = 0;
    if text.len() != form.len() {
        return None;
    }
    for (index, (byte, wanted)) in text.bytes().zip(form.bytes()).enumerate() {
        match wanted {
            b'0' if byte.is_ascii_digit() => numbers[place] = numbers[place] * 10 + u32::from(byte - b'0'),
            b'0' => return None,
            _ if byte != wanted => return None,
            _ if index > 0 => place += 1,
            _ => {}
        }
    }
    Some(numbers)
}

/// Fills `digits` with the number, zeros in front.
pub fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

pub const SECONDS_A_DAY: u64 = 86_400;
const YEAR_MAX: u32 = 9_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("2024-12-31T23:59:59Z", 1_735_689_599),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!((parse(text), stamp(seconds).as_str()), (Some(seconds), text));
        }
        assert_eq!(parse("2000-02-29t01:00:00+01:00"), Some(951_782_400));
        assert_eq!(parse("2000-02-28T22:30:00-01:30"), Some(951_782_400));
        assert_eq!(checked_stamp(253_402_300_799).as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!((checked_stamp(253_402_300_800), checked_stamp(u64::MAX)), (None, None));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "2027-01-01 00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-00-01T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:60:00Z",
            "2027-01-01T00:00:60Z",
            "2027-01-01T00:00:00ZZ",
            "2027-01-01T00:00:00+1:00",
            "2027-01-01T00:00:00+24:00",
            "+027-01-01T00:00:00Z",
            "1970-01-01T00:00:00+00:01",
            "2027-01-01T00:00:0\u{e9}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

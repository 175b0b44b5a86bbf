//! Dates, as fwknop reads them: `MM/DD/YYYY`, the beginning of that day.
//!
//! Years of two digits are of this century, and what follows the date is not read. fwknop carries a
//! 31st of April over into May, takes signs and years of three digits; these are mistakes here. Where
//! clocks are set forward in summer, fwknop's midnight is that of standard time: its day then begins
//! at one o'clock, an hour later than here.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::network::shortened;
use crate::parse::values::digits;
use crate::problem::Problem;

/// A date as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadDate {
    /// Seconds since 1970 UTC.
    pub(crate) at_secs: u64,
    /// What may be meant otherwise.
    pub(crate) doubt: Option<Problem>,
    /// Which moment it is.
    pub(crate) note: Problem,
}

/// `MM/DD/YYYY` or `MM/DD/YY`, the beginning of that day in `zone`.
pub(crate) fn read(value: &str, zone: &TimeZone) -> Result<ReadDate, Problem> {
    let problem = || Problem::new("the value is not a date such as 12/31/2030 (MM/DD/YYYY)");
    let (date, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    let rest = rest.trim();
    let is_time = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b':')
    };
    if !is_time(rest) {
        return Err(problem());
    }
    let mut parts = date.splitn(3, '/');
    let mut part = |width: usize| {
        let text = parts.next().filter(|text| text.len() <= width)?;
        digits(text).and_then(|number| i16::try_from(number).ok())
    };
    let (Some(month), Some(day), Some(written)) = (part(2), part(2), part(4)) else {
        return Err(problem());
    };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
        return Err(problem());
    };
    let year = match written {
        0..=99 => written + 2000,
        _ => written,
    };
    let start = Date::new(year, month, day)
        .and_then(|date| date.to_zoned(zone.clone()))
        .map_err(|_| problem())?;
    let at_secs = u64::try_from(start.timestamp().as_second()).ok();
    let at_secs = at_secs.filter(|&secs| secs > 0).ok_or_else(problem)?;
    let note = Problem::new(format!(
        "access ends at {}, which is second {at_secs} (ACCESS_EXPIRE_EPOCH)",
        start.strftime("%Y-%m-%d %H:%M:%S %:z")
    ));
    let doubt = if rest.is_empty() {
        (year != written).then(|| {
            let problem = Problem::new(format!("the year is {year}"));
            problem.hint("write it with four digits")
        })
    } else {
        let problem = Problem::new(format!(
            "the time `{}` is not read, as by fwknop: access ends when that day begins",
            shortened(rest)
        ));
        Some(problem.hint("ACCESS_EXPIRE_EPOCH names a second"))
    };
    Ok(ReadDate {
        at_secs,
        doubt,
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: &str, zone: &str) -> u64 {
        let zone = TimeZone::get(zone).unwrap();
        read(value, &zone).unwrap().at_secs
    }

    #[test]
    fn a_date_is_the_beginning_of_the_day_in_the_zone() {
        // date -u -d '2030-12-31' +%s; date -u -d 2024-02-29 +%s
        assert_eq!(at("12/31/2030", "UTC"), 1_924_905_600);
        assert_eq!(at("2/29/2024", "UTC"), 1_709_164_800);
        // TZ=Asia/Tokyo date -d 2026-11-26 +%s, and so on.
        assert_eq!(at("11/26/2026", "Asia/Tokyo"), 1_795_618_800);
        assert_eq!(at("11/26/2026", "America/New_York"), 1_795_669_200);
    }

    #[test]
    fn a_year_of_two_digits_is_of_this_century_and_that_is_said() {
        let date = read("12/31/27", &TimeZone::UTC).unwrap();

        assert_eq!(date.at_secs, at("12/31/2027", "UTC"));
        assert_eq!(date.doubt.unwrap().message, "the year is 2027");
        assert_eq!(at("1/1/70", "UTC"), at("1/1/2070", "UTC"));
    }

    #[test]
    fn a_time_behind_the_date_is_not_read_and_that_is_said() {
        let date = read("12/31/2027 23:59:59", &TimeZone::UTC).unwrap();

        assert_eq!(date.at_secs, at("12/31/2027", "UTC"));
        assert!(date.doubt.unwrap().message.contains("is not read"));
    }

    #[test]
    fn the_note_names_the_second() {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();

        let note = read("11/26/2026", &zone).unwrap().note.message;

        assert!(note.contains("2026-11-26 00:00:00 +09:00"), "{note}");
        assert!(note.contains("1795618800"), "{note}");
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2030-12-31",
            "31/12/2030",
            "02/30/2030",
            "1/1",
            "1/1/1/1",
            "1/1/+203",
            "1/1/203",
            "1/1/1899",
            "01/01/1970",
            "12/31/2030 noon",
        ] {
            assert!(read(text, &TimeZone::UTC).is_err(), "{text:?}");
        }
    }
}

//! Points in time as people write and read them. All are UTC when shown.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Reads a point in time: RFC 3339, a date (the start of that day here), or how long ago (`7d`).
///
/// Returns milliseconds since the Unix epoch.
pub(crate) fn parse(text: &str, now_secs: u64) -> Result<u64, String> {
    let text = text.trim();
    let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
    if let Ok(duration) = humantime::parse_duration(ago) {
        let now_ms = now_secs.saturating_mul(1000);
        let ago_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        return Ok(now_ms.saturating_sub(ago_ms));
    }
    let at = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| start_of_day(text))
        .ok_or_else(|| {
            "not a time; write 2026-11-23T12:00:00Z, 2026-11-23, or 7d for seven days ago"
                .to_owned()
        })?;
    u64::try_from(at.as_millisecond()).map_err(|_| "a time before 1970".to_owned())
}

fn start_of_day(text: &str) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    let zoned = date.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp())
}

/// Writes milliseconds since the Unix epoch as RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339_ms(ms: u64) -> String {
    show(ms, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// Writes milliseconds since the Unix epoch for a table: UTC, to the second; `-` for 0.
pub(crate) fn short(ms: u64) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    show(ms, "%Y-%m-%d %H:%M:%SZ")
}

fn show(ms: u64, format: &str) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_duration(SignedDuration::from_millis(ms)).ok())
        .map_or_else(|| ms.to_string(), |at| at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // `date -u -d @1795435730 +%FT%TZ`
    const NOW_SECS: u64 = 1_795_435_730;

    #[test]
    fn a_time_is_rfc_3339_or_how_long_ago() {
        assert_eq!(parse("2026-11-23T12:08:50Z", NOW_SECS), Ok(NOW_SECS * 1000));
        assert_eq!(
            parse("2026-11-23T13:08:50+01:00", NOW_SECS),
            Ok(NOW_SECS * 1000)
        );
        assert_eq!(parse("2h", NOW_SECS), Ok((NOW_SECS - 7200) * 1000));
        assert_eq!(parse("7d ago", NOW_SECS), Ok((NOW_SECS - 604_800) * 1000));
        assert!(parse("yesterday-ish", NOW_SECS).is_err());
    }

    #[test]
    fn a_date_is_the_start_of_that_day() {
        let day_ms = parse("2026-11-23", NOW_SECS).unwrap();

        assert!(day_ms.abs_diff(NOW_SECS * 1000) < 48 * 3_600_000);
        assert_eq!(day_ms % 900_000, 0);
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(rfc3339_ms(NOW_SECS * 1000 + 7), "2026-11-23T12:08:50.007Z");
        assert_eq!(short(NOW_SECS * 1000), "2026-11-23 12:08:50Z");
        assert_eq!(short(0), "-");
    }
}

//! Points in time as programs read them.

use jiff::Timestamp;

/// Writes milliseconds since the Unix epoch as RFC 3339 in UTC, to the millisecond.
///
/// `None` after the year 9999, which RFC 3339 cannot say.
pub fn rfc3339_ms(ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_to_the_millisecond() {
        // `date -u -d @1795435730 +%FT%TZ`
        let written = rfc3339_ms(1_795_435_730_007);

        assert_eq!(written.as_deref(), Some("2026-11-23T12:08:50.007Z"));
        assert_eq!(rfc3339_ms(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(rfc3339_ms(u64::MAX), None);
    }
}

//! Moments as people read them.

/// A moment in UTC, in the form of RFC 3339; the seconds where no calendar goes so far.
pub(crate) fn utc(at_secs: u64) -> String {
    let moment = i64::try_from(at_secs).ok();
    let moment = moment.and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    moment.map_or_else(|| at_secs.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_its_zone_and_one_beyond_every_calendar_is_a_number() {
        // `date -u -d @1795430000 +%FT%TZ`
        assert_eq!(utc(1_795_430_000), "2026-11-23T10:33:20Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }
}

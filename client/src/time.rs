//! Points in time as this program reads and writes them.

pub(crate) use program::time::{Edge, FORMS, Now, local, parse, short};

/// Writes milliseconds since the Unix epoch as RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339_ms(ms: u64) -> String {
    fleet::export::rfc3339_ms(ms).unwrap_or_else(|| ms.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_times_in_utc_to_the_millisecond() {
        // `date -u -d @1795435730 +%FT%TZ`
        assert_eq!(rfc3339_ms(1_795_435_730_007), "2026-11-23T12:08:50.007Z");
    }
}

//! Points in time as people write and read them.
//!
//! What is written without a zone is local time (`TZ`). A local time that came twice, when clocks
//! were set back, or never, when they were set forward, is taken so that nothing is left out: the
//! beginning of a range at the earlier, its end at the later of the two moments that may be meant.
//! Whoever wrote it is told on standard error which one that is.

use std::env;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Disambiguation, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// What can be written, for help texts.
pub const FORMS: &str = "\
Times:
  2h, 7d, '90min ago'       so long ago
  10:03, 'yesterday 10:03'  local time (TZ); also today, yesterday, now
  2026-11-25                the beginning of that day, local time
  '2026-11-25 10:03'        local time; with T instead of the space, and with seconds, too
  2026-11-25T10:03:00Z      RFC 3339: Z is UTC, +01:00 another zone
Where clocks are set back a local time comes twice: --since begins with the first, --until ends with the second.";

/// Which moment is meant by a local time that came twice or never.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edge {
    /// Something begins then: the earlier.
    Since,
    /// Something ends then: the later.
    Until,
}

/// When and where times are read.
#[derive(Clone, Debug)]
pub struct Now {
    at: Zoned,
}

// === impl Now ===

impl Now {
    /// By the zone of this machine, at `now_secs` (seconds since the Unix epoch).
    ///
    /// # Errors
    ///
    /// In words, when `TZ` names a zone that is not known here: UTC would be taken in its place.
    pub fn here(now_secs: u64) -> Result<Self, String> {
        Ok(Self::in_zone(now_secs, zone()?))
    }

    /// In `zone`, at `now_secs` (seconds since the Unix epoch).
    #[must_use]
    pub fn in_zone(now_secs: u64, zone: TimeZone) -> Self {
        let secs = i64::try_from(now_secs).unwrap_or(i64::MAX);
        let at = Timestamp::from_second(secs).unwrap_or(Timestamp::MAX);
        Self {
            at: at.to_zoned(zone),
        }
    }

    /// Reads a point in time that is not in the future; milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn past(&self, text: &str, edge: Edge) -> Result<u64, String> {
        let at = self.read(text.trim(), edge)?;
        if at.as_second() > self.at.timestamp().as_second() {
            let (at, now) = (self.shown(at), self.shown(self.at.timestamp()));
            return Err(format!("in the future: it is {at}, and now is {now}"));
        }
        millis(at)
    }

    /// Reads a point in time, past or future; milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// In words.
    pub fn moment(&self, text: &str, edge: Edge) -> Result<u64, String> {
        millis(self.read(text.trim(), edge)?)
    }

    /// Reads both ends of a range; 0 for an end that is open.
    ///
    /// # Errors
    ///
    /// In words, with the option that is wrong: also when it begins after its end.
    pub fn range(&self, since: Option<&str>, until: Option<&str>) -> Result<(u64, u64), String> {
        let read = |option: &str, text: Option<&str>, edge| match text {
            None => Ok(0),
            Some(text) => self
                .past(text, edge)
                .map_err(|problem| format!("{option} `{text}`: {problem}")),
        };
        let since_ms = read("--since", since, Edge::Since)?;
        let until_ms = read("--until", until, Edge::Until)?;
        if until_ms != 0 && since_ms >= until_ms {
            let [since, until] = [since_ms, until_ms].map(|ms| local(ms, &self.zone()));
            return Err(format!("--since {since} is not before --until {until}"));
        }
        Ok((since_ms, until_ms))
    }

    /// The zone in which times are read.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.at.time_zone().clone()
    }

    fn read(&self, text: &str, edge: Edge) -> Result<Timestamp, String> {
        if let Some(ago) = ago(text) {
            let at = self.at.timestamp().checked_sub(ago?);
            return at.map_err(|_| "longer ago than there are dates".to_owned());
        }
        if let Ok(zoned) = text.parse::<Zoned>() {
            return Ok(zoned.timestamp());
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(at);
        }
        match self.day_and_time(text).ok_or_else(not_a_time)? {
            (day, None) => day.to_zoned(self.zone()).map(|at| at.timestamp()),
            (day, Some(time)) => self.local(day.to_datetime(time), edge),
        }
        .map_err(|error| error.to_string())
    }

    fn local(&self, at: DateTime, edge: Edge) -> Result<Timestamp, jiff::Error> {
        let meant = match edge {
            Edge::Since => Disambiguation::Earlier,
            Edge::Until => Disambiguation::Later,
        };
        if let Some(doubt) = self.doubt(at, edge) {
            crate::note(doubt);
        }
        self.zone().to_ambiguous_timestamp(at).disambiguate(meant)
    }

    /// What there is to say of a local time that is not one moment.
    fn doubt(&self, at: DateTime, edge: Edge) -> Option<String> {
        let zone = self.zone();
        let both = zone.to_ambiguous_timestamp(at);
        let why = match both.offset() {
            AmbiguousOffset::Unambiguous { .. } => return None,
            AmbiguousOffset::Fold { .. } => "came twice, as clocks were set back",
            AmbiguousOffset::Gap { .. } => "never came, as clocks were set forward",
        };
        let (earlier, later) = (both.earlier().ok()?, both.later().ok()?);
        let (taken, other) = match edge {
            Edge::Since => (earlier, later),
            Edge::Until => (later, earlier),
        };
        let (taken, other) = (self.shown(taken), self.shown(other));
        let at = at.strftime("%Y-%m-%d %H:%M:%S");
        Some(format!(
            "{at} {why}: {taken} is meant; the other is {other}"
        ))
    }

    /// A day, a time of today, or both.
    fn day_and_time(&self, text: &str) -> Option<(Date, Option<Time>)> {
        let text = text.to_ascii_lowercase();
        let (first, rest) = text.split_once([' ', 't']).unwrap_or((&text, ""));
        let today = self.at.date();
        let (day, rest) = match text.as_str() {
            _ if rest.trim().is_empty() && clock(first).is_some() => (today, first),
            // Both begin or end with the letter between a date and its time.
            "today" => (today, ""),
            "yesterday" => (today.yesterday().ok()?, ""),
            words if words.starts_with("today ") => (today, words.strip_prefix("today")?),
            words if words.starts_with("yesterday ") => {
                (today.yesterday().ok()?, words.strip_prefix("yesterday")?)
            }
            _ => (calendar(first)?, rest),
        };
        match rest.trim() {
            "" => Some((day, None)),
            rest => Some((day, Some(clock(rest)?))),
        }
    }

    fn shown(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone()).strftime(LOCAL).to_string()
    }
}

fn millis(at: Timestamp) -> Result<u64, String> {
    u64::try_from(at.as_millisecond()).map_err(|_| "before 1970".to_owned())
}

/// With the offset, because one time may come twice.
const LOCAL: &str = "%Y-%m-%d %H:%M:%S%:z";

/// `None` for what is no length of time at all.
fn ago(text: &str) -> Option<Result<SignedDuration, String>> {
    if text == "now" {
        return Some(Ok(SignedDuration::ZERO));
    }
    let text = text.strip_suffix("ago").map_or(text, str::trim_end);
    let duration = humantime::parse_duration(text).ok()?;
    let too_long = |_| "longer ago than there are dates".to_owned();
    Some(SignedDuration::try_from(duration).map_err(too_long))
}

/// `2026-11-25`, and nothing else that could be a date.
fn calendar(text: &str) -> Option<Date> {
    let is_plain = text.len() == "2026-11-25".len()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| is_plain)
}

/// `10:03`, `10:03:05` or `10:03:05.250`.
fn clock(text: &str) -> Option<Time> {
    let is_plain = text.contains(':')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    let padded = match text.split_once(':') {
        Some((hour, _)) if hour.len() == 1 => format!("0{text}"),
        _ => text.to_owned(),
    };
    padded.parse().ok().filter(|_| is_plain)
}

fn not_a_time() -> String {
    "not a time; write 2h or 7d (so long ago), 2026-11-25, '2026-11-25 10:03' or 10:03 (local time), \
     yesterday, or 2026-11-25T10:03:00Z"
        .to_owned()
}

/// The zone of this machine, as `TZ` or /etc/localtime has it; UTC where nothing says it.
///
/// # Errors
///
/// In words, when `TZ` names a zone that is not known here.
pub fn zone() -> Result<TimeZone, String> {
    match (TimeZone::try_system(), env::var("TZ")) {
        (Ok(zone), _) => Ok(zone),
        (Err(_), Ok(name)) if !name.is_empty() => Err(format!(
            "the zone TZ={name} is not known here; correct it, or unset it and write times with a \
             zone, as 2026-11-25T10:03:00Z"
        )),
        (Err(_), _) => Ok(TimeZone::UTC),
    }
}

/// Reads a point in time; milliseconds since the Unix epoch. See [`Now::past`].
///
/// # Errors
///
/// In words.
pub fn parse(text: &str, now_secs: u64) -> Result<u64, String> {
    Now::here(now_secs)?.past(text, Edge::Since)
}

/// Writes milliseconds since the Unix epoch for a table: UTC, to the second; `-` for 0.
#[must_use]
pub fn short(ms: u64) -> String {
    local(ms, &TimeZone::UTC)
}

/// Writes milliseconds since the Unix epoch for a table, in this zone and with its offset, to the
/// second; `-` for 0.
#[must_use]
pub fn local(ms: u64, zone: &TimeZone) -> String {
    if ms == 0 {
        return "-".to_owned();
    }
    let at = i64::try_from(ms).ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(at) = at else {
        return ms.to_string();
    };
    let zoned = at.to_zoned(zone.clone());
    let format = if *zone == TimeZone::UTC {
        "%Y-%m-%d %H:%M:%SZ"
    } else {
        LOCAL
    };
    zoned.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339_ms(ms: u64) -> String {
        let at = Timestamp::from_millisecond(ms.cast_signed()).unwrap();
        at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    // `date -u -d @1795435730 +%FT%TZ`: 2026-11-23T12:08:50Z, a Monday.
    const NOW_SECS: u64 = 1_795_435_730;

    fn berlin() -> Now {
        // The rule of Europe/Berlin, as POSIX has it: no database of zones is needed.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Now::in_zone(NOW_SECS, zone)
    }

    fn shown(text: &str, edge: Edge) -> String {
        rfc3339_ms(berlin().past(text, edge).unwrap())
    }

    #[test]
    fn a_time_is_rfc_3339_or_how_long_ago() {
        assert_eq!(parse("2026-11-23T12:08:50Z", NOW_SECS), Ok(NOW_SECS * 1000));
        assert_eq!(
            parse("2026-11-23T13:08:50+01:00", NOW_SECS),
            Ok(NOW_SECS * 1000)
        );
        assert_eq!(
            parse("2026-11-23 12:08Z", NOW_SECS),
            Ok((NOW_SECS - 50) * 1000)
        );
        assert_eq!(parse("2h", NOW_SECS), Ok((NOW_SECS - 7200) * 1000));
        assert_eq!(parse("7d ago", NOW_SECS), Ok((NOW_SECS - 604_800) * 1000));
        assert_eq!(parse("now", NOW_SECS), Ok(NOW_SECS * 1000));
    }

    #[test]
    fn a_time_without_a_zone_is_local_to_the_minute_and_never_only_its_day() {
        // `TZ=Europe/Berlin date -u -d '2026-11-23 10:03' +%FT%TZ`, and so on.
        for (text, utc) in [
            ("2026-11-23 10:03", "2026-11-23T09:03:00.000Z"),
            ("2026-11-23T10:03:05", "2026-11-23T09:03:05.000Z"),
            ("2026-11-23t10:03", "2026-11-23T09:03:00.000Z"),
            ("10:03", "2026-11-23T09:03:00.000Z"),
            ("9:03", "2026-11-23T08:03:00.000Z"),
            ("00:00", "2026-11-22T23:00:00.000Z"),
            ("today", "2026-11-22T23:00:00.000Z"),
            ("today 10:03", "2026-11-23T09:03:00.000Z"),
            ("yesterday", "2026-11-21T23:00:00.000Z"),
            ("Yesterday 23:59:59.5", "2026-11-22T22:59:59.500Z"),
            ("2026-11-23", "2026-11-22T23:00:00.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z"),
            ("2026-07-01 12:00", "2026-07-01T10:00:00.000Z"),
        ] {
            assert_eq!(shown(text, Edge::Since), utc, "{text}");
        }
    }

    #[test]
    fn a_time_that_came_twice_or_never_leaves_nothing_out() {
        // Clocks were set back at 03:00 on 2025-10-26, and forward at 02:00 on 2026-03-29.
        for (text, since, until) in [
            (
                "2025-10-26 02:30",
                "2025-10-26T00:30:00.000Z",
                "2025-10-26T01:30:00.000Z",
            ),
            (
                "2026-03-29 02:30",
                "2026-03-29T00:30:00.000Z",
                "2026-03-29T01:30:00.000Z",
            ),
            (
                "2025-10-26 03:00",
                "2025-10-26T02:00:00.000Z",
                "2025-10-26T02:00:00.000Z",
            ),
        ] {
            assert_eq!(shown(text, Edge::Since), since, "{text}");
            assert_eq!(shown(text, Edge::Until), until, "{text}");
        }
    }

    #[test]
    fn of_a_time_that_came_twice_or_never_it_is_said_which_moment_is_meant() {
        let said = |text: &str, edge| berlin().doubt(text.parse().unwrap(), edge);

        let twice = said("2025-10-26T02:30", Edge::Since).unwrap();
        let expected = "2025-10-26 02:30:00 came twice, as clocks were set back: \
                        2025-10-26 02:30:00+02:00 is meant; the other is 2025-10-26 02:30:00+01:00";
        assert_eq!(twice, expected);
        let twice = said("2025-10-26T02:30", Edge::Until).unwrap();
        assert!(twice.contains("02:30:00+01:00 is meant"), "{twice}");
        let never = said("2026-03-29T02:30", Edge::Since).unwrap();
        assert!(
            never.contains("never came") && never.contains("01:30:00+01:00 is"),
            "{never}"
        );
        for once in [
            "2025-10-26T03:00",
            "2025-10-26T01:59:59",
            "2026-11-23T10:03",
        ] {
            assert_eq!(said(once, Edge::Since), None, "{once}");
        }
    }

    #[test]
    fn a_day_whose_midnight_never_came_begins_when_it_began() {
        // Chile sets its clocks forward at midnight: 2026-09-06 began at 01:00.
        let chile = TimeZone::posix("<-04>4<-03>,M9.1.6/24,M4.1.6/24").unwrap();
        let day = Now::in_zone(NOW_SECS, chile).past("2026-09-06", Edge::Since);

        assert_eq!(rfc3339_ms(day.unwrap()), "2026-09-06T04:00:00.000Z");
    }

    #[test]
    fn what_is_in_the_future_or_no_time_is_an_error() {
        for (text, problem) in [
            (
                "13:09",
                "in the future: it is 2026-11-23 13:09:00+01:00, and now is 2026-11-23 13:08:50+01:00",
            ),
            ("2026-11-24", "in the future"),
            ("2027-01-01T00:00:00Z", "in the future"),
            ("1969-12-31T23:59:59Z", "before 1970"),
            ("9999999d", "longer ago"),
        ] {
            let told = berlin().past(text, Edge::Since).unwrap_err();
            assert!(
                told.starts_with(problem) || told.contains("1970"),
                "{text}: {told}"
            );
        }
        for text in [
            "",
            "yesterday-ish",
            "2026-13-01",
            "2026-02-30",
            "25:00",
            "24:00",
            "10:60",
            "10",
            "7",
            "2026-11",
            "20261123",
            "2026-11-23 10",
            "2026-11-23 10:03 pm",
            "tomorrow",
            "-2h",
            "2026-11-23 10:03 CET",
            "2026-11-23 10:03:61",
        ] {
            let told = berlin().past(text, Edge::Since);
            assert!(told.is_err(), "{text}: {told:?}");
        }
    }

    #[test]
    fn a_range_that_begins_at_its_end_or_after_it_is_an_error() {
        let range = |since, until| berlin().range(since, until);

        assert_eq!(range(None, None), Ok((0, 0)));
        let told = range(Some("11:00"), Some("10:03")).unwrap_err();
        assert_eq!(
            told,
            "--since 2026-11-23 11:00:00+01:00 is not before --until 2026-11-23 10:03:00+01:00"
        );
        assert!(range(Some("10:03"), Some("10:03")).is_err());
        assert!(range(Some("2h"), Some("1h")).is_ok());
        let told = range(None, Some("23:59")).unwrap_err();
        assert!(told.starts_with("--until `23:59`: in the future"), "{told}");
    }

    #[test]
    fn a_time_in_a_table_says_its_zone() {
        assert_eq!(short(NOW_SECS * 1000), "2026-11-23 12:08:50Z");
        assert_eq!(
            local(NOW_SECS * 1000, &berlin().zone()),
            "2026-11-23 13:08:50+01:00"
        );
        assert_eq!(short(0), "-");
    }
}

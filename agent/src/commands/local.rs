//! What the commands have in common that look at the host they run on.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::config::{Layers, RawConfig};

/// Where to look.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StateArgs {
    /// Where the agent keeps its state [default: as the configuration says, else
    /// /var/lib/postern-agent]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

// === impl StateArgs ===

impl StateArgs {
    /// The directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        let flags = RawConfig {
            state_dir: self.state.clone(),
            ..RawConfig::default()
        };
        Layers::read(None, flags).readable().state_dir_or_default()
    }
}

/// Reads a point in time as milliseconds since the Unix epoch: how long ago (`2h`), RFC 3339, or local
/// time: `10:03`, `2026-11-25`, `2026-11-25 10:03`.
pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    at(text.trim(), Timestamp::now(), &TimeZone::system())
}

fn at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<u64, String> {
    let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
    if let Ok(ago) = humantime::parse_duration(ago) {
        let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(now_ms.saturating_sub(ago_ms));
    }
    let today = now.to_zoned(zone.clone()).date();
    let local = |at: DateTime| at.to_zoned(zone.clone()).ok().map(|at| at.timestamp());
    let moment = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| local(today.to_datetime(clock_time(text)?)))
        .or_else(|| local(day_and_time(text)?))
        .ok_or("not a time; write 2h for two hours ago, 10:03, '2026-11-25 10:03' or RFC 3339")?;
    u64::try_from(moment.as_millisecond()).map_err(|_| "before 1970".to_owned())
}

fn clock_time(text: &str) -> Option<Time> {
    let short = || Time::strptime("%H:%M", text);
    Time::strptime("%H:%M:%S", text).or_else(|_| short()).ok()
}

fn day_and_time(text: &str) -> Option<DateTime> {
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    Some(day.parse::<Date>().ok()?.to_datetime(clock_time(time)?))
}

/// A moment in local time with its distance from UTC; `-` for 0.
pub(super) fn shown(ms: u64) -> String {
    let at = i64::try_from(ms).ok().filter(|ms| *ms > 0);
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || "-".to_owned(),
        |at| {
            let local = at.to_zoned(TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
        },
    )
}

/// Seconds as people say them: `2 h 5 min`.
pub(super) fn said(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", secs % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// How far a clock is from another one, as people say it: `34 ms behind`, `2 ms ahead of`.
pub(super) fn off(ahead_ms: i64) -> String {
    let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
    format!("{} ms {direction}", ahead_ms.unsigned_abs())
}

/// Columns between two blanks, each as wide as its widest cell; no blanks at the end of a line.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| {
            let fill = width.saturating_sub(cell.chars().count());
            format!("{cell}{}", " ".repeat(fill))
        });
        let text = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", text.trim_end())
    };
    let rows = rows
        .iter()
        .map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_local_and_one_without_a_day_is_of_today() {
        // `TZ=Europe/Berlin date -d '2026-11-25 10:03' +%s`
        let at_1003 = 1_795_597_380_000;
        let now = Timestamp::from_millisecond(at_1003 + 3_600_000).unwrap();
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let read = |text: &str| at(text, now, &zone);

        for text in [
            "10:03",
            "10:03:00",
            "2026-11-25 10:03",
            "2026-11-25T10:03:00",
            "2026-11-25T09:03:00Z",
            "1h",
            "60min ago",
        ] {
            assert_eq!(read(text), Ok(at_1003.cast_unsigned()), "{text}");
        }
        assert_eq!(read("2026-11-25"), Ok(at_1003.cast_unsigned() - 36_180_000));
        for bad in ["", "yesterday-ish", "25:00", "2026-13-01"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_table_is_as_wide_as_what_stands_in_it() {
        let rows = [
            ["alice".to_owned(), "tcp/22".to_owned()],
            ["b".to_owned(), String::new()],
        ];

        assert_eq!(
            table(["USER", "PORTS"], &rows),
            "USER   PORTS\nalice  tcp/22\nb\n"
        );
    }

    #[test]
    fn seconds_are_said_as_people_say_them() {
        let said = [5, 65, 7_500, 90_000].map(said);
        assert_eq!(said, ["5 s", "1 min 5 s", "2 h 5 min", "1 d 1 h"]);
    }
}

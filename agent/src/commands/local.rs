//! What the commands have in common that look at the host they run on.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use program::time::{Edge, Now};

use crate::clock;
use crate::config::{Layers, RawConfig};

/// How long to wait, as people write it.
pub(crate) fn wait(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "say such as 30s or 5m".to_owned())
}

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

/// Reads a point in time as milliseconds since the Unix epoch, in the forms that all programs read.
pub(super) fn parse_time(text: &str) -> Result<u64, String> {
    Now::here(clock::now().wall_secs)?.moment(text, Edge::Since)
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

/// A host's name, and the one by which it joined where an operator has given it another since.
pub(super) fn host_name(called: &str, joined_as: &str) -> String {
    if joined_as.is_empty() || called == joined_as {
        return called.to_owned();
    }
    format!("{called} (joined as {joined_as})")
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
    fn a_time_to_wait_that_is_none_is_answered_with_one_that_is() {
        assert_eq!(wait("5m"), Ok(Duration::from_secs(300)));
        for text in ["xx", "", "30", "-1s"] {
            assert_eq!(wait(text).unwrap_err(), "say such as 30s or 5m", "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local_and_one_without_a_day_is_of_today() {
        // `TZ=Europe/Berlin date -d '2026-11-25 10:03' +%s`
        let at_1003: i64 = 1_795_597_380_000;
        let now_secs = at_1003.cast_unsigned() / 1_000 + 3_600;
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = Now::in_zone(now_secs, zone);
        let read = |text: &str| now.moment(text, Edge::Since);

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

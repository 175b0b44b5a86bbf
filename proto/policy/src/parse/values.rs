//! Values that are a word or a number.

use std::net::IpAddr;
use std::num::NonZeroU16;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::nat::is_nowhere;
use crate::policy::CollectMode;
use crate::problem::Problem;
use crate::stanza::{OnControllerLoss, TIMEOUT_MAX_SECS};

/// The longest NAME, and the longest name of a group, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest user or group of the system, in bytes.
const ACCOUNT_BYTES_MAX: usize = 32;

/// `Y` or `N`; as in fwknop only the first letter counts, but another one is a mistake.
pub(crate) fn switch(value: &str) -> Result<bool, Problem> {
    match value.as_bytes().first() {
        Some(b'y' | b'Y') => Ok(true),
        Some(b'n' | b'N') => Ok(false),
        Some(_) | None => Err(Problem::new("the value is neither Y nor N")),
    }
}

/// A timeout in seconds.
pub(crate) fn timeout_secs(value: &str) -> Result<u32, Problem> {
    digits(value)
        .and_then(|secs| u32::try_from(secs).ok())
        .filter(|&secs| secs <= TIMEOUT_MAX_SECS)
        .ok_or_else(|| {
            Problem::new(format!(
                "the value is not a number of seconds from 0 to {TIMEOUT_MAX_SECS}"
            ))
        })
}

/// The number of a port.
pub(crate) fn port(value: &str) -> Result<NonZeroU16, Problem> {
    digits(value)
        .and_then(|port| u16::try_from(port).ok())
        .and_then(NonZeroU16::new)
        .ok_or_else(|| Problem::new("the value is not a port from 1 to 65535"))
}

/// The length of a prefix around an address; from `widest` on, because a stanza must not open for
/// half the world by a slip of the pen.
pub(crate) fn prefix(value: &str, widest: u8, one_address: u8) -> Result<u8, Problem> {
    digits(value.strip_prefix('/').unwrap_or(value))
        .and_then(|length| u8::try_from(length).ok())
        .filter(|length| (widest..=one_address).contains(length))
        .ok_or_else(|| {
            Problem::new(format!(
                "the value is not the length of a prefix from {widest} to {one_address}"
            ))
            .hint(format!("{one_address} opens for one address"))
        })
}

/// The address of a host.
pub(crate) fn host_address(value: &str) -> Result<IpAddr, Problem> {
    let address: Option<IpAddr> = value.parse().ok();
    address
        .map(|address| address.to_canonical())
        .filter(|address| !is_nowhere(*address) && !address.is_loopback())
        .ok_or_else(|| Problem::new("the value is not the address of a host"))
}

/// Seconds since 1970 UTC.
pub(crate) fn epoch_secs(value: &str) -> Result<u64, Problem> {
    digits(value)
        .filter(|&secs| secs > 0 && i64::try_from(secs).is_ok())
        .ok_or_else(|| Problem::new("the value is not a number of seconds since 1970"))
}

/// `MM/DD/YYYY`, the beginning of that day in UTC.
pub(crate) fn date(value: &str) -> Result<u64, Problem> {
    let problem = || Problem::new("the value is not a date such as 12/31/2030 (MM/DD/YYYY)");
    let mut parts = value.splitn(3, '/');
    let mut part = |width: usize| {
        let text = parts.next().filter(|text| text.len() <= width)?;
        digits(text).and_then(|number| i16::try_from(number).ok())
    };
    let (Some(month), Some(day), Some(year)) = (part(2), part(2), part(4)) else {
        return Err(problem());
    };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
        return Err(problem());
    };
    Date::new(year, month, day)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .ok()
        .and_then(|start| u64::try_from(start.timestamp().as_second()).ok())
        .filter(|&secs| secs > 0)
        .ok_or_else(problem)
}

/// The name of a stanza or of a group of users: one word.
pub(crate) fn name(value: &str) -> Result<&str, Problem> {
    let is_name = value.len() <= NAME_BYTES_MAX
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-:/+@".contains(&byte))
        && !value.starts_with('@');
    if is_name {
        Ok(value)
    } else {
        Err(Problem::new(format!(
            "a name is one word of at most {NAME_BYTES_MAX} letters, digits and . _ - : / + @"
        )))
    }
}

/// A user or a group of the system, by name or by number.
pub(crate) fn account(value: &str) -> Result<Box<str>, Problem> {
    let is_account = value.len() <= ACCOUNT_BYTES_MAX
        && !value.starts_with('-')
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte));
    if is_account {
        Ok(value.into())
    } else {
        Err(Problem::new(
            "the value is not the name of a user or group of the system",
        ))
    }
}

/// `deny` or `allow`.
pub(crate) fn on_controller_loss(value: &str) -> Result<OnControllerLoss, Problem> {
    match value {
        "deny" => Ok(OnControllerLoss::Deny),
        "allow" => Ok(OnControllerLoss::Allow),
        _ => Err(Problem::new("the value is neither `deny` nor `allow`")),
    }
}

/// DATA_COLLECT_MODE.
pub(crate) fn collect_mode(value: &str) -> Result<CollectMode, Problem> {
    CollectMode::ALL
        .into_iter()
        .find(|mode| mode.name().eq_ignore_ascii_case(value))
        .ok_or_else(|| {
            Problem::new("this way to collect packets is not supported by this version")
                .hint("PCAP, FILE_PCAP and ULOG_PCAP are")
        })
}

fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_beginning_of_the_day_in_utc() {
        // date -u -d '2030-12-31' +%s; date -u -d 2024-02-29 +%s
        assert_eq!(date("12/31/2030"), Ok(1_924_905_600));
        assert_eq!(date("2/29/2024"), Ok(1_709_164_800));
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
            "01/01/1970",
        ] {
            assert!(date(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_have_neither_signs_nor_units() {
        assert_eq!(timeout_secs("30"), Ok(30));
        for text in [
            "",
            "-1",
            "+1",
            "30s",
            "1e3",
            "2147484",
            "99999999999999999999",
        ] {
            assert!(timeout_secs(text).is_err(), "{text:?}");
        }
    }
}

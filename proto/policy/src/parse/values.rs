//! Values that are a word or a number.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::nat::is_nowhere;
use crate::policy::CollectMode;
use crate::problem::Problem;
use crate::stanza::OnControllerLoss;
use crate::timeout::TIMEOUT_MAX_SECS;

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

pub(super) fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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

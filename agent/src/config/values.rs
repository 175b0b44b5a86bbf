//! Values as a variable of the environment has them.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// A value as it is.
pub(super) fn word(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

/// A file or folder.
pub(super) fn path(value: &str) -> Result<PathBuf, String> {
    Ok(value.into())
}

/// Values between commas.
pub(super) fn list(value: &str) -> Result<Vec<String>, String> {
    Ok(value
        .split(',')
        .map(|part| part.trim().to_owned())
        .collect())
}

pub(super) fn number<N: FromStr<Err: Display>>(value: &str) -> Result<N, String> {
    value
        .trim()
        .parse()
        .map_err(|cause| format!("`{value}`: {cause}"))
}

pub(super) fn switch(value: &str) -> Result<bool, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("`{value}` is not true or false")),
    }
}

//! Values as the file has them, and as a variable of the environment has them.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Value;

/// What a key takes, of what the file has for it.
pub(super) trait Written: Sized {
    /// Reads it, or says what is wrong with it.
    fn of(value: &Value) -> Result<Self, String>;
}

impl Written for String {
    /// A number too, as `62201` for a socket: whether that makes sense is for who knows the key.
    fn of(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Integer(number) => Ok(number.to_string()),
            Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => Err(format!("{} is no text", shown(value))),
        }
    }
}

impl Written for PathBuf {
    fn of(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.into()),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => Err(format!("{} is no path", shown(value))),
        }
    }
}

impl Written for Vec<String> {
    /// One value is a list of one.
    fn of(value: &Value) -> Result<Self, String> {
        let several = |cause| format!("{cause}: one value, or several between [ and ]");
        match value {
            Value::Array(values) => values
                .iter()
                .map(|value| String::of(value).map_err(several))
                .collect(),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_) => Ok(vec![String::of(value).map_err(several)?]),
        }
    }
}

impl Written for bool {
    fn of(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("{} is not true or false", shown(value)))
    }
}

/// Whole numbers, with the bounds of what they are kept in.
macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Written for $number {
            fn of(value: &Value) -> Result<Self, String> {
                let number = value.as_integer();
                let number = number.ok_or_else(|| format!("{} is no whole number", shown(value)))?;
                Self::try_from(number)
                    .map_err(|_| format!("`{number}` is not 0 to {}", Self::MAX))
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

/// A value as people wrote it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            format!("`{value}`")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

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

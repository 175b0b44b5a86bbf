//! The arguments of the last time, for -l and --show-last.
//!
//! The reference keeps them as they were typed, keys included. Here keys are not kept, and those that the
//! reference has kept are used and never shown.

use std::ffi::OsString;
use std::path::Path;

use zeroize::Zeroizing;

use super::line::Line;
use crate::error::{CommandError, Result};

/// The longest file of arguments that is read, in bytes: more than a command line has.
const LEN_MAX: usize = 1 << 17;
/// What stands for a key.
const HIDDEN: &str = "(not shown)";
/// Options that name what to do with the arguments, and are none of them.
const ABOUT_ARGUMENTS: [&str; 2] = ["last-cmd", "show-last"];

/// Keeps the arguments, without keys.
///
/// # Errors
///
/// Exit code 1 when the file cannot be written.
pub(super) fn keep(path: &Path, line: &Line) -> Result {
    let words = words(line, |_| None);
    let text = format!("fwknop{words}\n");
    program::files::replace(path, 0o600, text.as_bytes()).map_err(|cause| {
        CommandError::failed(
            format!("cannot keep the arguments in {}", path.display()),
            cause,
        )
        .with_hint("--no-save-args keeps none, -E names another file")
    })
}

/// The arguments that were kept.
///
/// # Errors
///
/// Exit code 1 when the file cannot be read, 2 when it holds no arguments.
pub(super) fn read(path: &Path) -> Result<Line> {
    let text = program::files::read_bytes(path, 4 << 20);
    let text = text.and_then(program::files::text).map(Zeroizing::new);
    let text = text.map_err(|cause| {
        CommandError::unreadable(path, cause).with_hint("no arguments were kept there")
    })?;
    let words = split(&text)
        .ok_or_else(|| CommandError::refused(format!("{} holds no arguments", path.display())))?;
    Line::parse(words.into_iter().skip(1))
}

/// The arguments in one line; keys are hidden.
pub(super) fn shown(line: &Line) -> String {
    format!("fwknop{}", words(line, |_| Some(HIDDEN)))
}

/// The options, each behind a blank; `secret` stands for a key, or leaves its option out.
fn words(line: &Line, secret: impl Fn(&str) -> Option<&'static str>) -> String {
    let mut text = String::new();
    for given in line.given() {
        let row = given.row;
        let value = match &given.value {
            Some(_) if row.is_secret() => match secret(row.long) {
                Some(shown) => Some(shown.to_owned()),
                None => continue,
            },
            Some(value) => Some(quoted(value)),
            None => None,
        };
        if ABOUT_ARGUMENTS.contains(&row.long) {
            continue;
        }
        match row.letter {
            Some(letter) => text.extend([' ', '-', letter]),
            None => {
                text.push_str(" --");
                text.push_str(row.long);
            }
        }
        if let Some(value) = value {
            text.push(' ');
            text.push_str(&value);
        }
    }
    text
}

/// As a shell takes it.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:,=@%+-".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The words of a line, as a shell splits it; `None` for an open quote or too much of it.
fn split(text: &str) -> Option<Vec<OsString>> {
    if text.len() > LEN_MAX {
        return None;
    }
    let mut words: Vec<OsString> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            blank if blank.is_whitespace() => words.extend(word.take().map(OsString::from)),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word.map(OsString::from));
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Line {
        Line::parse(words.iter().map(OsString::from)).unwrap()
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_typed_but_for_keys() {
        let typed = [
            "-A",
            "tcp/22",
            "-C",
            "echo 'a b' \\ #",
            "--key-rijndael",
            "hunter2",
            "-U",
            "",
            "-v",
        ];
        let text = format!("fwknop{}", words(&line(&typed), |_| None));

        let again = Line::parse(split(&text).unwrap().into_iter().skip(1)).unwrap();

        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(again.value("server-cmd"), Some("echo 'a b' \\ #"));
        assert_eq!(again.value("spoof-user"), Some(""));
        assert_eq!(again.value("access"), Some("tcp/22"));
        assert_eq!(again.value("key-rijndael"), None);
        assert_eq!(again.count("verbose"), 1);
    }

    #[test]
    fn keys_that_the_reference_kept_are_used_and_not_shown() {
        let text = "fwknop -A tcp/22 --key-rijndael hunter2 --key-base64-hmac aHVudGVyMg== -T \n";

        let again = Line::parse(split(text).unwrap().into_iter().skip(1)).unwrap();

        assert_eq!(again.value("key-rijndael"), Some("hunter2"));
        let shown = shown(&again);
        assert!(
            !shown.contains("hunter2") && !shown.contains("aHVu"),
            "{shown}"
        );
        assert!(shown.starts_with("fwknop -A tcp/22 --key-rijndael (not shown)"));
    }

    #[test]
    fn an_open_quote_or_nothing_is_no_line() {
        assert_eq!(split("fwknop 'a"), None);
        assert_eq!(split(" \n"), None);
        assert_eq!(split(&"x".repeat(LEN_MAX + 1)), None);
    }
}

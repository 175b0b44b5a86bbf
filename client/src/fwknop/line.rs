//! The command line as getopt reads it: letters together, values with or without `=`, long names cut short
//! where that is unambiguous, options and other words in any order.

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::rc::table::{ROWS, Row, Verdict};

/// An option that was given, and its value. Values may be keys, so they cannot be printed.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) row: &'static Row,
    pub(super) value: Option<Zeroizing<String>>,
}

/// The options in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<Given>);

// === impl Line ===

impl Line {
    /// Reads words. What is no option is passed over, as the reference does.
    ///
    /// # Errors
    ///
    /// An option that there is not, lacks its value or has one too many; values are not repeated.
    pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut given = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let word = text(word)?;
            if word.as_str() == "--" {
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                given.push(by_name(long, &mut words)?);
            } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                by_letters(letters, &mut words, &mut given)?;
            }
        }
        Ok(Self(given))
    }

    /// Whether this option was given.
    pub(super) fn has(&self, long: &str) -> bool {
        self.0.iter().any(|given| given.row.long == long)
    }

    /// How often it was given.
    pub(super) fn count(&self, long: &str) -> usize {
        self.0.iter().filter(|given| given.row.long == long).count()
    }

    /// Its value; the last one counts.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        let given = self.0.iter().rfind(|given| given.row.long == long)?;
        given.value.as_deref().map(String::as_str)
    }

    /// Its value, read as what it must be.
    ///
    /// # Errors
    ///
    /// Exit code 2 with the option; the value is not repeated.
    pub(super) fn read<T>(
        &self,
        long: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        self.value(long)
            .map(|text| {
                read(text).map_err(|problem| CommandError::usage(format!("--{long}: {problem}")))
            })
            .transpose()
    }

    /// Each that was given.
    pub(super) fn given(&self) -> &[Given] {
        &self.0
    }
}

fn by_name(word: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<Given> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(Zeroizing::new(value.to_owned()))),
        None => (word, None),
    };
    let row = named(name)?;
    require(row)?;
    let long = row.long;
    let value = match (row.value.is_empty(), value) {
        (true, None) => None,
        (true, Some(_)) => {
            return Err(CommandError::usage(format!("--{long} takes no value")));
        }
        (false, Some(value)) => Some(value),
        (false, None) => Some(next(row, rest)?),
    };
    Ok(Given { row, value })
}

fn by_letters(
    letters: &str,
    rest: &mut impl Iterator<Item = OsString>,
    given: &mut Vec<Given>,
) -> Result {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let row = ROWS.iter().find(|row| row.letter == Some(letter));
        let row = row.ok_or_else(|| unknown(&format!("-{letter}"), None))?;
        require(row)?;
        if row.value.is_empty() {
            given.push(Given { row, value: None });
            continue;
        }
        let value = match letters.as_str() {
            "" => next(row, rest)?,
            value => Zeroizing::new(value.to_owned()),
        };
        let value = Some(value);
        given.push(Given { row, value });
        break;
    }
    Ok(())
}

/// The option of this name, or the only one that begins so.
fn named(name: &str) -> Result<&'static Row> {
    let options = || ROWS.iter().filter(|row| !row.long.is_empty());
    if let Some(row) = options().find(|row| row.long == name) {
        return Ok(row);
    }
    let begin_so: Vec<&Row> = options().filter(|row| row.long.starts_with(name)).collect();
    match begin_so.as_slice() {
        [] => {
            // What stands behind the name may be a key.
            let glued = options().filter(|row| name.starts_with(row.long));
            if let Some(row) = glued.max_by_key(|row| row.long.len()) {
                return Err(CommandError::usage(format!(
                    "--{} has no blank or `=` behind it",
                    row.long
                )));
            }
            let nearest = options()
                .map(|row| (strsim::jaro_winkler(row.long, name), row.long))
                .filter(|(likeness, _)| *likeness > 0.85)
                .max_by(|(one, _), (other, _)| one.total_cmp(other));
            Err(unknown(
                &format!("--{name}"),
                nearest.map(|(_, nearest)| nearest),
            ))
        }
        [only] => Ok(only),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|row| format!("--{}", row.long))
                .collect();
            Err(CommandError::usage(format!(
                "--{name} may be {}",
                names.join(" or ")
            )))
        }
    }
}

fn unknown(option: &str, nearest: Option<&str>) -> CommandError {
    let error = CommandError::usage(format!("there is no option {option}"));
    match nearest {
        Some(nearest) => error.with_hint(format!("did you mean --{nearest}?")),
        None => error.with_hint("`fwknop -h` lists the options"),
    }
}

/// Refuses what cannot be.
fn require(row: &Row) -> Result {
    match row.verdict {
        Verdict::Refused(why) => Err(CommandError::usage(format!("--{}: {why}", row.long))),
        Verdict::Same | Verdict::Differs(_) => Ok(()),
    }
}

fn next(row: &Row, rest: &mut impl Iterator<Item = OsString>) -> Result<Zeroizing<String>> {
    let word = rest
        .next()
        .ok_or_else(|| CommandError::usage(format!("--{} needs a value", row.long)))?;
    text(word)
}

fn text(word: OsString) -> Result<Zeroizing<String>> {
    let text = word.into_string();
    text.map(Zeroizing::new)
        .map_err(|_| CommandError::usage("a word of the command line is not UTF-8"))
}

// === impl Given ===

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given")
            .field("option", &self.row.long)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Line> {
        Line::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn letters_names_and_values_are_read_as_getopt_reads_them() {
        let line =
            parse("-Atcp/22 -vvT --allow=1.2.3.4 extra -D 9.9.9.9 --key-rij abc -- -r").unwrap();

        assert_eq!(line.value("access"), Some("tcp/22"));
        assert_eq!(line.value("allow-ip"), Some("1.2.3.4"));
        assert_eq!(line.value("destination"), Some("9.9.9.9"));
        assert_eq!(line.value("key-rijndael"), Some("abc"));
        assert_eq!((line.count("verbose"), line.has("test")), (2, true));
        assert!(!line.has("rand-port"));
        assert_eq!(parse("-p 1 -p 2").unwrap().value("server-port"), Some("2"));
    }

    #[test]
    fn what_is_no_option_ends_with_1() {
        // Which exit code an error has as `fwknop` is not its own: all end with 1.
        for (words, told) in [
            ("--nonsense", "there is no option --nonsense"),
            ("-Z", "there is no option -Z"),
            ("--key hunter2", "may be --key-rijndael or"),
            ("--test=hunter2", "--test takes no value"),
            ("-A", "--access needs a value"),
            ("--key-rijndaelhunter2", "--key-rijndael has no blank"),
            ("--fault-injection-tag x", "of test builds"),
        ] {
            let error = parse(words).unwrap_err().to_string();

            assert!(error.contains(told), "{words}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn no_two_options_share_a_name_or_a_letter() {
        for (index, row) in ROWS.iter().enumerate() {
            for other in &ROWS[index + 1..] {
                assert!(
                    row.long.is_empty() || row.long != other.long,
                    "{}",
                    row.long
                );
                assert!(
                    row.letter.is_none() || row.letter != other.letter,
                    "{}",
                    row.long
                );
            }
        }
    }

    #[test]
    fn no_value_is_printed() {
        let line = parse("--key-rijndael hunter2").unwrap();

        assert!(!format!("{line:?}").contains("hunter2"));
    }
}

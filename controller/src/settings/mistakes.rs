//! What is wrong with a settings file, each mistake with its line and key.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use policy::nearest_of;
use toml::de::{DeTable, DeValue};

/// What is wrong with the settings, every mistake at once.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", lines(.0, ""))]
pub struct InvalidSettings(pub Vec<Mistake>);

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// From 1; 0 where it is nowhere in the file.
    pub line: usize,
    /// Which setting, as `sink[2].url`; empty where none is meant.
    pub key: String,
    /// In words.
    pub what: String,
}

/// Collects mistakes of one text.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    text: &'a str,
    found: Vec<Mistake>,
}

// === impl InvalidSettings ===

impl InvalidSettings {
    /// One mistake of a file, a line each: `controller.toml:3: listen: not an address`.
    #[must_use]
    pub fn in_file(&self, path: &Path) -> String {
        lines(&self.0, &path.display().to_string())
    }
}

// === impl Mistake ===

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

// === impl Mistakes ===

impl<'a> Mistakes<'a> {
    pub(super) fn in_text(text: &'a str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    /// `at` is where in the text, in bytes.
    pub(super) fn add(&mut self, at: Option<Range<usize>>, key: &str, what: impl Into<String>) {
        let line = at.map_or(0, |at| line_of(self.text, at.start));
        self.found.push(Mistake {
            line,
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// What the parser says.
    pub(super) fn add_syntax(&mut self, error: &toml::de::Error) {
        // Of several lines the first says what is wrong.
        let what = error.message().lines().next().unwrap_or_default();
        self.add(error.span(), "", what);
    }

    /// Names every key of a table that is none of `known`.
    pub(super) fn check_keys(&mut self, table: &DeTable<'_>, path: &str, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let what = match nearest_of(name, known.iter().copied()) {
                Some(near) => format!("unknown setting; did you mean {near}?"),
                None => format!("unknown setting; there are {}", known.join(", ")),
            };
            self.add(Some(key.span()), &format!("{path}{name}"), what);
        }
    }

    /// Fails when there are any, in the order of the text.
    pub(super) fn end(mut self) -> Result<(), InvalidSettings> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|mistake| mistake.line);
        Err(InvalidSettings(self.found))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

/// The table under this key, and those of an array of tables, each with its path.
pub(super) fn tables<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Vec<(String, &'t DeTable<'i>)> {
    let Some(value) = table.get(key) else {
        return Vec::new();
    };
    if let DeValue::Table(inner) = value.get_ref() {
        return vec![(format!("{key}."), inner)];
    }
    let DeValue::Array(values) = value.get_ref() else {
        return Vec::new();
    };
    let each = values.iter().enumerate();
    each.filter_map(|(number, value)| match value.get_ref() {
        DeValue::Table(inner) => Some((format!("{key}[{}].", number + 1), inner)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    })
    .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn lines(mistakes: &[Mistake], path: &str) -> String {
    let each = mistakes.iter().map(|mistake| {
        let place = match (path, mistake.line) {
            ("", 0) => String::new(),
            ("", line) => format!("line {line}: "),
            (path, 0) => format!("{path}: "),
            (path, line) => format!("{path}:{line}: "),
        };
        format!("{place}{mistake}")
    });
    each.collect::<Vec<_>>().join("\n")
}

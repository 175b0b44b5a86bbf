//! What is wrong with a configuration, and where.

use std::fmt;

use program::files::ReadError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named is not there, or cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// All mistakes, one a line.
    #[error("the configuration is invalid{}", lines(.0))]
    Invalid(Vec<Mistake>),
}

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// `file:line`, the variable, or that it is a flag; empty where that is not known.
    place: String,
    /// The key; empty when it is about no key.
    key: String,
    message: String,
}

// === impl Mistake ===

impl Mistake {
    /// A mistake about a key, wherever that stands.
    pub(super) fn of(key: &str, message: impl fmt::Display) -> Self {
        Self::at(String::new(), key, message)
    }

    /// A mistake at a place.
    pub(super) fn at(place: String, key: &str, message: impl fmt::Display) -> Self {
        Self {
            place,
            key: key.to_owned(),
            message: message.to_string(),
        }
    }

    /// The same with its place, if that was not known.
    pub(super) fn found(mut self, place: impl FnOnce(&str) -> String) -> Self {
        if self.place.is_empty() {
            self.place = place(&self.key);
        }
        self
    }

    /// Whether `other` would not be one without this: it is about a key that could not be read, or one
    /// that means something only beside that.
    pub(super) fn hides(&self, other: &Self) -> bool {
        let beside = [("pcap_file", "follow")];
        self.key == other.key || beside.contains(&(self.key.as_str(), other.key.as_str()))
    }

    /// File by file and line by line; what stands in no file comes last.
    pub(super) fn order(&self) -> (bool, &str, usize) {
        let file = self.place.rsplit_once(':').map(|(file, _)| file);
        let line = self.line();
        (line == 0, file.unwrap_or_default(), line)
    }

    /// The line in the file, for the order.
    pub(super) fn line(&self) -> usize {
        let line = self.place.rsplit(':').next();
        line.and_then(|line| line.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(|mistake| format!("\n{mistake}"))
        .collect()
}

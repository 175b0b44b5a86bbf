//! What is wrong with a policy text: every mistake at once, each with the place where it stands.

use std::fmt;
use std::sync::Arc;

use crate::problem::Problem;

/// The most mistakes that are collected before the parser stops looking.
///
/// A binary file given by accident would otherwise produce one mistake per line.
pub(crate) const MISTAKES_MAX: usize = 1000;

/// One thing that is wrong, or only doubtful when it stands in [`Policy::warnings`](crate::Policy).
///
/// Never contains a key or any other value that could be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file in which it stands, as it was named to the parser.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// The keyword of the line, when it has one.
    pub keyword: Option<Box<str>>,
    /// What is wrong, in words.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where something stands. As text, `file:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named to the parser.
    pub file: Arc<str>,
    /// Counted from 1; 0 when the file as a whole is meant.
    pub line: u32,
}

/// A text is not a policy; nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidPolicy {
    /// Every mistake, in the order of the text; never empty.
    pub mistakes: Vec<Mistake>,
}

// === impl Place ===

impl Place {
    pub(crate) fn of(file: &Arc<str>, line: u32) -> Self {
        Self {
            file: Arc::clone(file),
            line,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

// === impl Mistake ===

impl Mistake {
    /// Gives a problem its place.
    pub(crate) fn at(place: &Place, keyword: Option<&str>, problem: Problem) -> Self {
        Self {
            file: Arc::clone(&place.file),
            line: place.line,
            keyword: keyword.map(Box::from),
            message: problem.message,
            hint: problem.hint,
        }
    }
}

impl fmt::Display for Mistake {
    /// `file:line: KEYWORD: message (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if let Some(keyword) = &self.keyword {
            write!(f, " {keyword}:")?;
        }
        write!(f, " {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

// === impl InvalidPolicy ===

impl fmt::Display for InvalidPolicy {
    /// One mistake a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

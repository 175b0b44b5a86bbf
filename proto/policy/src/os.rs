//! REQUIRE_OS and REQUIRE_OS_REGEX: which operating system the sender's last SYN must have shown.
//!
//! The names are those of a file of signatures in the form of p0f 3 ([`OsSignatures`]), which the
//! host's operator keeps. What a SYN shows is a hint and never a proof: whoever can send a SYN with
//! the sender's address can make it look like anything.

mod file;
mod signature;
mod syn;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use regex_lite::{Regex, RegexBuilder};

pub use file::{InvalidSignatures, OsLabel, OsMatch, OsSignatures};
pub use syn::{OptionKinds, Quirks, Syn, kinds};

use crate::keyword::nearest_of;
use crate::problem::Problem;

/// The longest name of an operating system with its flavor, in bytes, and the longest expression.
const TEXT_BYTES_MAX: usize = 128;

/// What a stanza says about the sender's operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRule {
    /// REQUIRE_OS: one of these; empty for any.
    pub names: Box<[OsName]>,
    /// REQUIRE_OS_REGEX: must match name and flavor, too.
    pub pattern: Option<OsPattern>,
}

/// An entry of REQUIRE_OS: `Linux`, or with the flavor `Linux:3.x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsName(Box<str>);

/// The regular expression of REQUIRE_OS_REGEX, without regard to case.
#[derive(Clone, Debug)]
pub struct OsPattern(Regex);

/// Why a stanza does not take a message, whatever it says: for who sent it, or for how it came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// KNOCK_SEQUENCE, which it does not say.
    #[error("KNOCK_SEQUENCE: the stanza takes packets only")]
    Sequence,
    /// REQUIRE_OS, and nothing to go by.
    #[error("REQUIRE_OS: no SYN of {address} was seen within the last {within_secs} s")]
    NoSyn {
        /// Where the packet came from.
        address: IpAddr,
        /// For how long a SYN counts.
        within_secs: u64,
    },
    /// REQUIRE_OS, and another one.
    #[error("REQUIRE_OS: the last SYN of {address} shows {shown}")]
    OtherOs {
        /// Where the packet came from.
        address: IpAddr,
        /// What it shows, for people: label and signature.
        shown: String,
    },
}

/// Operating systems that files of signatures name: to tell a slip of the pen, no more than that.
const KNOWN_NAMES: [&str; 14] = [
    "AIX", "Android", "FreeBSD", "HP-UX", "iOS", "Linux", "Mac OS X", "macOS", "NetBSD", "OpenBSD",
    "OpenVMS", "Solaris", "Tru64", "Windows",
];

// === impl OsRule ===

impl OsRule {
    /// Whether a label is one of those that the stanza wants.
    #[must_use]
    pub fn accepts(&self, label: &OsLabel) -> bool {
        let is_named = self.names.is_empty() || self.names.iter().any(|name| name.is(label));
        let pattern = self.pattern.as_ref();
        is_named && pattern.is_none_or(|pattern| pattern.0.is_match(&label.words()))
    }

    /// The entries that no label of these signatures can meet; the expression as a whole stands as
    /// one of them.
    #[must_use]
    pub fn unknown_to(&self, signatures: &OsSignatures) -> Vec<&str> {
        let unknown = |name: &&OsName| !signatures.labels().any(|label| name.is(label));
        let mut all: Vec<&str> = self
            .names
            .iter()
            .filter(unknown)
            .map(OsName::as_str)
            .collect();
        let pattern = self.pattern.as_ref();
        all.extend(
            pattern
                .filter(|pattern| {
                    let mut labels = signatures.labels();
                    !labels.any(|label| pattern.0.is_match(&label.words()))
                })
                .map(OsPattern::as_str),
        );
        all
    }

    /// What is doubtful about the names, each with the name that was perhaps meant.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = Problem> {
        let names = self.names.iter().map(OsName::system);
        let unknown =
            names.filter(|name| !KNOWN_NAMES.iter().any(|k| k.eq_ignore_ascii_case(name)));
        unknown.map(|name| {
            let problem = Problem::new(format!("no usual file of signatures names `{name}`"));
            match nearest_of(name, KNOWN_NAMES) {
                Some(near) => problem.hint(format!("did you mean {near}?")),
                None => problem.hint("the file of each host must have a label of this name"),
            }
        })
    }
}

/// As people read it: `Linux or FreeBSD and /3[.]/`.
impl fmt::Display for OsRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(OsName::as_str).collect();
        f.write_str(&names.join(" or "))?;
        match &self.pattern {
            Some(pattern) if names.is_empty() => write!(f, "/{pattern}/"),
            Some(pattern) => write!(f, " and /{pattern}/"),
            None => Ok(()),
        }
    }
}

// === impl OsName ===

impl OsName {
    /// Reads REQUIRE_OS: names separated by commas.
    pub(crate) fn list(value: &str) -> Result<Box<[Self]>, Problem> {
        let mut names: Vec<Self> = Vec::new();
        for name in value.split(',') {
            let name = Self::parse(name.trim())?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names.into())
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        // The whole label of a file: type, class, name, flavor.
        let mut parts = text.splitn(3, ':');
        let text = match (parts.next(), parts.next(), parts.next()) {
            (Some("s" | "g"), Some(_), Some(rest)) => rest.trim_end_matches(':'),
            _ => text.trim_end_matches(':'),
        };
        if text.is_empty() {
            return Err(Problem::new("the value names no operating system")
                .hint("REQUIRE_OS Linux, FreeBSD, or with a flavor REQUIRE_OS Linux:3.x"));
        }
        check_text(text)?;
        Ok(Self(text.into()))
    }

    /// The entry as it is printed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name alone.
    fn system(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(name, _)| name)
    }

    fn is(&self, label: &OsLabel) -> bool {
        match self.0.split_once(':') {
            None => {
                self.0.eq_ignore_ascii_case(&label.name)
                    || self.0.eq_ignore_ascii_case(&label.words())
            }
            Some((name, flavor)) => {
                name.eq_ignore_ascii_case(&label.name) && flavor.eq_ignore_ascii_case(&label.flavor)
            }
        }
    }
}

impl fmt::Display for OsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl OsPattern ===

impl OsPattern {
    /// Reads REQUIRE_OS_REGEX.
    pub(crate) fn parse(value: &str) -> Result<Self, Problem> {
        check_text(value)?;
        let regex = RegexBuilder::new(value).case_insensitive(true).build();
        regex
            .map(Self)
            .map_err(|cause| Problem::new(format!("the value is no regular expression: {cause}")))
    }

    /// The expression as it is printed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for OsPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for OsPattern {}

impl fmt::Display for OsPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of printable characters that is not too long.
fn check_text(text: &str) -> Result<(), Problem> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.len() <= TEXT_BYTES_MAX && is_printable {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the value has other than printable characters, or more than {TEXT_BYTES_MAX}"
    )))
}

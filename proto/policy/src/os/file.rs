//! A file of signatures in the form of p0f 3: its section `[tcp:request]`.
//!
//! ```text
//! classes = unix
//! [tcp:request]
//! label = s:unix:Linux:6.x
//! sig   = *:64:0:*:mss*44,10:mss,sok,ts,nop,ws:df,id+:0
//! ```
//!
//! The other sections of such a file (about answers, HTTP and packet sizes) are passed over.

use std::fmt;
use std::sync::Arc;

use super::signature::{Fit, Signature};
use super::syn::Syn;
use crate::keyword::nearest_of;
use crate::mistake::{MISTAKES_MAX, Mistake, Place};
use crate::problem::Problem;

/// What a SYN is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsSignatures {
    labels: Vec<OsLabel>,
    /// Each with the place of its label.
    signatures: Vec<(usize, Signature)>,
}

/// The name that a file gives to signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsLabel {
    /// Whether it is only taken when no other one fits: `g`, and not `s`.
    pub is_generic: bool,
    /// `unix`, `win`; `None` for a program that makes its own packets, written `!`.
    pub class: Option<Box<str>>,
    /// `Linux`.
    pub name: Box<str>,
    /// `3.x`; may be empty.
    pub flavor: Box<str>,
}

/// The label of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsMatch<'s> {
    /// What the file calls it.
    pub label: &'s OsLabel,
    /// Whether it fits but for what a network on the way may have changed.
    pub is_fuzzy: bool,
}

/// A text is no file of signatures; nothing of it may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSignatures {
    /// Every mistake, with file, line and field; never empty.
    pub mistakes: Vec<Mistake>,
}

/// Sections of such a file.
const SECTIONS: [&str; 5] = [
    "tcp:request",
    "tcp:response",
    "http:request",
    "http:response",
    "mtu",
];
/// Keys of the section that is read.
const KEYS: [&str; 3] = ["label", "sig", "sys"];

/// A file while it is read.
struct Reader {
    read: OsSignatures,
    section: Section,
    has_label: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Before the first.
    Head,
    Requests,
    PassedOver,
}

// === impl OsSignatures ===

impl OsSignatures {
    /// Reads a file; `file` is what it is called in mistakes.
    ///
    /// # Errors
    ///
    /// [`InvalidSignatures`] with every mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, InvalidSignatures> {
        let file: Arc<str> = file.into();
        let mut reader = Reader {
            read: Self::default(),
            section: Section::Head,
            has_label: false,
        };
        let mut mistakes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Err((field, problem)) = reader.line(line.trim()) {
                mistakes.push(Mistake::at(&Place::of(&file, number), field, problem));
            }
            if mistakes.len() >= MISTAKES_MAX {
                break;
            }
        }
        if mistakes.is_empty() {
            return Ok(reader.read);
        }
        Err(InvalidSignatures { mistakes })
    }

    /// What the file calls the system that sent this; `None` where no signature fits.
    ///
    /// An exact fit of a label that is not generic comes first, then a generic one, then the first
    /// fuzzy one, of which none is taken for programs that make their own packets.
    #[must_use]
    pub fn identify(&self, syn: &Syn) -> Option<OsMatch<'_>> {
        let (mut generic, mut fuzzy) = (None, None);
        for (label, signature) in &self.signatures {
            let Some(label) = self.labels.get(*label) else {
                continue;
            };
            match signature.fit(syn) {
                Fit::None => {}
                Fit::Exact if !label.is_generic => {
                    let is_fuzzy = false;
                    return Some(OsMatch { label, is_fuzzy });
                }
                Fit::Exact => generic = generic.or(Some(label)),
                Fit::Fuzzy => fuzzy = fuzzy.or(Some(label)),
            }
        }
        let fuzzy = fuzzy.filter(|label| label.class.is_some());
        let found = generic.map(|label| (label, false));
        let found = found.or_else(|| fuzzy.map(|label| (label, true)));
        found.map(|(label, is_fuzzy)| OsMatch { label, is_fuzzy })
    }

    /// Every label.
    pub fn labels(&self) -> impl Iterator<Item = &OsLabel> {
        self.labels.iter()
    }

    /// How many signatures there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }
}

// === impl Reader ===

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), (Option<&'static str>, Problem)> {
        if line.is_empty() || line.starts_with(';') {
            return Ok(());
        }
        if let Some(section) = line.strip_prefix('[') {
            return self.section(section).map_err(|problem| (None, problem));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| {
            (
                None,
                Problem::new("the line is neither a section nor `key = value`"),
            )
        })?;
        let (key, value) = (key.trim(), value.trim());
        match (self.section, key) {
            (Section::PassedOver, _) | (Section::Head, "classes") => Ok(()),
            (Section::Head, _) => {
                let problem = Problem::new("the line stands before the first section");
                Err((None, problem.hint("[tcp:request] is the one about SYNs")))
            }
            (Section::Requests, "label") => self.label(value).map_err(|p| (Some("label"), p)),
            (Section::Requests, "sig") => self.sig(value).map_err(|p| (Some("sig"), p)),
            // On which systems a program runs: nothing that is asked here.
            (Section::Requests, "sys") => Ok(()),
            (Section::Requests, other) => {
                let problem = Problem::new(format!("`{other}` is no key of [tcp:request]"));
                Err((None, did_you_mean(problem, other, &KEYS)))
            }
        }
    }

    fn section(&mut self, rest: &str) -> Result<(), Problem> {
        let name = rest.strip_suffix(']');
        let name = name.ok_or_else(|| Problem::new("the section has no ] at its end"))?;
        self.has_label = false;
        self.section = match name {
            "tcp:request" => Section::Requests,
            other if SECTIONS.contains(&other) => Section::PassedOver,
            other => {
                self.section = Section::PassedOver;
                let problem = Problem::new(format!("`{other}` is no section"));
                return Err(did_you_mean(problem, other, &SECTIONS));
            }
        };
        Ok(())
    }

    fn label(&mut self, value: &str) -> Result<(), Problem> {
        // Signatures below a label that is none belong to nothing, and are not mistakes of their own.
        self.has_label = true;
        self.read.labels.push(OsLabel::parse(value)?);
        Ok(())
    }

    fn sig(&mut self, value: &str) -> Result<(), Problem> {
        if !self.has_label {
            let problem = Problem::new("the signature stands below no label");
            return Err(problem.hint("label = s:unix:Linux:6.x"));
        }
        let signature = Signature::parse(value)?;
        let label = self.read.labels.len().saturating_sub(1);
        self.read.signatures.push((label, signature));
        Ok(())
    }
}

fn did_you_mean(problem: Problem, word: &str, words: &'static [&'static str]) -> Problem {
    match nearest_of(word, words.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean {near}?")),
        None => problem.hint(format!("{} are", words.join(", "))),
    }
}

// === impl OsLabel ===

impl OsLabel {
    fn parse(value: &str) -> Result<Self, Problem> {
        let mut parts = value.splitn(4, ':');
        let (Some(kind), Some(class), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            let problem = Problem::new("the label has fewer than three fields between colons");
            return Err(problem.hint("s:unix:Linux:6.x"));
        };
        let is_generic = match kind {
            "s" => false,
            "g" => true,
            _ => return Err(Problem::new("the type of the label is neither s nor g")),
        };
        let class = match class {
            "!" => None,
            "" => {
                return Err(Problem::new("the label names no class")
                    .hint("unix, win, or ! for a program that makes its own packets"));
            }
            class => Some(class.into()),
        };
        if name.is_empty() {
            return Err(Problem::new("the label names no system"));
        }
        Ok(Self {
            is_generic,
            class,
            name: name.into(),
            flavor: parts.next().unwrap_or_default().into(),
        })
    }

    /// Name and flavor: `Linux 3.x`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} {}", self.name, self.flavor)
            .trim_end()
            .to_owned()
    }
}

impl fmt::Display for OsLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())
    }
}

// === impl InvalidSignatures ===

impl fmt::Display for InvalidSignatures {
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

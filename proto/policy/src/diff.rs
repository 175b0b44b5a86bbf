//! What changes between two policies, stanza by stanza.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::policy::Policy;
use crate::print::{Printer, Secrets};

/// The difference between two policies. Keys appear as fingerprints only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDiff {
    /// What differs before the first stanza: groups, PROTECT.
    pub head: Vec<LineDiff>,
    /// The stanzas that differ, in the order of the new policy; removed ones at the end.
    pub stanzas: Vec<StanzaDiff>,
    /// Whether the stanzas that are in both stand in another order.
    pub reordered: bool,
}

/// One stanza that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaDiff {
    /// Its NAME, or `#` and its number when it has none.
    pub stanza: String,
    /// What happened to it.
    pub change: Change,
    /// Its lines that differ, in canonical form.
    pub lines: Vec<LineDiff>,
}

/// What happened to a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is only in the new policy.
    Added,
    /// It is only in the old policy.
    Removed,
    /// It is in both and differs.
    Changed,
}

/// One line that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineDiff {
    /// It is only in the new text.
    Added(String),
    /// It is only in the old text.
    Removed(String),
}

/// Compares two policies. Stanzas are the same when they have the same name.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> PolicyDiff {
    let (old_stanzas, new_stanzas) = (by_name(old), by_name(new));
    let old_texts: BTreeMap<&Name, &str> = texts(&old_stanzas);
    let new_texts: BTreeMap<&Name, &str> = texts(&new_stanzas);

    let mut stanzas = Vec::new();
    for (name, text) in &new_stanzas {
        match old_texts.get(name) {
            None => stanzas.push(StanzaDiff::new(name, Change::Added, "", text)),
            Some(old) if old == text => {}
            Some(old) => stanzas.push(StanzaDiff::new(name, Change::Changed, old, text)),
        }
    }
    for (name, text) in &old_stanzas {
        if !new_texts.contains_key(name) {
            stanzas.push(StanzaDiff::new(name, Change::Removed, text, ""));
        }
    }

    let old_kept = old_stanzas
        .iter()
        .filter(|(n, _)| new_texts.contains_key(n));
    let new_kept = new_stanzas
        .iter()
        .filter(|(n, _)| old_texts.contains_key(n));
    PolicyDiff {
        head: lines(&head(old), &head(new)),
        stanzas,
        reordered: !old_kept
            .map(|(name, _)| name)
            .eq(new_kept.map(|(name, _)| name)),
    }
}

/// The label of a stanza, and which of those with this label it is.
type Name = (String, usize);

/// The stanzas in their order: name and canonical text with keys as fingerprints.
fn by_name(policy: &Policy) -> Vec<(Name, String)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    policy
        .stanzas
        .iter()
        .map(|stanza| {
            let label = stanza.label();
            let nth = seen.entry(label.clone()).or_default();
            *nth += 1;
            ((label, *nth), stanza.print(Secrets::Redact))
        })
        .collect()
}

fn texts(stanzas: &[(Name, String)]) -> BTreeMap<&Name, &str> {
    stanzas
        .iter()
        .map(|(name, text)| (name, text.as_str()))
        .collect()
}

fn head(policy: &Policy) -> String {
    let mut printer = Printer::new(Secrets::Redact);
    printer.head(policy);
    printer.finish()
}

/// The lines that are in only one of two canonical texts, the removed ones first. A line that stands
/// twice counts twice.
fn lines(old: &str, new: &str) -> Vec<LineDiff> {
    let mut left: Vec<&str> = new.lines().collect();
    let mut diff = Vec::new();
    for line in old.lines() {
        match left.iter().position(|other| *other == line) {
            Some(at) => drop(left.remove(at)),
            None => diff.push(LineDiff::Removed(line.to_owned())),
        }
    }
    diff.extend(
        left.into_iter()
            .map(|line| LineDiff::Added(line.to_owned())),
    );
    diff
}

// === impl PolicyDiff ===

impl PolicyDiff {
    /// Whether the two say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.stanzas.is_empty() && !self.reordered
    }
}

impl fmt::Display for PolicyDiff {
    /// A line for each line that differs, under a line for its stanza.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.head {
            writeln!(f, "{line}")?;
        }
        for stanza in &self.stanzas {
            writeln!(f, "{} {}", stanza.change, stanza.stanza)?;
            for line in &stanza.lines {
                writeln!(f, "  {line}")?;
            }
        }
        if self.reordered {
            writeln!(f, "stanzas stand in another order")?;
        }
        Ok(())
    }
}

// === impl StanzaDiff ===

impl StanzaDiff {
    fn new(name: &Name, change: Change, old: &str, new: &str) -> Self {
        Self {
            stanza: name.0.clone(),
            change,
            lines: lines(old, new),
        }
    }
}

// === impl Change ===

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        })
    }
}

// === impl LineDiff ===

impl fmt::Display for LineDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(line) => write!(f, "+ {line}"),
            Self::Removed(line) => write!(f, "- {line}"),
        }
    }
}

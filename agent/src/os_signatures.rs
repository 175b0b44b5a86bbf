//! The file of signatures by which SYNs are told apart, for stanzas with REQUIRE_OS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use policy::{InvalidSignatures, OsSignatures, Policy};
use program::files::ReadError;

/// Read when the configuration names no other, if it is there.
pub const DEFAULT_FILE: &str = "/etc/postern/os.fp";
/// That of p0f has 30 kB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where signatures are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OsSignaturesFile {
    /// What the configuration names.
    named: Option<PathBuf>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadOsSignatures {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// It has mistakes.
    #[error(transparent)]
    Invalid(#[from] InvalidSignatures),
}

// === impl OsSignaturesFile ===

impl OsSignaturesFile {
    /// The file that a configuration names, or where it is else.
    #[must_use]
    pub fn new(named: Option<PathBuf>) -> Self {
        Self { named }
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.named
            .as_deref()
            .unwrap_or_else(|| Path::new(DEFAULT_FILE))
    }

    /// Reads it. One that nobody named need not be there: then there are no signatures.
    ///
    /// # Errors
    ///
    /// [`BadOsSignatures`] with every mistake.
    pub fn read(&self) -> Result<Arc<OsSignatures>, BadOsSignatures> {
        let path = self.path();
        if self.named.is_none() && !path.exists() {
            return Ok(Arc::default());
        }
        let text = program::trusted::read_text(path, FILE_BYTES_MAX)?;
        let file = path.display().to_string();
        Ok(Arc::new(OsSignatures::parse(&file, &text)?))
    }
}

/// What a policy requires of senders and no signature can give, for people; one line for each stanza.
#[must_use]
pub fn faults(policy: &Policy, signatures: &OsSignatures) -> Vec<String> {
    let mut faults = Vec::new();
    for stanza in &policy.stanzas {
        let Some(rule) = &stanza.os else {
            continue;
        };
        let unknown = rule.unknown_to(signatures);
        let fault = if signatures.is_empty() {
            "this host has no signatures of operating systems".to_owned()
        } else if unknown.is_empty() {
            continue;
        } else {
            format!("no signature of this host is of {}", unknown.join(", "))
        };
        faults.push(format!("REQUIRE_OS of stanza {}: {fault}", stanza.label()));
    }
    faults.dedup();
    faults
}

#[cfg(test)]
mod tests {
    use policy::{Dialect, NoIncludes, parse_as};

    use super::*;

    #[test]
    fn what_no_signature_can_give_is_said_of_its_stanza() {
        let text = "SOURCE ANY\nNAME a\nKEY k\nHMAC_KEY h\nREQUIRE_OS Linux, BeOS\n\n\
            NAME b\nSOURCE ANY\nKEY l\nHMAC_KEY h\nREQUIRE_OS Linux\n";
        let policy = parse_as(Dialect::Alone, "a", text, &NoIncludes).unwrap();
        let file = "[tcp:request]\nlabel = s:unix:Linux:6.x\nsig = *:64:0:*:*,*:mss:df,id+:0\n";
        let signatures = OsSignatures::parse("os.fp", file).unwrap();

        assert_eq!(
            faults(&policy, &signatures),
            ["REQUIRE_OS of stanza a: no signature of this host is of BeOS"]
        );
        assert_eq!(faults(&policy, &OsSignatures::default()).len(), 2);
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_one_with_mistakes_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("os.fp");
        let named = OsSignaturesFile::new(Some(path.clone()));
        assert!(matches!(named.read(), Err(BadOsSignatures::Unreadable(_))));

        std::fs::write(&path, "[tcp:request]\nsig = x\n").unwrap();
        let said = named.read().unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("{}:2: sig: ", path.display())),
            "{said}"
        );
    }
}

//! One finding.

use std::error::Error;
use std::fmt;

use serde::Serialize;

/// What to do where this user may not look.
pub(super) const AS_ROOT: &str = "run doctor as root, as the agent is";

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work, or will not at the next start.
    Fail,
}

/// One check. The names are part of the interface.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    pub(super) verdict: Verdict,
    found: String,
    /// What to do, one way a line.
    cure: Vec<String>,
}

// === impl Check ===

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            cure: Vec::new(),
        }
    }

    pub(super) fn warn(
        name: &'static str,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Warn,
            cure: vec![cure.into()],
            ..Self::ok(name, found)
        }
    }

    pub(super) fn fail(
        name: &'static str,
        found: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(name, found, cure)
        }
    }

    /// Of an error: where permission is missing nothing else need be wrong, and no other cure is named.
    pub(super) fn failed(
        name: &'static str,
        cause: &(dyn Error + 'static),
        cure: impl Into<String>,
    ) -> Self {
        let found = program::one_line(cause).to_string();
        if program::is_denied(cause) {
            return Self::fail(name, found, AS_ROOT);
        }
        Self::fail(name, found, cure)
    }

    /// The same with other ways to cure it.
    pub(super) fn with_cures(self, cure: Vec<String>) -> Self {
        Self { cure, ..self }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        let mut found = self.found.lines();
        let first = found.next().unwrap_or_default();
        writeln!(f, "{verdict:<4}  {:<13} {first}", self.name)?;
        for line in found {
            writeln!(f, "{:20}{line}", "")?;
        }
        for line in self.cure.iter().filter(|line| !line.is_empty()) {
            writeln!(f, "{:20}-> {line}", "")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_permission_is_missing_no_other_cure_is_named() {
        let of = |kind: std::io::ErrorKind| {
            let check = Check::failed("membership", &std::io::Error::from(kind), "join");
            check.to_string()
        };

        let denied = of(std::io::ErrorKind::PermissionDenied);
        assert!(
            denied.ends_with("-> run doctor as root, as the agent is\n"),
            "{denied}"
        );
        let missing = of(std::io::ErrorKind::NotFound);
        assert!(missing.ends_with("-> join\n"), "{missing}");
    }

    #[test]
    fn a_check_is_one_line_and_what_to_do_stands_below_it() {
        let check = Check::fail("clock", "31 s ahead", "set it");

        assert_eq!(
            check.to_string(),
            "fail  clock         31 s ahead\n                    -> set it\n"
        );
        let object = serde_json::to_string(&check).unwrap();
        let expected =
            r#"{"check":"clock","verdict":"fail","found":"31 s ahead","cure":["set it"]}"#;
        assert_eq!(object, expected);
    }
}

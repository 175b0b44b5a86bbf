//! access.conf as fwknop has it, and a fleet's policy.
//!
//! Whatever is read can be printed, and what is printed means the same: policies travel so. Mistakes
//! name lines that are there, and none of them holds a key.

use policy::{Dialect, NoIncludes, Policy, Secrets, parse_as};

/// A key that some inputs hold; it must stand in no mistake.
const KEY: &str = "kEy0fSomebody";

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for dialect in [Dialect::Alone, Dialect::Operator] {
        match parse_as(dialect, "access.conf", text, &NoIncludes) {
            Ok(policy) => means_the_same_when_printed(dialect, &policy),
            Err(invalid) => {
                assert!(!invalid.mistakes.is_empty(), "refused for nothing");
                let lines = text.lines().count().max(1);
                for mistake in &invalid.mistakes {
                    let line = usize::try_from(mistake.line).expect("a number of a line");
                    assert!(line <= lines, "line {line} of {lines}: {mistake}");
                    assert!(!mistake.to_string().contains(KEY), "{mistake}");
                }
            }
        }
    }
    let _ = policy::redact_text(text);
}

/// A policy that was printed is read by the dialect of operators, whose form it is.
fn means_the_same_when_printed(dialect: Dialect, policy: &Policy) {
    assert!(
        !policy.print(Secrets::Redact).contains(KEY),
        "a key was shown"
    );
    // What a fleet cannot have (keyrings of one host) is printed for people only.
    if dialect == Dialect::Alone {
        return;
    }
    let printed = policy.print(Secrets::Show);
    let again = parse_as(Dialect::Operator, "printed", &printed, &NoIncludes);
    let again = again.unwrap_or_else(|invalid| panic!("{invalid}\n{printed}"));
    assert_eq!(again.print(Secrets::Show), printed);
}

//! What came of the `%test` lines of a policy, in words and in JSON.

use fleet::wire::TestResult;
use policy::{TestOutcome, TestRun};
use program::few;
use serde::Serialize;

use crate::error::{CommandError, Result};
use crate::ui::Ui;

/// A test in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// `test`
    r#type: &'static str,
    file: String,
    line: u32,
    text: String,
    /// passed, failed, not-run
    result: &'static str,
    detail: String,
}

impl From<&TestRun<'_>> for Row {
    fn from(run: &TestRun<'_>) -> Self {
        let (result, detail) = match &run.outcome {
            TestOutcome::Passed { by } => (PASSED, by),
            TestOutcome::Failed { why } => (FAILED, why),
            TestOutcome::NotRun { why } => (NOT_RUN, why),
        };
        Self {
            r#type: "test",
            file: run.test.at.file.to_string(),
            line: run.test.at.line,
            text: run.test.to_string(),
            result,
            detail: detail.clone(),
        }
    }
}

impl From<&TestResult> for Row {
    fn from(test: &TestResult) -> Self {
        let TestResult {
            file,
            line,
            text,
            passed,
            detail,
            not_run,
        } = test;
        Self {
            r#type: "test",
            file: file.clone(),
            line: *line,
            text: text.clone(),
            result: match (passed, not_run) {
                (true, _) => PASSED,
                (false, true) => NOT_RUN,
                (false, false) => FAILED,
            },
            detail: detail.clone(),
        }
    }
}

const PASSED: &str = "passed";
const FAILED: &str = "failed";
const NOT_RUN: &str = "not-run";

/// Tells those that could not be run, and how many of how many hold: "3 tests hold".
pub(super) fn note(ui: &Ui, tests: &[Row]) {
    for test in tests.iter().filter(|test| test.result == NOT_RUN) {
        let Row {
            file,
            line,
            text,
            detail,
            ..
        } = test;
        let (text, detail) = (few::folded(text), few::folded(detail));
        ui.note(format_args!("{file}:{line}: {text}: not run: {detail}"));
    }
    if let Some(sum) = sum(tests) {
        ui.note(sum);
    }
}

/// Whether some could not be run.
pub(super) fn are_some_left(tests: &[Row]) -> bool {
    tests.iter().any(|test| test.result == NOT_RUN)
}

/// How many hold: those that could not be run are neither good nor bad.
fn sum(tests: &[Row]) -> Option<String> {
    let count = |result| tests.iter().filter(|test| test.result == result).count();
    Some(match (count(PASSED), count(NOT_RUN), tests.len()) {
        (_, _, 0) => return None,
        (_, 1, 1) => "The only test could not be run.".to_owned(),
        (_, not_run, all) if not_run == all => format!("None of {all} tests could be run."),
        (1, _, 1) => "1 test holds.".to_owned(),
        (hold, _, all) if hold == all => format!("{all} tests hold."),
        (hold, 0, all) => format!("{hold} of {all} tests hold."),
        (hold, not_run, all) => {
            format!("{hold} of {all} tests hold, {not_run} could not be run.")
        }
    })
}

/// Refuses what does not do what it says of itself.
///
/// # Errors
///
/// Exit code 64, with every test that fails.
pub(super) fn must_hold(name: &str, tests: &[Row]) -> Result {
    let failed: Vec<String> = tests
        .iter()
        .filter(|test| test.result == FAILED)
        .map(|test| {
            format!(
                "{}:{}: {}: {}",
                test.file,
                test.line,
                few::folded(&test.text),
                few::folded(&test.detail)
            )
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let count = match failed.len() {
        1 => "a test".to_owned(),
        count => format!("{count} tests"),
    };
    let failed = failed.join("\n");
    Err(CommandError::invalid(format!(
        "{name}: {count} of the policy failed\n{failed}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_could_not_be_run_are_no_failures() {
        let said = |results: &[&'static str]| {
            let rows: Vec<Row> = results
                .iter()
                .map(|result| Row {
                    r#type: "test",
                    file: String::new(),
                    line: 1,
                    text: String::new(),
                    result,
                    detail: String::new(),
                })
                .collect();
            sum(&rows).unwrap_or_default()
        };

        assert_eq!(said(&[]), "");
        assert_eq!(said(&[PASSED]), "1 test holds.");
        assert_eq!(said(&[PASSED, PASSED]), "2 tests hold.");
        assert_eq!(said(&[NOT_RUN]), "The only test could not be run.");
        assert_eq!(
            said(&[NOT_RUN, NOT_RUN, NOT_RUN]),
            "None of 3 tests could be run."
        );
        assert_eq!(
            said(&[PASSED, NOT_RUN, PASSED]),
            "2 of 3 tests hold, 1 could not be run."
        );
        assert_eq!(said(&[PASSED, FAILED]), "1 of 2 tests hold.");
    }
}

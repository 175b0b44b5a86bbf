//! What came of the `%test` lines of a policy, in words and in JSON.

use fleet::wire::TestResult;
use policy::{TestOutcome, TestRun};
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
        ui.note(format_args!("{file}:{line}: {text}: not run: {detail}"));
    }
    let count = tests.iter().filter(|test| test.result == PASSED).count();
    match (count, tests.len()) {
        (_, 0) => {}
        (1, 1) => ui.note("1 test holds."),
        (count, all) if count == all => ui.note(format_args!("{all} tests hold.")),
        (count, all) => ui.note(format_args!("{count} of {all} tests hold.")),
    }
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
                test.file, test.line, test.text, test.detail
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

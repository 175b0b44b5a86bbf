//! `postern policy check`

use std::path::PathBuf;

use serde::Serialize;

use super::test_lines;
use crate::context::{Context, Listing};
use crate::error::Result;
use crate::policy_file::PolicyFile;

/// Check a policy file without a controller
///
/// Every mistake is told on standard error as `file:line: KEYWORD: what is wrong`, and the exit code
/// is 64. `%test` lines are run as far as no fleet is needed: one that depends on labels of a host is
/// said to be not run, and runs in `postern policy diff` and `apply`. One that fails is exit code 64.
///
/// JSON fields, one object a line by `type`: `test` (file, line, text, result: passed, failed or
/// not-run, detail), `warning` (file, line, keyword, message, hint), and last `file` (file, stanzas).
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern policy check access.conf
  printf '%s\\n' '%test deny * role=db tcp/5432' | cat access.conf - | postern policy check -")]
pub(crate) struct CheckArgs {
    /// Policy file, or `-` for standard input
    file: PathBuf,

    #[command(flatten)]
    listing: Listing,
}

/// What is doubtful, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Warning<'a> {
    r#type: &'static str,
    file: &'a str,
    line: u32,
    keyword: &'a str,
    message: &'a str,
    hint: &'a str,
}

/// The file, in JSON. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    r#type: &'static str,
    file: &'a str,
    stanzas: usize,
}

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result {
    let file = PolicyFile::read(&args.file)?;
    if let Some(words) = file.says_of_keys() {
        context.ui.note(words);
    }
    let own = policy::own_doubts(&file.policy, context.now_secs);
    let runs = file.policy.run_tests(None, context.now_secs);
    let tests: Vec<_> = runs.iter().map(test_lines::Row::from).collect();
    let warnings = file.policy.warnings.iter().chain(&own);
    if args.listing.json {
        for warning in warnings {
            context.ui.json(&Warning {
                r#type: "warning",
                file: &warning.file,
                line: warning.line,
                keyword: warning.keyword.as_deref().unwrap_or_default(),
                message: &warning.message,
                hint: warning.hint.as_deref().unwrap_or_default(),
            })?;
        }
    } else {
        context.ui.warn_of(warnings.map(ToString::to_string));
    }
    if args.listing.json {
        tests.iter().try_for_each(|test| context.ui.json(test))?;
    } else {
        test_lines::note(&context.ui, &tests);
        if test_lines::are_some_left(&tests) {
            context.ui.note(format_args!(
                "`postern policy diff {}` asks the controller, which can run all.",
                file.name
            ));
        }
    }
    test_lines::must_hold(&file.name, &tests)?;
    if args.listing.json {
        return context.ui.json(&Checked {
            r#type: "file",
            file: &file.name,
            stanzas: file.policy.stanzas.len(),
        });
    }
    context.ui.say(format_args!(
        "{} is in order: {}.",
        file.name,
        file.stanzas()
    ))
}

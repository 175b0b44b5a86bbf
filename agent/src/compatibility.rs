//! The page about fwknop says what the tables say.

use std::path::{Path, PathBuf};

use program::doc_table::{Row, compare, table};

use crate::fwknopd::variables::{self, Verdict};

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fwknop-compatibility.md")
}

#[test]
fn the_page_says_of_every_keyword_of_access_conf_what_the_parser_does() {
    let rows = policy::FWKNOP_KEYWORDS.iter().map(|keyword| Row {
        name: keyword.name.into(),
        verdict: keyword.verdict.word(),
        note: keyword.note,
        tests: keyword.tests,
    });

    assert_eq!(compare(&page(), "access.conf", &table(rows)), Ok(()));
}

#[test]
fn the_page_says_of_every_variable_of_fwknopd_conf_what_becomes_of_it() {
    let rows = variables::all().map(|variable| Row {
        name: variable.name.into(),
        verdict: match variable.verdict {
            Verdict::Obeyed => "works",
            Verdict::Moot => "moot",
            Verdict::Refused => "refused",
        },
        note: variable.why,
        tests: variable.test,
    });

    assert_eq!(compare(&page(), "fwknopd.conf", &table(rows)), Ok(()));
}

//! Whatever a comment or a document refers to is in the repository: a file, a decision, a weakness.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a file that cannot be read should stop here"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Characters that a path in a comment can have.
fn is_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-".contains(c)
}

#[test]
fn every_document_that_a_file_names_is_there() {
    for (path, text) in texts() {
        for (at, _) in text.match_indices("docs/") {
            let is_part = text.get(..at).unwrap().ends_with(is_path);
            let name: String = text
                .get(at..)
                .unwrap()
                .chars()
                .take_while(|c| is_path(*c))
                .collect();
            let name = name.trim_end_matches(['.', '/']);
            assert!(
                is_part || root().join(name).exists(),
                "{} names {name}, which is not there",
                path.display()
            );
        }
    }
}

#[test]
fn every_link_of_a_document_leads_to_a_file() {
    for (path, text) in texts().into_iter().filter(|(path, _)| is_markdown(path)) {
        let dir = path.parent().unwrap();
        for (_, link) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let target = link.split([')', '#']).next().unwrap();
            let is_elsewhere = target.is_empty() || target.contains("://");
            assert!(
                is_elsewhere || dir.join(target).exists(),
                "{} links to {target}, which is not there",
                path.display()
            );
        }
    }
}

#[test]
fn every_decision_and_every_weakness_that_is_cited_is_written_down() {
    let decisions = fs::read_to_string(root().join("docs/decisions.md")).unwrap();
    let weaknesses = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    for (path, text) in texts() {
        for number in numbers_after(&text, "docs/decisions.md, decision ") {
            assert!(
                decisions.contains(&format!("\n**{number}. ")),
                "{} cites decision {number}",
                path.display()
            );
        }
        for number in numbers_after(&text, "docs/compatibility.md, W") {
            let cell = [
                format!("\n| W{number} |"),
                format!(", W{number} |"),
                format!("\n| W{number}, "),
            ];
            assert!(
                cell.iter().any(|cell| weaknesses.contains(cell.as_str())),
                "{} cites W{number}",
                path.display()
            );
        }
    }
}

/// Whoever looks at the processes of a machine, or at the history of a shell, sees what was typed.
#[test]
fn no_page_hint_or_unit_puts_a_token_on_a_command_line() {
    let typed = [
        "join TOKEN",
        "join postern1.",
        "--token TOKEN",
        "--token=",
        "--token postern1.",
        "--token $",
        "join $",
        "POSTERN_TOKEN=",
    ];
    for (path, text) in texts() {
        let is_page = path
            .extension()
            .is_some_and(|end| end == "md" || end == "yml" || end == "yaml");
        let is_unit = path.extension().is_some_and(|end| end == "service");
        if !(is_page || is_unit) {
            continue;
        }
        let shown = typed.iter().find(|typed| text.contains(**typed));
        assert!(shown.is_none(), "{}: {shown:?}", path.display());
    }
}

#[test]
fn no_decision_has_the_number_of_another() {
    let decisions = fs::read_to_string(root().join("docs/decisions.md")).unwrap();
    let numbers = numbers_after(&decisions, "\n**");

    let different: BTreeSet<_> = numbers.iter().collect();

    assert_eq!(different.len(), numbers.len());
    assert!(numbers.len() > 30, "{numbers:?}");
}

/// The page promises by the names of tests: a test that is renamed or gone takes its promise with it.
#[test]
fn every_point_of_the_security_page_is_shown_by_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let code = code();
    for row in page.lines().filter(|line| is_point(line)) {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "nothing shows it: {row}");
        for test in tests {
            assert!(
                code.contains(&format!("fn {test}(")),
                "there is no test {test}, which is to show: {row}"
            );
        }
    }
}

/// Rows of tables that are made of data in the code.
#[test]
fn every_row_of_the_page_about_fwknop_names_tests_that_exist_or_says_why_not() {
    let page = fs::read_to_string(root().join("docs/fwknop-compatibility.md")).unwrap();
    let code = code();
    let tables = page.split("<!-- table: ").skip(1);
    let tables: Vec<_> = tables
        .map(|rest| rest.split("<!-- end of table -->").next().unwrap())
        .collect();
    assert_eq!(tables.len(), 4);
    for table in tables {
        let rows: Vec<_> = table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert!(rows.len() > 40, "{table}");
        for row in rows {
            let cells: Vec<_> = row.trim_matches('|').split(" |").map(str::trim).collect();
            let [.., note, shown_by] = &cells[..] else {
                panic!("{row}");
            };
            assert!(
                !note.is_empty() || !shown_by.is_empty(),
                "neither test nor reason: {row}"
            );
            assert_tests_exist(&code, shown_by, row);
        }
    }
}

/// A test, or why it cannot occur.
#[test]
fn every_weakness_of_fwknop_has_a_row_with_tests_that_exist_or_why_it_cannot_occur() {
    let page = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let code = code();
    for number in 1..=34 {
        let begin = format!("| W{number} | ");
        let rows: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with(&begin))
            .collect();
        let [row] = rows[..] else {
            panic!("W{number} has {} rows", rows.len());
        };
        let shown_by = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let says_why = shown_by.contains("occur");
        assert!(
            says_why || shown_by.contains('`'),
            "nothing shows it: {row}"
        );
        assert_tests_exist(&code, shown_by, row);
    }
}

fn assert_tests_exist(code: &str, shown_by: &str, row: &str) {
    for test in shown_by.split('`').skip(1).step_by(2) {
        let is_test = test.contains('_') && !test.contains(' ');
        assert!(
            !is_test || code.contains(&format!("fn {test}(")),
            "there is no test {test}, which is to show: {row}"
        );
    }
}

fn code() -> String {
    texts()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|(_, text)| text)
        .collect()
}

/// Whether a line is a row like `| A1 | ... |`.
fn is_point(line: &str) -> bool {
    let point = line.strip_prefix("| ").unwrap_or_default();
    let mut chars = point.chars();
    chars.next().is_some_and(|c| ('A'..='E').contains(&c))
        && chars.next().is_some_and(|c| c.is_ascii_digit())
}

fn numbers_after(text: &str, words: &str) -> Vec<u32> {
    text.match_indices(words)
        .filter_map(|(at, words)| {
            let digits: String = text
                .get(at + words.len()..)?
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse().ok()
        })
        .collect()
}

/// Every file of the repository that people write and read, with its text.
fn texts() -> Vec<(PathBuf, String)> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let texts: Vec<_> = names
        .split('\0')
        .map(Path::new)
        .filter(|name| {
            let extension = name.extension().and_then(|extension| extension.to_str());
            matches!(
                extension,
                Some(
                    "rs" | "md"
                        | "toml"
                        | "proto"
                        | "sql"
                        | "sh"
                        | "conf"
                        | "yml"
                        | "yaml"
                        | "service"
                )
            )
        })
        .map(|name| root().join(name))
        // Deleted and not yet committed.
        .filter(|path| path.exists())
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect();
    assert!(texts.len() > 200, "git lists {} files", texts.len());
    texts
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

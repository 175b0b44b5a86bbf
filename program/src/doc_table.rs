//! Tables of the documentation that are made of data in the code, so that neither says what the other
//! does not: a test of each table compares, and writes where it is told to.
//!
//! In a page a table stands between `<!-- table: NAME -->` and `<!-- end of table -->`. With
//! `UPDATE_PAGES=1` in the environment the tests write the tables anew.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// One row: what it is about, what becomes of it, and what shows that.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, as it stands in a file or on a command line.
    pub name: Cow<'static, str>,
    /// One word: what becomes of it.
    pub verdict: &'static str,
    /// What is to be said, or why it cannot be.
    pub note: &'static str,
    /// The names of the tests that show it, separated by blanks; empty where the note is the reason for none.
    pub tests: &'static str,
}

/// Writes rows as a table.
#[must_use]
pub fn table(rows: impl IntoIterator<Item = Row>) -> String {
    let mut text = "| | | | shown by |\n|---|---|---|---|\n".to_owned();
    for Row {
        name,
        verdict,
        note,
        tests,
    } in rows
    {
        let tests: Vec<_> = tests
            .split_whitespace()
            .map(|test| format!("`{test}`"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{name}` | {verdict} | {note} | {} |",
            tests.join(", ")
        );
    }
    text
}

/// Compares a table with what a page has under this name, or writes it there.
///
/// # Errors
///
/// In words, when they differ or the page has no such table.
pub fn compare(page: &Path, name: &str, table: &str) -> Result<(), String> {
    let shown = page.display();
    let text = fs::read_to_string(page).map_err(|cause| format!("{shown}: {cause}"))?;
    let begin = format!("<!-- table: {name} -->\n");
    let missing = || format!("{shown} has no table {name}");
    let (head, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (own, tail) = rest
        .split_once("<!-- end of table -->")
        .ok_or_else(missing)?;
    let table = format!("\n{table}\n");
    if own == table {
        return Ok(());
    }
    if env::var_os("UPDATE_PAGES").is_some() {
        let text = format!("{head}{begin}{table}<!-- end of table -->{tail}");
        return fs::write(page, text).map_err(|cause| format!("{shown}: {cause}"));
    }
    let differs = own
        .lines()
        .zip(table.lines())
        .find(|(own, made)| own != made);
    Err(format!(
        "table {name} of {shown} is not what the code says (UPDATE_PAGES=1 writes it): {differs:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_differs_from_its_page_is_told_with_the_first_line_that_differs() {
        let row = |note| Row {
            name: Cow::Borrowed("KEY"),
            verdict: "works",
            note,
            tests: "one two",
        };
        let made = table([row("as written")]);
        assert!(
            made.ends_with("| `KEY` | works | as written | `one`, `two` |\n"),
            "{made}"
        );
        let page = env::temp_dir().join(format!("doc-table-{}.md", std::process::id()));
        fs::write(
            &page,
            format!("# A\n\n<!-- table: a -->\n\n{made}\n<!-- end of table -->\n"),
        )
        .unwrap();

        let same = compare(&page, "a", &made);
        let other = compare(&page, "a", &table([row("otherwise")]));
        let none = compare(&page, "b", &made);

        fs::remove_file(&page).unwrap();
        assert_eq!(same, Ok(()));
        assert!(other.unwrap_err().contains("otherwise"));
        assert!(none.unwrap_err().contains("has no table b"));
    }
}

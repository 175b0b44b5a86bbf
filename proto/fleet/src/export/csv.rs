//! Comma-separated values (RFC 4180, lines end with LF), safe to open in a spreadsheet.
//!
//! What strangers wrote into a packet ends up in cells, and spreadsheets run a cell that begins like
//! a formula (<https://owasp.org/www-community/attacks/CSV_Injection>). Such a text gets an
//! apostrophe before it, which spreadsheets take for "this is text" and do not show. Numbers are
//! written as they are.

use super::fields::{Field, Value};
use super::printable::printable;
use super::record::Record;

/// The names of the columns, in the order of [`line`](fn@line), without the line's end.
pub fn header() -> String {
    let record = Record::new(crate::wire::AuditRecord::default());
    let names: Vec<&str> = record.fields().iter().map(|field| field.name).collect();
    names.join(",")
}

/// Writes a record as one line of values, without the line's end; texts of a list stand in one cell,
/// with a space between them.
///
/// A record is one line, whatever is in it: see [`printable`].
pub fn line(record: &Record) -> String {
    let fields = record.fields();
    let cells: Vec<String> = fields.iter().map(value).collect();
    cells.join(",")
}

/// A text as a cell: on one line, quoted where it must be, and never a formula.
pub fn cell(text: &str) -> String {
    let mut cell = printable(text);
    if begins_a_formula(&cell) {
        cell.insert(0, '\'');
    }
    if cell.contains(['"', ',']) {
        cell = format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

fn value(Field { name: _, value }: &Field<'_>) -> String {
    match value {
        Value::Text(_) | Value::List(_) => cell(&value.joined(" ")),
        // Also a negative number is one.
        Value::Number(_) | Value::Difference(_) => value.joined("").into_owned(),
    }
}

/// Also after spaces, which some programs leave out, and with the wide forms that they take for the
/// plain ones.
fn begins_a_formula(text: &str) -> bool {
    let first = text.trim_start_matches(' ').chars().next();
    first.is_some_and(|first| {
        matches!(
            first,
            '=' | '+' | '-' | '@' | '|' | '%' | '＝' | '＋' | '－' | '＠'
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_like_a_formula_is_a_text() {
        for (text, in_cell) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("  =1", "'  =1"),
            ("\t=1", "#011=1"),
            ("\r=1", "#015=1"),
            ("＝1", "'＝1"),
            ("|calc", "'|calc"),
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("alice", "alice"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "two#012lines"),
            ("", ""),
        ] {
            assert_eq!(cell(text), in_cell, "{text:?}");
        }
    }
}

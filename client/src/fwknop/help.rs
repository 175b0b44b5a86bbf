//! The help of `fwknop`, from the table.

use std::fmt::Write as _;

use crate::rc::table::{ROWS, Row, Verdict};

/// Columns in front of what an option does.
const INDENT: usize = 34;

/// All options, and where each differs from the reference.
pub(crate) fn text() -> String {
    let mut text = String::from(
        "\
Ask a server to open a port, with the options of fwknop's client

Usage: fwknop -A PORTS -D HOST [-a IP | -R | -s] [OPTIONS]
       fwknop -n STANZA

Options:
",
    );
    for row in ROWS.iter().filter(|row| is_offered(row)) {
        let letter = row
            .letter
            .map_or_else(|| "   ".to_owned(), |letter| format!("-{letter},"));
        let name = match row.value {
            "" => format!("  {letter} --{}", row.long),
            value => format!("  {letter} --{} {value}", row.long),
        };
        let help = row.help;
        let _infallible = if name.len() < INDENT {
            writeln!(text, "{name:<INDENT$}{help}")
        } else {
            writeln!(text, "{name}\n{:INDENT$}{help}", "")
        };
    }
    text.push_str(
        "
Files:
  ~/.fwknoprc     stanzas to start from; made when it is not there
  ~/.fwknop.run   the last arguments without keys, for -l

Exit codes:
  0   done: no server answers, so this means sent
  1   everything else

Examples:
  fwknop -n office
  fwknop -A tcp/22 -a 203.0.113.7 -D 192.0.2.1 --get-key ~/.spa-keys
  fwknop -A tcp/22 -R -D 192.0.2.1 -n office --key-gen --save-rc-stanza
  fwknop -A tcp/22 -s -D 192.0.2.1 --stdin -T < key
  fwknop -l
",
    );
    text
}

/// What works; what is merely accepted is not worth a line.
fn is_offered(row: &Row) -> bool {
    let works = matches!(row.verdict, Verdict::Same | Verdict::Differs(_));
    !row.long.is_empty() && works
}

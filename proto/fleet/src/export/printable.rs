//! Text that strangers may have written, on one line that moves no cursor.

use std::fmt::Write as _;

/// Writes every control character, and what some programs take for a line's end, as `#` and three
/// octal digits (more where it needs more), as rsyslog writes those that it receives.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) {
            let _ = write!(out, "#{:03o}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Escapes the same in a line of JSON, where nothing outside of its strings can be meant: readers get
/// the text as it was, and a terminal nothing that moves its cursor.
pub fn printable_json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        if is_harmful(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Also marks that make a line read in another order than it is written
/// (<https://trojansource.codes>).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_ends_a_line_or_moves_a_cursor() {
        let written = printable("a\n\r\t\u{1b}[2J\u{9b}K\u{7f}\u{202e}ß…");

        assert_eq!(written, "a#012#015#011#033[2J#233K#177#20056ß…");
    }

    #[test]
    fn a_line_of_json_moves_no_cursor_and_is_read_as_what_was_written() {
        let text = "a\u{7f}\u{9b}2K\u{202e}\u{2028}\"\\\n\u{1b}ß";
        let line = printable_json(&serde_json::to_string(text).unwrap());

        assert_eq!(printable(&line), line);
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}

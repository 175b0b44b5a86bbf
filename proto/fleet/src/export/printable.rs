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
}

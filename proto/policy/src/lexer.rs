//! Lines: a keyword and its value, in the spelling of today (`NAME value`) or of 2005
//! (`NAME: value;`).
//!
//! A value ends at `;` or at the end of the line. A line that begins with `#` or `;` is a comment, and
//! so is what follows a blank and `#`, except in passphrases, where fwknop reads it as a part of
//! the key. What follows a `;` and is no comment is a mistake: fwknop drops it without a word, which
//! makes a passphrase shorter than its owner believes.

use crate::problem::Problem;

/// The longest line in bytes.
const LINE_BYTES_MAX: usize = 65_536;

/// One line that is neither empty nor a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    /// Counted from 1.
    pub(crate) number: u32,
    /// The first word, without a colon at its end.
    pub(crate) keyword: &'t str,
    /// The rest; empty when there is none.
    pub(crate) value: &'t str,
}

/// What stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lexed<'t> {
    /// A keyword and its value.
    Line(Line<'t>),
    /// `#line` and what follows: where the lines below it come from.
    Marker(&'t str),
}

/// How a comment begins that says where the lines below it come from.
pub(crate) const MARKER: &str = "#line ";

/// The lines of a text, or what is wrong with them.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<Lexed<'_>, (u32, Problem)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines()
        .zip(1..)
        .filter_map(|(line, number)| self::line(line, number).transpose())
}

fn line(text: &str, number: u32) -> Result<Option<Lexed<'_>>, (u32, Problem)> {
    let text = text.trim();
    if let Some(value) = text.strip_prefix(MARKER) {
        return Ok(Some(Lexed::Marker(value)));
    }
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(None);
    }
    if text.len() > LINE_BYTES_MAX {
        let message = format!("a line has at most {LINE_BYTES_MAX} bytes");
        return Err((number, Problem::new(message)));
    }
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err((number, Problem::new("the line has a control character")));
    }

    let end = text
        .find(|c: char| c.is_whitespace() || c == ':' || c == ';')
        .unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let value = value(keyword, rest).map_err(|problem| (number, problem))?;

    Ok(Some(Lexed::Line(Line {
        number,
        keyword,
        value,
    })))
}

/// Cuts the comment and the `;` off a value.
fn value<'t>(keyword: &str, rest: &'t str) -> Result<&'t str, Problem> {
    let is_passphrase = matches!(keyword, "KEY" | "HMAC_KEY");
    let rest = if is_passphrase {
        rest
    } else {
        without_comment(rest)
    };
    let Some((value, tail)) = rest.split_once(';') else {
        return Ok(rest.trim());
    };
    // fwknop cuts blanks at the end of a line, and none in front of a `;`.
    let value = match is_passphrase {
        true => value.trim_start(),
        false => value.trim(),
    };

    let tail = tail.trim();
    if !tail.is_empty() && !tail.starts_with('#') {
        let hint = if is_passphrase {
            "write a key that contains `;` in base64"
        } else {
            "comments and keywords stand in lines of their own"
        };
        return Err(Problem::new("text follows the `;` that ends the value").hint(hint));
    }
    Ok(value)
}

fn without_comment(text: &str) -> &str {
    let mut blank_before = true;
    for (at, c) in text.char_indices() {
        if c == '#' && blank_before {
            return text.get(..at).unwrap_or_default();
        }
        blank_before = c.is_whitespace();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> (&str, &str) {
        let mut lines = lines(text).map(Result::unwrap);
        let Some(Lexed::Line(line)) = lines.next() else {
            panic!("{text:?}");
        };
        assert_eq!(lines.next(), None);
        (line.keyword, line.value)
    }

    #[test]
    fn both_spellings_say_the_same() {
        assert_eq!(only("OPEN_PORTS tcp/22"), ("OPEN_PORTS", "tcp/22"));
        assert_eq!(only("OPEN_PORTS: tcp/22;"), ("OPEN_PORTS", "tcp/22"));
        assert_eq!(only("\tOPEN_PORTS\t tcp/22 ;\r"), ("OPEN_PORTS", "tcp/22"));
        assert_eq!(only("OPEN_PORTS:tcp/22"), ("OPEN_PORTS", "tcp/22"));
    }

    #[test]
    fn comments_are_skipped() {
        assert_eq!(lines("# a\n; b\n\n   \n  # c").count(), 0);
        assert_eq!(
            only("SOURCE: ANY; # all of them; really"),
            ("SOURCE", "ANY")
        );
        assert_eq!(only("SOURCE ANY # all; of them"), ("SOURCE", "ANY"));
        assert_eq!(only("SOURCE # nothing"), ("SOURCE", ""));
    }

    #[test]
    fn a_passphrase_keeps_its_hash_signs_and_colons() {
        assert_eq!(only("KEY a b #c:d"), ("KEY", "a b #c:d"));
        assert_eq!(only("HMAC_KEY #abc; # old"), ("HMAC_KEY", "#abc"));
        assert_eq!(only("KEY :abc"), ("KEY", ":abc"));
    }

    #[test]
    fn a_passphrase_is_never_shortened_in_silence() {
        let line = lines("KEY abc;def").next().unwrap();

        let (number, problem) = line.unwrap_err();
        assert_eq!(number, 1);
        assert!(!format!("{problem:?}").contains("abc"));
    }

    #[test]
    fn a_blank_between_a_passphrase_and_its_semicolon_is_kept_and_no_other() {
        assert_eq!(only("KEY abc ;"), ("KEY", "abc "));
        assert_eq!(only("KEY abc  "), ("KEY", "abc"));
        assert_eq!(only("KEY_BASE64 abc ;"), ("KEY_BASE64", "abc"));
    }

    #[test]
    fn no_hint_sends_anybody_to_a_comment_behind_a_passphrase() {
        let line = lines("OPEN_PORTS tcp/22; ssh").next().unwrap();

        assert!(!format!("{:?}", line.unwrap_err()).contains('#'));
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(lines("SOURCE\u{0} ANY").next().unwrap().is_err());
        assert!(lines("NAME a\u{1b}[2J").next().unwrap().is_err());
    }

    #[test]
    fn lines_are_counted_from_one_with_the_comments() {
        let numbers: Vec<u32> = lines("# x\nSOURCE ANY\n\nKEY k\n")
            .map(|line| match line.unwrap() {
                Lexed::Line(line) => line.number,
                Lexed::Marker(value) => panic!("{value:?}"),
            })
            .collect();

        assert_eq!(numbers, [2, 4]);
    }
}

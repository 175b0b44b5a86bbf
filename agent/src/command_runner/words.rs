//! A command as words.

/// A quotation mark is not closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a quotation mark is not closed")]
pub(super) struct OpenQuote;

/// Splits a command into words at blanks. Quotation marks of either kind hold a word together;
/// nothing else has a meaning.
pub(super) fn split(text: &str) -> Result<Vec<String>, OpenQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        let cases: [(&str, &[&str]); 5] = [
            ("  /bin/echo  a b ", &["/bin/echo", "a", "b"]),
            ("touch '/tmp/a b' \"c d\"e", &["touch", "/tmp/a b", "c de"]),
            (
                "echo $(id); rm -rf *",
                &["echo", "$(id);", "rm", "-rf", "*"],
            ),
            ("x ''", &["x", ""]),
            ("", &[]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words);
        }
        assert_eq!(split("echo 'a"), Err(OpenQuote));
    }
}

//! Texts of statements, from SQLite's words to PostgreSQL's.
//!
//! | SQLite | PostgreSQL | why |
//! |---|---|---|
//! | `?1`, `?` | `$1` | |
//! | `user` | `"user"` | there it is who asks |
//! | `INDEXED BY name` | | its planner has statistics |
//! | `row_is_good(…)` | `ROW(…)` | who is told computes the MAC |
//! | `CROSS JOIN … ON` | `JOIN … ON` | that is how SQLite is told an order |

/// What PostgreSQL is given for a statement of ours.
pub(super) fn translate(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    let mut highest = 0_u32;
    while let Some(first) = rest.chars().next() {
        match first {
            '\'' | '"' => {
                let quoted = quoted(rest, first);
                out.push_str(quoted);
                rest = after(rest, quoted);
            }
            '?' => {
                rest = after(rest, "?");
                let digits = run(rest, |c| c.is_ascii_digit());
                // Without a number it is the next after the highest so far.
                let number = digits.parse().unwrap_or(highest + 1);
                highest = highest.max(number);
                out.push('$');
                out.push_str(&number.to_string());
                rest = after(rest, digits);
            }
            c if is_of_word(c) => {
                let word = run(rest, is_of_word);
                rest = after(rest, word);
                match word {
                    "user" => out.push_str("\"user\""),
                    // Told here, of what the server gives for it.
                    "row_is_good" => out.push_str("ROW"),
                    "CROSS" => {}
                    "INDEXED" => rest = without_index(rest),
                    word => out.push_str(word),
                }
            }
            other => {
                out.push(other);
                rest = rest.get(other.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn run(text: &str, is_in: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !is_in(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn after<'t>(text: &'t str, beginning: &str) -> &'t str {
    text.get(beginning.len()..).unwrap_or_default()
}

/// A text in quotes, with them; one that has no end is all that is left.
fn quoted(text: &str, quote: char) -> &str {
    let inner = after(text, "'");
    let end = inner.find(quote).map_or(text.len(), |end| end + 2);
    text.get(..end).unwrap_or(text)
}

/// What comes after ` BY name`.
fn without_index(text: &str) -> &str {
    let text = text.trim_start();
    let text = text.strip_prefix("BY").unwrap_or(text).trim_start();
    after(text, run(text, is_of_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_sqlite_knows_is_said_in_the_words_of_postgresql() {
        for (ours, theirs) in [
            ("SELECT ?2, ?1, ?10", "SELECT $2, $1, $10"),
            ("a = ? AND b IN (?, ?)", "a = $1 AND b IN ($2, $3)"),
            ("a = ?2 AND b IN (?1, ?)", "a = $2 AND b IN ($1, $3)"),
            (
                "user = 'a user?' AND e.user",
                "\"user\" = 'a user?' AND e.\"user\"",
            ),
            ("FROM e INDEXED BY e_by_x WHERE 1", "FROM e  WHERE 1"),
            ("a CROSS JOIN b ON a", "a  JOIN b ON a"),
            ("'it''s ?' || ?", "'it''s ?' || $1"),
            ("users, users_user", "users, users_user"),
        ] {
            assert_eq!(translate(ours), theirs);
        }
    }
}

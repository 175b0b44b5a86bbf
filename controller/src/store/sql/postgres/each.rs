//! A statement for one row of values, made into one for all rows of a set: each parameter becomes a column of
//! arrays that are taken apart.
//!
//! | for one | for all |
//! |---|---|
//! | `INSERT … VALUES ($1, 2) …` | `INSERT … SELECT v.p1, 2 FROM unnest($1::t[]) AS v(p1) …` |
//! | `UPDATE … WHERE a = $1` | `UPDATE … FROM unnest($1::t[]) AS v(p1) WHERE a = v.p1` |
//! | `DELETE FROM t WHERE a = $1` | `DELETE FROM t USING unnest($1::t[]) AS v(p1) WHERE a = v.p1` |
//! | `SELECT … WHERE a = $1` | the same for each row of `v`, and after its columns the row's number, from 1 |

/// The same for all rows of a set; `types` are those of its parameters. `None` of one that is in none of
/// these forms.
pub(super) fn each(sql: &str, types: &[&str]) -> Option<String> {
    if types.is_empty() {
        return None;
    }
    let numbers = 1..=types.len();
    let arrays: Vec<_> = numbers
        .clone()
        .zip(types)
        .map(|(number, kind)| format!("${number}::{kind}[]"))
        .collect();
    let names: Vec<_> = numbers.map(|number| format!("p{number}")).collect();
    let (arrays, names) = (arrays.join(", "), names.join(", "));
    let of_row = sql.replace('$', "v.p");
    match sql.split_whitespace().next()? {
        "INSERT" => {
            let (before, values, after) = values(&of_row)?;
            Some(format!(
                "{before}SELECT {values} FROM unnest({arrays}) AS v({names}){after}"
            ))
        }
        "UPDATE" => {
            let (before, after) = of_row.split_once("WHERE ")?;
            Some(format!(
                "{before}FROM unnest({arrays}) AS v({names}) WHERE {after}"
            ))
        }
        "DELETE" => {
            let (before, after) = of_row.split_once("WHERE ")?;
            Some(format!(
                "{before}USING unnest({arrays}) AS v({names}) WHERE {after}"
            ))
        }
        // Not taken apart by the planner, which would read a whole table where many of it are asked for.
        "SELECT" => Some(format!(
            "SELECT q.*, v.n FROM unnest({arrays}) WITH ORDINALITY AS v({names}, n)
             CROSS JOIN LATERAL ({of_row} OFFSET 0) AS q"
        )),
        _ => None,
    }
}

/// What stands before the one row of values, in it, and after it.
fn values(sql: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = sql.split_once("VALUES (")?;
    let mut depth = 1_usize;
    for (at, sign) in rest.char_indices() {
        match sign {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let after = rest.get(at + 1..)?;
            return Some((before, rest.get(..at)?, after));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_for_one_row_becomes_one_for_all() {
        for (one, types, all) in [
            (
                "INSERT INTO t (a, b) VALUES ($2, f($1), 2) ON CONFLICT DO NOTHING",
                &["int8", "text"][..],
                "INSERT INTO t (a, b) SELECT v.p2, f(v.p1), 2 \
                 FROM unnest($1::int8[], $2::text[]) AS v(p1, p2) ON CONFLICT DO NOTHING",
            ),
            (
                "UPDATE t SET b = $2 WHERE a = $1 AND c",
                &["int8", "bytea"],
                "UPDATE t SET b = v.p2 FROM unnest($1::int8[], $2::bytea[]) AS v(p1, p2) \
                 WHERE a = v.p1 AND c",
            ),
            (
                "DELETE FROM t WHERE a = $1 AND b = $2",
                &["int8", "text"],
                "DELETE FROM t USING unnest($1::int8[], $2::text[]) AS v(p1, p2) \
                 WHERE a = v.p1 AND b = v.p2",
            ),
            (
                "SELECT b FROM t WHERE a = $1",
                &["int8"],
                "SELECT q.*, v.n FROM unnest($1::int8[]) WITH ORDINALITY AS v(p1, n)
             CROSS JOIN LATERAL (SELECT b FROM t WHERE a = v.p1 OFFSET 0) AS q",
            ),
        ] {
            assert_eq!(each(one, types).as_deref(), Some(all));
        }
        for other in ["DELETE FROM t", "INSERT INTO t SELECT $1", ""] {
            assert_eq!(each(other, &["int8"]), None);
        }
        assert_eq!(each("SELECT 1", &[]), None);
    }
}

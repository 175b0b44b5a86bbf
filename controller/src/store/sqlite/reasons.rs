//! Why something happened, as events say it: each text once, and found by its beginning.

use std::collections::BTreeMap;

use crate::store::sql::{Connection, Error, NUL, OptionalExtension as _, Set, params};

/// What of a reason is searched; the whole is in the event's body.
const TEXT_BYTES_MAX: usize = 120;

const FIND: &str = "SELECT id FROM event_reasons WHERE text = ?1";

/// The numbers of reasons that were looked up already: of many events few have one that no other has.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, i64>);

// === impl Numbers ===

impl Numbers {
    /// See [`number`].
    pub(super) fn of(
        &mut self,
        connection: &Connection,
        reason: &str,
    ) -> Result<Option<i64>, Error> {
        let text = beginning(reason);
        if let Some(known) = self.0.get(text) {
            return Ok(Some(*known));
        }
        let number = number(connection, text)?;
        if let Some(number) = number {
            self.0.insert(text.to_owned(), number);
        }
        Ok(number)
    }
}

/// The number of a reason; `None` for none.
fn number(connection: &Connection, reason: &str) -> Result<Option<i64>, Error> {
    let text = beginning(reason);
    if text.is_empty() {
        return Ok(None);
    }
    match find(connection, text)? {
        Some(number) => Ok(Some(number)),
        None => connection
            .prepare_cached("INSERT INTO event_reasons (text) VALUES (?1)")?
            .insert([text])
            .map(Some),
    }
}

/// The numbers of reasons, of those that have one; nothing is written.
pub(super) fn known<'r>(
    connection: &Connection,
    reasons: impl IntoIterator<Item = &'r str>,
) -> Result<BTreeMap<&'r str, i64>, Error> {
    let (mut asked, mut spelled) = (Set::default(), Vec::new());
    for reason in reasons {
        let text = beginning(reason);
        asked.push(params![text])?;
        spelled.push(reason);
        if text.contains('\0') {
            asked.push(params![text.replace('\0', NUL)])?;
            spelled.push(reason);
        }
    }
    connection
        .ask_each(FIND, asked)?
        .by(&spelled, |row| row.get(0))
}

/// Or with the sign that stands for the one that PostgreSQL does not keep, where it came from there.
fn find(connection: &Connection, text: &str) -> Result<Option<i64>, Error> {
    let found = find_exactly(connection, text)?;
    if found.is_none() && text.contains('\0') {
        return find_exactly(connection, &text.replace('\0', NUL));
    }
    Ok(found)
}

fn find_exactly(connection: &Connection, text: &str) -> Result<Option<i64>, Error> {
    connection
        .prepare_cached(FIND)?
        .query_row([text], |row| row.get(0))
        .optional()
}

/// The numbers of reasons that begin so; at most `limit`.
pub(super) fn beginning_with(
    connection: &Connection,
    text: &str,
    limit: usize,
) -> Result<Vec<i64>, Error> {
    let (low, high) = range(text);
    let mut statement = connection.prepare_cached(
        "SELECT id FROM event_reasons WHERE text >= ?1 AND text < ?2 ORDER BY text LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let numbers = statement.query_map(params![low, high, limit], |row| row.get(0))?;
    numbers.collect()
}

/// From the first text that begins so to the first one after them.
pub(super) fn range(text: &str) -> (String, String) {
    let low = beginning(text).to_owned();
    let high = format!("{low}{}", char::MAX);
    (low, high)
}

fn beginning(reason: &str) -> &str {
    let end = reason.floor_char_boundary(TEXT_BYTES_MAX);
    reason.get(..end).unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> rusqlite::Connection {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        super::super::migrations::apply(&mut connection).unwrap();
        connection
    }

    #[test]
    fn a_reason_is_kept_once_and_found_by_its_beginning() {
        let connection = database();
        let keep = |reason: &str| number(&connection, reason).unwrap();
        let stale = keep("stale: sent 200 s ago");
        let denied = keep("denied: port tcp/23");

        assert_eq!(keep(""), None);
        assert_eq!(keep("stale: sent 200 s ago"), stale);
        let found = |text: &str| beginning_with(&connection, text, 10).unwrap();
        assert_eq!(found("stale"), [stale.unwrap()]);
        assert_eq!(found("denied: port tcp/23"), [denied.unwrap()]);
        assert_eq!(found("").len(), 2);
        assert_eq!(found("t"), [0; 0]);
    }

    #[test]
    fn a_long_reason_is_found_by_the_whole_of_it() {
        let connection = database();
        let long = "ß".repeat(500);
        let kept = number(&connection, &long).unwrap();

        assert_eq!(
            beginning_with(&connection, &long, 10).unwrap(),
            [kept.unwrap()]
        );
    }
}

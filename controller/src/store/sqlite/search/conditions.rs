//! What must hold, and the values of its parameters.

use ipnet::IpNet;

use super::super::columns::{address_range, blocks_around, blocks_within, hex_key};
use super::super::number::signed;
use super::super::reasons;
use super::super::words::{self, Id, Word};
use super::known::Known;
use crate::store::model::{Cursor, EventFilter};
use crate::store::sql::Value;

/// Bytes of the digest of a message.
const DIGEST_BYTES: usize = 32;

/// Where an event itself says its time and place.
const OF_EVENTS: [&str; 2] = ["e.at_ms", "e.id"];

/// Conditions, all of which must hold, and the values of their parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// A part of the log in the order of an answer, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) after: Cursor,
    /// Its oldest time, inclusive; `None` for all that is older.
    pub(super) floor_ms: Option<u64>,
}

// === impl Conditions ===

impl Conditions {
    pub(super) fn new<T: Into<Value>>(sql: &str, values: impl IntoIterator<Item = T>) -> Self {
        Self {
            sql: sql.to_owned(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }

    /// Blocks with one of these keys.
    pub(super) fn in_blocks(keys: Vec<Vec<u8>>) -> Self {
        let marks = vec!["?"; keys.len()].join(", ");
        Self::new(&format!("b.block IN ({marks})"), keys)
    }

    /// Networks that this one lies in, and those that lie in it.
    pub(super) fn at_network(network: IpNet) -> Self {
        let mut all = Self::in_blocks(blocks_around(network));
        let (low, high) = blocks_within(network);
        all.sql += " OR b.block BETWEEN ? AND ?";
        all.values.extend([Value::Blob(low), Value::Blob(high)]);
        all
    }

    pub(super) fn add<T: Into<Value>>(&mut self, sql: &str, values: impl IntoIterator<Item = T>) {
        if !self.sql.is_empty() {
            self.sql += " AND ";
        }
        self.sql += sql;
        self.values.extend(values.into_iter().map(Into::into));
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        if !other.sql.is_empty() {
            self.add(&other.sql, other.values.iter().cloned());
        }
        self
    }

    /// `time` is where the row that is found says its time and place: see [`Driver::time`](super::driver::Driver::time).
    /// What is looked up by these alone is looked up before the event itself is read.
    pub(super) fn add_reason(
        &mut self,
        [at_ms, id]: [&str; 2],
        (filter, known): (&EventFilter, &Known),
    ) {
        match (&known.reasons, &filter.reason) {
            (Some(reasons), _) => {
                let marks = vec!["?"; reasons.len()].join(", ");
                self.add(
                    &exists(&format!(
                        "SELECT 1 FROM event_words r WHERE r.what = 3 AND r.value IN ({marks})
                         AND r.at_ms = {at_ms} AND r.event = {id}"
                    )),
                    reasons.iter().copied(),
                );
            }
            (None, Some(text)) => {
                let (low, high) = reasons::range(text);
                self.add(
                    &exists(&format!(
                        "SELECT 1 FROM event_reasons t CROSS JOIN event_words r ON r.what = 3
                         AND r.value = t.id AND r.at_ms = {at_ms} AND r.event = {id}
                         WHERE t.text >= ? AND t.text < ?"
                    )),
                    [low, high],
                );
            }
            (None, None) => {}
        }
    }

    pub(super) fn add_time(
        &mut self,
        [at_ms, id]: [&str; 2],
        filter: &EventFilter,
        Window { after, floor_ms }: Window,
    ) {
        self.add(
            &format!("({at_ms}, {id}) < (?, ?)"),
            [signed(after.at_ms), signed(after.id)],
        );
        if let Some(since_ms) = floor_ms.max(filter.since_ms) {
            self.add(&format!("{at_ms} >= ?"), [signed(since_ms)]);
        }
        if let Some(until_ms) = filter.until_ms {
            self.add(&format!("{at_ms} < ?"), [signed(until_ms)]);
        }
    }
    /// The same for PostgreSQL, with what an index begins with. It goes to the end of an index unless each column
    /// before the one that ends the reading is asked for as equal, and that one by itself; and it begins at the
    /// newest unless that is, too. What is compared as one row of all of it makes this index cheaper than any other.
    pub(super) fn add_keyed(
        &mut self,
        keys: &[(&str, Value)],
        [at_ms, id]: [&str; 2],
        (filter, Window { after, floor_ms }): (&EventFilter, Window),
    ) {
        for (column, value) in keys {
            self.add(&format!("{column} = ?"), [value.clone()]);
        }
        let columns: Vec<&str> = keys.iter().map(|(column, _)| *column).collect();
        let columns = columns.join(", ");
        let marks = vec!["?"; keys.len() + 1].join(", ");
        let place = [signed(after.at_ms), signed(after.id)].map(Value::from);
        self.add(
            &format!("({columns}, {at_ms}, {id}) < ({marks}, ?)"),
            keys.iter().map(|(_, value)| value.clone()).chain(place),
        );
        self.add(&format!("{at_ms} <= ?"), [signed(after.at_ms)]);
        let since_ms = floor_ms.max(filter.since_ms).map_or(i64::MIN, signed);
        self.add(&format!("{at_ms} >= ?"), [since_ms]);
        if let Some(until_ms) = filter.until_ms {
            self.add(&format!("{at_ms} < ?"), [signed(until_ms)]);
        }
    }

    /// The column has one of these values.
    pub(super) fn add_one_of<T: Into<Value>>(&mut self, column: &str, values: Vec<T>) {
        match values.len() {
            0 => {}
            1 => self.add(&format!("{column} = ?"), values),
            many => {
                let marks = vec!["?"; many].join(", ");
                self.add(&format!("{column} IN ({marks})"), values);
            }
        }
    }

    /// It is indexed under this word.
    pub(super) fn add_word(&mut self, time: [&str; 2], what: Word, value: impl Into<Value>) {
        let indexed = indexed_as(what, time);
        self.add(&exists(&indexed), [value.into()]);
    }

    /// It is indexed under none of these words.
    pub(super) fn add_no_word(&mut self, time: [&str; 2], what: Word, values: Vec<String>) {
        let marks = vec!["?"; values.len()].join(", ");
        let indexed =
            indexed_as(what, time).replace("o.value = ?", &format!("o.value IN ({marks})"));
        self.add(&format!("NOT {}", exists(&indexed)), values);
    }

    /// It was caused by this request: it says so itself, or its message does and it says nothing else.
    pub(super) fn add_request(&mut self, request: &str) {
        let of_digest = Self::of_digest(request);
        let sql = format!(
            "({} OR ({}))",
            exists(&indexed_as(Word::Request, OF_EVENTS)),
            of_digest.sql
        );
        self.add(&sql, [vec![compact(request)], of_digest.values].concat());
    }

    /// The request is the beginning of its message's digest.
    pub(super) fn of_digest(request: &str) -> Self {
        let low = compact(request);
        let mut high = low.clone();
        if let Value::Blob(bytes) = &mut high
            && bytes.len() == words::REQUEST_BYTES
        {
            bytes.extend([u8::MAX; DIGEST_BYTES]);
        }
        let sql = format!(
            "e.replay_digest BETWEEN ? AND ? AND NOT {}",
            exists(&indexed_as(Word::OwnRequest, OF_EVENTS))
        );
        Self::new(&sql, [low, high, Value::Integer(1)])
    }

    /// Its id begins as it is indexed, and is this one.
    pub(super) fn of_id(what: Id, value: Value) -> Self {
        let sql = format!("i.what = {} AND i.value = ?", what as i64);
        Self::new(&sql, [words::beginning(value)])
    }
}

/// Whether this finds anything, looked up for each row that is found: never is it what drives. PostgreSQL would make
/// a join of it, and begin with that, or put all that it can find into a table beforehand, however few are asked
/// for; of what is offset it does neither.
pub(super) fn exists(select: &str) -> String {
    format!("EXISTS ({select} LIMIT 1 OFFSET 0)")
}

fn indexed_as(what: Word, [at_ms, id]: [&str; 2]) -> String {
    format!(
        "SELECT 1 FROM event_words o WHERE o.what = {} AND o.value = ? AND o.at_ms = {at_ms} \
         AND o.event = {id}",
        what as i64
    )
}

/// How an address is compared with a prefix, and with what.
pub(super) fn within(network: IpNet) -> (&'static str, Vec<Value>) {
    let (low, high) = address_range(network);
    if low == high {
        ("= ?", vec![Value::Blob(low)])
    } else {
        ("BETWEEN ? AND ?", vec![Value::Blob(low), Value::Blob(high)])
    }
}

/// A digest, a grant's or a request's id as it is kept.
pub(super) fn compact(text: &str) -> Value {
    hex_key(text).into()
}

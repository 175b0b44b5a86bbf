//! Who opened what: reading the fleet's log.
//!
//! Newest first by the hosts' own time, a page at a time: the next page begins after the last row
//! of the one before (keyset paging), so that no reading holds the database for long. Each
//! question is driven by the one index that narrows it most, chosen here and not by the planner,
//! whose guess changes with the data: address, port, user, host, kind, time.

use fleet::EventRecord;
use ipnet::IpNet;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::columns::{address_range, port_key};
use super::cost::is_interrupted;
use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{Cursor, EventFilter, LogRow, Page};

const COLUMNS: &str = "e.id, h.name, j.epoch, e.seq, e.at_ms, e.body, e.chain, e.chain_version, \
     e.stored_at_ms, e.flaw";
const JOIN: &str = "JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = j.host";

/// See `Store::page`.
pub(in crate::store) fn page(
    connection: &Connection,
    filter: &EventFilter,
    after: Cursor,
    limit: usize,
) -> Result<Page, StoreError> {
    let host = match &filter.host {
        None => None,
        Some(name) => match host_id(connection, name)? {
            Some(id) => Some(id),
            None => return Ok(Page::default()),
        },
    };
    let mut query = Query::new(filter, host, after);
    let sql = query.sql(filter.address, limit);
    let mut statement = connection.prepare_cached(&sql)?;
    let values = rusqlite::params_from_iter(query.values.iter());
    let mut page = Page::default();
    for row in statement.query_map(values, read)? {
        match row {
            Ok(row) => page.rows.push(row),
            Err(error) if is_interrupted(&error) => {
                page.cut = true;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(page)
}

/// How the database goes about a question, for tests.
#[cfg(test)]
fn plan(connection: &Connection, filter: &EventFilter, host: Option<i64>) -> String {
    let mut query = Query::new(filter, host, Cursor::NEWEST);
    let sql = query.sql(filter.address, 100);
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let values = rusqlite::params_from_iter(query.values.iter());
    let lines = statement.query_map(values, |row| row.get::<_, String>(3));
    let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
    lines.join("\n")
}

fn host_id(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let id = connection
        .prepare_cached("SELECT id FROM event_hosts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id)
}

// === the statement ===

/// Conditions that every arm of the statement has, and where each arm begins.
struct Query {
    from: String,
    time: &'static str,
    conditions: String,
    values: Vec<Value>,
}

impl Query {
    fn new(filter: &EventFilter, host: Option<i64>, after: Cursor) -> Self {
        let mut query = Self {
            from: String::new(),
            time: "e.at_ms, e.id",
            conditions: String::new(),
            values: Vec::new(),
        };
        query.begin(filter, host);
        let time = query.time;
        let at_ms = time.split_once(',').map_or(time, |(at_ms, _)| at_ms);
        query.condition(
            &format!("({time}) < (?, ?)"),
            [signed(after.at_ms), signed(after.id)],
        );
        if let Some(since_ms) = filter.since_ms {
            query.condition(&format!("{at_ms} >= ?"), [signed(since_ms)]);
        }
        if let Some(until_ms) = filter.until_ms {
            query.condition(&format!("{at_ms} < ?"), [signed(until_ms)]);
        }
        query
    }

    /// The table and index that drive the question, and the conditions that are not about time.
    fn begin(&mut self, filter: &EventFilter, host: Option<i64>) {
        let kind = filter.kind;
        let port = filter.port.map(port_key);
        if let (Some(port), None) = (port, filter.address)
            && (host.is_some() || filter.user.is_none())
        {
            self.begin_at_port(port, host, kind, filter.user.as_ref());
            return;
        }
        let index = match (&filter.user, host, kind) {
            (Some(_), _, _) => "events_by_user",
            (None, Some(_), _) => "events_by_host",
            (None, None, Some(_)) => "events_by_kind",
            (None, None, None) => "events_by_time",
        };
        self.from = format!("events e INDEXED BY {index}");
        if let Some(user) = &filter.user {
            self.condition("e.user = ?", [user.clone()]);
        }
        if let Some(host) = host {
            self.condition("e.host = ?", [host]);
        }
        if let Some(kind) = kind {
            self.condition("e.kind = ?", [kind]);
        }
        if let Some(port) = port {
            self.condition(
                "EXISTS (SELECT 1 FROM event_ports p WHERE p.host = e.host AND p.port = ?
                         AND p.at_ms = e.at_ms AND p.event = e.id)",
                [port],
            );
        }
    }

    /// The same, driven by the table of ports.
    fn begin_at_port(
        &mut self,
        port: i64,
        host: Option<i64>,
        kind: Option<i32>,
        user: Option<&String>,
    ) {
        let index = match host {
            // The table's own order.
            Some(_) => "",
            None => "INDEXED BY event_ports_by_port",
        };
        self.from = format!("event_ports p {index} CROSS JOIN events e ON e.id = p.event");
        self.time = "p.at_ms, p.event";
        self.condition("p.port = ?", [port]);
        if let Some(host) = host {
            self.condition("p.host = ?", [host]);
        }
        if let Some(kind) = kind {
            self.condition("p.kind = ?", [kind]);
        }
        if let Some(user) = user {
            self.condition("e.user = ?", [user.clone()]);
        }
    }

    fn condition<T: Into<Value>, const N: usize>(&mut self, sql: &str, values: [T; N]) {
        let and = if self.conditions.is_empty() {
            ""
        } else {
            " AND "
        };
        self.conditions += and;
        self.conditions += sql;
        self.values.extend(values.map(Into::into));
    }

    fn sql(&mut self, address: Option<IpNet>, limit: usize) -> String {
        if let Some(network) = address {
            return self.sql_at_address(network, limit);
        }
        let Self {
            from,
            time,
            conditions,
            ..
        } = self;
        let order = time.replace(',', " DESC,");
        format!(
            "SELECT {COLUMNS} FROM {from} CROSS {JOIN} WHERE {conditions} \
             ORDER BY {order} DESC LIMIT {limit}"
        )
    }

    /// Two arms, one for each column of addresses; the second leaves out what the first has.
    fn sql_at_address(&mut self, network: IpNet, limit: usize) -> String {
        let (low, high) = address_range(network);
        let (compare, bounds) = if low == high {
            ("= ?", vec![low])
        } else {
            ("BETWEEN ? AND ?", vec![low, high])
        };
        let conditions = &self.conditions;
        let arm = |index: &str, matches: &str| {
            format!(
                "SELECT {COLUMNS} FROM events e INDEXED BY {index} CROSS {JOIN} \
                 WHERE {matches} AND {conditions}"
            )
        };
        let source = format!("e.source IS NOT NULL AND e.source {compare}");
        // Two different addresses may lie in one prefix.
        let opened = format!(
            "e.opened IS NOT NULL AND e.opened IS NOT e.source AND e.opened {compare} \
             AND (e.source IS NULL OR NOT e.source {compare})"
        );
        let sql = format!(
            "{} UNION ALL {} ORDER BY 5 DESC, 1 DESC LIMIT {limit}",
            arm("events_by_source", &source),
            arm("events_by_opened", &opened),
        );
        let bounds: Vec<Value> = bounds.into_iter().map(Value::Blob).collect();
        let values = std::mem::take(&mut self.values);
        self.values = [
            bounds.clone(),
            values.clone(),
            bounds.clone(),
            bounds,
            values,
        ]
        .concat();
        sql
    }
}

fn read(row: &Row<'_>) -> Result<LogRow, rusqlite::Error> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(LogRow {
        id: number(0)?,
        host: row.get(1)?,
        epoch: row.get(2)?,
        at_ms: number(4)?,
        event: EventRecord {
            seq: number(3)?,
            body: row.get(5)?,
            chain: row.get(6)?,
            chain_version: row.get(7)?,
        },
        stored_at_ms: number(8)?,
        flaw: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;

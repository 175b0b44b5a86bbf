//! Who used what: grants that were opened, counted.

use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{LogHead, Use, UsedOn, UsesAsked};
use crate::store::sql::{Connection, Error, Row, Value, params_from_iter};
use fleet::EventKind;

/// See `Store::uses`.
pub(in crate::store) fn count(
    connection: &Connection,
    asked: &UsesAsked,
) -> Result<Option<Vec<Use>>, StoreError> {
    let (sql, values) = question(asked);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    match rows.collect::<Result<Vec<Use>, _>>() {
        Ok(uses) => Ok(Some(uses)),
        Err(error) if error.is_interrupted() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The statement that counts, driven by one index and chosen here, and the values of its parameters.
fn question(asked: &UsesAsked) -> (String, Vec<Value>) {
    let UsesAsked {
        user,
        hosts,
        since_ms,
        until_ms,
    } = asked;
    let index = match (user.is_empty(), hosts.is_empty()) {
        (false, _) => "events_by_user",
        (true, false) => "events_by_host",
        (true, true) => "events_by_kind",
    };
    let (since, until) = (signed(*since_ms), signed(*until_ms));
    let mut sql = format!(
        "SELECT e.user, e.key, h.name, e.stanza, count(*), max(e.at_ms), j.member
         FROM events e INDEXED BY {index} CROSS JOIN journals j ON j.id = e.journal
         CROSS JOIN event_hosts h ON h.id = j.host
         WHERE e.kind = ?1 AND e.at_ms >= ?2 AND e.at_ms <= ?3"
    );
    let kind = i64::from(i32::from(EventKind::GrantOpened));
    let mut values: Vec<Value> = vec![kind.into(), since.into(), until.into()];
    if !user.is_empty() {
        values.push(user.clone().into());
        sql += &format!(" AND e.user = ?{}", values.len());
    }
    if !hosts.is_empty() {
        let marks = vec!["?"; hosts.len()].join(", ");
        values.extend(hosts.iter().map(|host| Value::from(host.clone())));
        sql += &format!(" AND e.host IN (SELECT id FROM event_hosts WHERE name IN ({marks}))");
    }
    sql += " GROUP BY e.user, e.key, j.member, j.host, h.name, e.stanza";
    (sql, values)
}

/// See `Store::log_head`.
pub(in crate::store) fn head(connection: &Connection) -> Result<LogHead, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id, log_chain FROM events ORDER BY id DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        None => Ok(LogHead::default()),
        Some(row) => Ok(LogHead {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            chain: row.get(1)?,
        }),
    }
}

fn read(row: &Row<'_>) -> Result<Use, Error> {
    let text = |column| {
        row.get::<_, Option<String>>(column)
            .map(Option::unwrap_or_default)
    };
    Ok(Use {
        user: text(0)?,
        key: text(1)?,
        host: UsedOn {
            member: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
            called_now: row.get(2)?,
        },
        stanza: text(3)?,
        count: row.get::<_, i64>(4)?.cast_unsigned(),
        last_ms: row.get::<_, i64>(5)?.cast_unsigned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_by_an_index_and_no_table_is_read_as_a_whole() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        super::super::migrations::apply(&mut connection).unwrap();
        for (user, hosts, index) in [
            ("", 0, "events_by_kind"),
            ("alice", 0, "events_by_user"),
            ("alice", 2, "events_by_user"),
            ("", 3, "events_by_host"),
        ] {
            let asked = UsesAsked {
                user: user.to_owned(),
                hosts: (0..hosts).map(|host| format!("web-{host}")).collect(),
                since_ms: 1,
                until_ms: 9,
            };
            let (sql, values) = question(&asked);
            let mut statement = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let values = rusqlite::params_from_iter(values);
            let lines = statement.query_map(values, |row| row.get::<_, String>(3));
            let lines: Vec<String> = lines.unwrap().map(Result::unwrap).collect();
            let plan = lines.join("\n");
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("SCAN"), "{plan}");
        }
    }
}

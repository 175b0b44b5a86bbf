//! Names that the log can be asked for: of members, of those who were, and of whom only the log knows.

use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, LogNames};
use crate::store::sql::{Connection, Statement, params};

/// Names of one kind that are read for a suggestion.
const KNOWN_MAX: u32 = 5_000;

/// See `Store::strangers`.
pub(in crate::store) fn strangers(
    connection: &Connection,
    names: LogNames,
) -> Result<LogNames, StoreError> {
    let LogNames {
        mut users,
        mut hosts,
    } = names;
    let mut user = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM events INDEXED BY events_by_user WHERE user = ?1)
             OR EXISTS (SELECT 1 FROM members WHERE name = ?1 AND role <> 'host')
             OR EXISTS (SELECT 1 FROM departed_users WHERE name = ?1)",
    )?;
    let mut host = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM event_hosts WHERE name = ?1)
             OR EXISTS (SELECT 1 FROM members WHERE name = ?1 AND role = 'host')",
    )?;
    let mut problem = None;
    let mut is_stranger = |statement: &mut Statement<'_>, name: &str| {
        let known = statement.query_row([name], |row| row.get::<_, bool>(0));
        !known.unwrap_or_else(|error| {
            problem = Some(error);
            true
        })
    };
    users.retain(|name| is_stranger(&mut user, name));
    hosts.retain(|name| name != CONTROLLER && is_stranger(&mut host, name));
    match problem {
        Some(error) => Err(error.into()),
        None => Ok(LogNames { users, hosts }),
    }
}

/// See `Store::known_names`.
pub(in crate::store) fn known(connection: &Connection) -> Result<LogNames, StoreError> {
    let names = |sql: &str| -> Result<Vec<String>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let names = statement.query_map(params![KNOWN_MAX], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    };
    Ok(LogNames {
        // One step in the index for each user, however many events she has.
        users: names(
            "WITH RECURSIVE seen(name) AS (
                 SELECT min(user) FROM events INDEXED BY events_by_user WHERE user IS NOT NULL
                 UNION ALL
                 SELECT (SELECT min(user) FROM events INDEXED BY events_by_user
                         WHERE user IS NOT NULL AND user > seen.name)
                 FROM seen WHERE seen.name IS NOT NULL)
             SELECT name FROM (SELECT name FROM members WHERE role <> 'host'
                 UNION SELECT name FROM departed_users
                 UNION SELECT name FROM seen WHERE name IS NOT NULL) AS known LIMIT ?1",
        )?,
        hosts: names(
            "SELECT name FROM (SELECT name FROM members WHERE role = 'host'
                 UNION SELECT name FROM event_hosts) AS known LIMIT ?1",
        )?,
    })
}

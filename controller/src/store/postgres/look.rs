//! What a server says of itself that matters to a controller, for `check`.

use crate::clock;
use crate::store::error::StoreError;
use crate::store::model::ServerFacts;
use crate::store::sql::Connection;

/// What belongs to no table of ours, and would be run by our own statements: the name, and what it is on.
/// Constraints have triggers of their own.
const STRANGERS: &str = "
    SELECT CAST('trigger ' || t.tgname || ' on ' || c.relname AS text)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE NOT t.tgisinternal AND c.relnamespace = CAST(current_schema() AS regnamespace)
    UNION ALL
    SELECT CAST('rule ' || r.rulename || ' on ' || c.relname AS text)
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace = CAST(current_schema() AS regnamespace)
    UNION ALL
    SELECT CAST('policy ' || p.polname || ' on ' || c.relname AS text)
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE c.relnamespace = CAST(current_schema() AS regnamespace)
    ORDER BY 1 LIMIT 10";

/// How large the database is.
pub(in crate::store) fn bytes(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT pg_database_size(current_database())";
    let bytes: i64 = connection
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))?;
    Ok(bytes.cast_unsigned())
}

/// Looks at the server behind a connection.
pub(in crate::store) fn look(connection: &Connection) -> Result<ServerFacts, StoreError> {
    let text = |sql: &str| -> Result<String, StoreError> {
        let sql = format!("SELECT CAST(({sql}) AS text)");
        Ok(connection.query_row(&sql, [], |row| row.get(0))?)
    };
    let number = |sql: &str| -> Result<i64, StoreError> {
        let sql = format!("SELECT CAST(({sql}) AS bigint)");
        Ok(connection.query_row(&sql, [], |row| row.get(0))?)
    };
    // What a session has by itself, before the controller has asked for more.
    let synchronous_commit =
        text("SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'")?;
    let mut strangers = connection.prepare(STRANGERS)?;
    let strangers: Result<Vec<String>, _> = strangers.query_map([], |row| row.get(0))?.collect();
    let before = clock::now().ms();
    let theirs = number("extract(epoch FROM clock_timestamp()) * 1000")?.cast_unsigned();
    let between = before.midpoint(clock::now().ms());
    Ok(ServerFacts {
        version: text("current_setting('server_version')")?,
        version_number: number("current_setting('server_version_num')")?.cast_unsigned(),
        encoding: text("current_setting('server_encoding')")?,
        is_superuser: text("current_setting('is_superuser')")? == "on",
        synchronous_commit,
        synchronous_standby_names: text("current_setting('synchronous_standby_names')")?,
        standbys: number("SELECT count(*) FROM pg_stat_replication")?.cast_unsigned(),
        apart_ms: theirs.abs_diff(between),
        bytes: bytes(connection)?,
        strangers: strangers?,
    })
}

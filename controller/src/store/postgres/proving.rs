//! Rows of a database at a server are given their MACs, once in its life.

use std::io;
use std::path::Path;

use crate::store::error::StoreError;
use crate::store::seal::RowKey;
use crate::store::sql::Connection;
use crate::store::sql::postgres::Postgres;
use crate::store::sqlite::{meta, rows};

/// The schema whose programs write rows with their MACs at a server: what an older one writes would count for nothing.
pub(super) const PROVES_SINCE: u32 = 15;

/// Makes a server's database one whose rows all have their MACs, once in its life; what said so is noted in it, and in
/// the file `mark` of whoever asks, because an editor of the database could take the first away. Whether they have: not
/// yet while a controller of a version before is connected, which would write rows without.
pub(super) fn prove_once(
    connection: &Postgres,
    (key, lock): (&RowKey, &str),
    mark: Option<&Path>,
) -> Result<bool, StoreError> {
    let sql: &Connection = connection;
    let is_proven = meta::rows_are_proven(sql)?;
    if !is_proven {
        if let Some(mark) = mark.filter(|mark| mark.exists()) {
            return Err(StoreError::Unproven {
                found: rows::SINCE_SCHEMA,
                mark: mark.to_owned(),
            });
        }
        sql.execute_batch(&format!("BEGIN; {lock}"))?;
        // Under the lock that each start takes: who is not seen yet reads afterwards that it is too old.
        if is_older_connected(sql)? {
            sql.execute_batch("ROLLBACK")?;
            tracing::warn!(
                "a controller of a version before is connected: rows that something else has written are not told \
                 from ours until every controller is of this version and one of them starts"
            );
            return Ok(false);
        }
        meta::set_oldest_program(sql, PROVES_SINCE, env!("CARGO_PKG_VERSION"))?;
        connection.prove_all(&rows::TABLES, key, false)?;
        meta::set_rows_proven(sql)?;
        sql.execute_batch("COMMIT")?;
    }
    if let Some(mark) = mark {
        let made = program::files::create(mark, 0o600, b"");
        if let Err(source) = made
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            let path = mark.to_owned();
            return Err(StoreError::Mark { path, source });
        }
    }
    Ok(true)
}

/// By what each calls itself.
fn is_older_connected(connection: &Connection) -> Result<bool, StoreError> {
    let older = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name = 'postern-controller'";
    Ok(connection.query_row(older, [], |row| row.get::<_, i64>(0))? > 0)
}

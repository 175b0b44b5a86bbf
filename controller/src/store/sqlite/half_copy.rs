//! Whether a database is half a copy of another (`store/copying.rs`), which nobody serves from.

use crate::store::error::StoreError;
use crate::store::sql::{Connection, Dialect};

/// Refuses a database that is half a copy.
pub(in crate::store) fn refuse_half(connection: &Connection) -> Result<(), StoreError> {
    if is_half(connection)? {
        return Err(StoreError::HalfCopied);
    }
    Ok(())
}

/// Whether it says of itself that it is.
pub(in crate::store) fn is_half(connection: &Connection) -> Result<bool, StoreError> {
    let sql = match connection.dialect() {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE name = 'db_copy'",
        Dialect::Postgres => "SELECT count(*) FROM pg_class WHERE oid = to_regclass('db_copy')",
    };
    let count: i64 = connection.prepare(sql)?.query_row([], |row| row.get(0))?;
    Ok(count > 0)
}

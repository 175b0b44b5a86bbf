//! Which schema there is.

use rusqlite::Connection;

use crate::store::error::StoreError;

/// The newest schema that this program knows: how many steps there are.
pub(crate) const SCHEMA: u32 = 17;
/// The schema that a database has; 0 of a new one.
pub(in crate::store) fn version(connection: &Connection) -> Result<u32, StoreError> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(version)
}

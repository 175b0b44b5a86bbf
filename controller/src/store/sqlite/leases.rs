//! Until when each host may grant under the text that it acknowledged.
//!
//! Nothing is granted by this: a host keeps its own date. A lease that is known only saves sending
//! what the host has.

use super::number::signed;
use crate::store::error::StoreError;
use crate::store::model::{Acknowledged, Lease};
use crate::store::sql::{Asked, Connection, Error, OptionalExtension as _, Row, Set, params};

const FIND: &str = "SELECT digest, until_secs FROM host_leases WHERE member = ?1";

/// What hosts acknowledge, each once, where that is news.
pub(super) fn set_all(connection: &Connection, several: &[Acknowledged]) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for Acknowledged { host, lease, .. } in several {
        if let Some(lease) = lease {
            rows.push(params![
                signed(*host),
                lease.digest,
                signed(lease.until_secs)
            ])?;
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO host_leases (member, digest, until_secs) VALUES (?1, ?2, ?3)
             ON CONFLICT (member) DO UPDATE
             SET digest = excluded.digest, until_secs = excluded.until_secs",
        )?
        .execute_each(&rows)?;
    Ok(())
}

/// What the host acknowledged last, as far as it is known.
pub(super) fn find(connection: &Connection, member: u64) -> Result<Option<Lease>, StoreError> {
    let lease = connection
        .prepare_cached(FIND)?
        .query_row([signed(member)], read)
        .optional()?;
    Ok(lease)
}

/// Asks for the same of several.
pub(super) fn ask_all<'c>(
    connection: &'c Connection,
    members: &[u64],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(members.iter().map(|member| [signed(*member)]))?;
    Ok(connection.ask_each(FIND, asked)?)
}

/// What is asked for.
pub(super) fn read(row: &Row<'_>) -> Result<Lease, Error> {
    Ok(Lease {
        digest: row.get(0)?,
        until_secs: row.get::<_, i64>(1)?.cast_unsigned(),
    })
}

/// The database was put back from a copy: what hosts were told since is not known.
pub(super) fn void_all(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("DELETE FROM host_leases", [])?;
    Ok(())
}

//! Whether members and tokens are what the log says last of them.

use std::collections::BTreeMap;

use fleet::{Event, EventKind};

use super::{members, rows};
use crate::store::error::StoreError;
use crate::store::model::{CONTROLLER, Recorded, TokenSaid};
use crate::store::sql::{Connection, params};

/// How they are other than that, in words. Rows that something else has written are not looked at: `rows`
/// names them.
pub(in crate::store) fn disagreements(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let kinds = Recorded::KINDS.map(|kind| i32::from(kind).to_string());
    // In the order of the log, by the index of kinds.
    let sql = format!(
        "SELECT e.kind, e.body FROM events e JOIN event_hosts h ON h.id = e.host
         WHERE h.name = ?1 AND e.kind IN ({}) ORDER BY e.id",
        kinds.join(", ")
    );
    let mut recorded = Recorded::default();
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query(params![CONTROLLER])?;
    while let Some(row) = found.next()? {
        let (kind, body): (i32, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let kind = EventKind::try_from(kind).unwrap_or_default();
        if let Ok(event) = Event::from_body(&body) {
            recorded.hear(kind, &event.reason);
        }
    }
    let mut tokens = BTreeMap::new();
    let sql = format!(
        "SELECT id, redeemed_at_ms IS NOT NULL, revoked_at_ms IS NOT NULL, {} FROM tokens",
        rows::TOKENS.good(connection, "tokens")
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        if !row.get::<_, bool>(3)? {
            continue;
        }
        let is = TokenSaid {
            is_redeemed: row.get(1)?,
            is_revoked: row.get(2)?,
        };
        tokens.insert(row.get(0)?, is);
    }
    Ok(recorded.disagreements(&members::all(connection)?, &tokens))
}

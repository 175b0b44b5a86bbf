//! What is done with a whole database, whichever engine it is of: read for `check`, made anew what is searched, sealed
//! under another key.

use fleet::Event;

use super::alone::Alone;
use super::error::StoreError;
use super::model::{Examined, Resealed, Whose};
use super::opened::Opened;
use super::seal::{KEY_LEN, SealKey};
use super::snapshot::Snapshot;
use super::sqlite::{backup, meta, resealing, rows, searched, words};
use super::{Place, postgres};

/// Reads the whole database, whether it is in use or not. Nothing is changed. Not in a task.
pub(super) fn examine_at_server(
    place: &Place,
    seal: &SealKey,
    whose: Whose<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Examined, StoreError> {
    let snapshot = Snapshot::begin(place, seal)?;
    let connection = snapshot.sql();
    let mut examined = Examined {
        server: Some(postgres::look(connection)?),
        schema: snapshot.schema()?,
        ..Examined::default()
    };
    if examined.schema > 0 {
        resealing::refuse_other_key(connection, seal)?;
        backup::look_over((connection, seal), whose, (&mut examined, progress))?;
    }
    Ok(examined)
}

/// Makes anew all that records are searched by, some thousand at a time; gives how many there are.
pub(super) fn rebuild_all(
    database: &Alone,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, StoreError> {
    let newest = words::newest(database.sql())?.cast_unsigned();
    let mut last = 0;
    while let Some(done) = database.within(|connection| searched::rebuild(connection, last))? {
        last = done;
        progress(last, newest);
    }
    Ok(newest)
}

/// Seals all under `new` in a database that several controllers may have, of which `run_key` has this one's runs. What
/// stood there under `old` goes with the server's next vacuum.
pub(super) fn reseal_shared(
    database: &Alone,
    keys: (&[u8; KEY_LEN], &[u8; KEY_LEN]),
    (event, run_key): (Event, &str),
) -> Result<Resealed, StoreError> {
    let Opened::Postgres(server) = &database.0 else {
        return Err(StoreError::Closed);
    };
    let resealed = database.within(|connection| {
        resealing::refuse_other_key(connection, &SealKey::new(keys.0))?;
        if connection.proves_rows() {
            // What is not ours gets no MAC under the next key.
            rows::disown(connection, connection)?;
        }
        let resealed = resealing::reseal_all(connection, keys, event)?;
        server.prove_all(&rows::TABLES, &SealKey::new(keys.1).row_key(), true)?;
        let others = meta::other_runs(connection, run_key)?;
        Ok(Resealed { others, ..resealed })
    })?;
    // A reader that came in between has looked at the key of before.
    if let Err(error) = database.end_others() {
        let error = program::one_line(&error);
        tracing::warn!(%error, "who reads with the seal key of before reads nothing until it connects anew");
    }
    Ok(resealed)
}

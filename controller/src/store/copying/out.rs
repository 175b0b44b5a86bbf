//! A database at a server copied into a new file as it is at one moment, while controllers serve: for backups.
//! What comes out is what a controller with a database of its own would have.

use std::io;
use std::path::Path;

use super::{CopyError, ROWS, compare, identity, tables};
use crate::store::Place;
use crate::store::error::StoreError;
use crate::store::seal::SealKey;
use crate::store::snapshot::Snapshot;
use crate::store::sqlite::{self, backup, meta, resealing, rows, schema};

/// Copies the database at `from` for the controller of this name into the file `to`, which is not there yet (mode
/// 0600). Gives the number of its schema. Not in a task.
pub(crate) fn copy_out(
    from: &Place,
    seal: &SealKey,
    controller: Option<&str>,
    to: &Path,
) -> Result<u32, CopyError> {
    let source = Snapshot::begin(from, seal)?;
    let found = source.schema()?;
    if found == 0 || identity(source.sql())?.is_none() {
        return Err(CopyError::NoFleet(from.to_string()));
    }
    resealing::refuse_other_key(source.sql(), seal)?;
    if found != schema::SCHEMA {
        let newer = StoreError::Newer {
            found,
            known: schema::SCHEMA,
            written_by: String::new(),
        };
        return Err(newer.into());
    }
    let failed = |source: io::Error| StoreError::Copy {
        path: to.to_owned(),
        source,
    };
    program::files::create(to, 0o600, b"").map_err(failed)?;
    let copied = fill(&source, seal, controller, to);
    if copied.is_err() {
        // Half a copy is none.
        let _ = std::fs::remove_file(to);
    }
    copied.map(|()| found)
}

fn fill(
    source: &Snapshot,
    seal: &SealKey,
    controller: Option<&str>,
    to: &Path,
) -> Result<(), CopyError> {
    let tables = tables::all()?;
    let target = sqlite::open_copy(to, &seal.row_key())?;
    let (from, to): (_, &crate::store::sql::Connection) = (source.sql(), &target);
    to.execute_batch("BEGIN").map_err(StoreError::from)?;
    for table in tables.iter().rev() {
        table.clear(to)?;
    }
    for table in &tables {
        let mut after = Vec::new();
        loop {
            let page = table.page(from, &after, ROWS)?;
            let Some(last) = page.last() else { break };
            after = table.key(last);
            table.insert(to, &page)?;
        }
    }
    tables::carry_last_ids(from, to)?;
    // What is not ours is not made ours by a copy.
    if from.proves_rows() {
        rows::disown(from, to)?;
    }
    compare(from, to, &tables, (ROWS, &mut |_| {}))?;
    meta::become_single(to, &meta::run_key(controller))?;
    to.execute_batch("COMMIT").map_err(StoreError::from)?;
    backup::close_copy(target)?;
    Ok(())
}

//! The tables of the journal, and how a connection to it is set up.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite_migration::{M, Migrations};

use super::error::{JournalError, cannot};
use super::place::LOG_BYTES_KEPT;
use super::version_1::move_events;

/// Version 1: an event was a row of texts.
const VERSION_1: &str = "
    -- One row. epoch: 16 random bytes as hexadecimal, the name of this journal.
    CREATE TABLE meta (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        epoch               TEXT    NOT NULL,
        -- Written by earlier versions, and read by none.
        boot_id             TEXT    NOT NULL,
        clean               INTEGER NOT NULL,
        -- Events up to here are committed elsewhere and may be deleted.
        acknowledged_seq    INTEGER NOT NULL,
        -- The latest forget_after_secs among forgotten digests: a message that would have to be
        -- remembered no longer than that may have been seen, and is refused.
        forgotten_secs      INTEGER NOT NULL,
        -- Packets dated before this are refused: see journal.rs.
        not_before_secs     INTEGER NOT NULL,
        -- The age window that digests were kept for; 0 when packets did not age.
        window_secs         INTEGER NOT NULL
    ) STRICT;

    -- Messages seen. Ordered by when they may be forgotten (0: never), so that inserts append and
    -- forgetting deletes one end.
    CREATE TABLE replay (
        forget_after_secs   INTEGER NOT NULL,
        digest              BLOB    NOT NULL,
        PRIMARY KEY (forget_after_secs, digest)
    ) STRICT, WITHOUT ROWID;

    -- The audit spool. The newest row is never deleted: it carries the numbering and the chain on.
    CREATE TABLE event (
        seq                 INTEGER PRIMARY KEY,
        at_ms               INTEGER NOT NULL,
        kind                TEXT    NOT NULL,
        user                TEXT    NOT NULL,
        key                 TEXT    NOT NULL,
        stanza              TEXT    NOT NULL,
        generation          INTEGER NOT NULL,
        source              TEXT    NOT NULL,
        opened              TEXT    NOT NULL,
        ports               TEXT    NOT NULL,
        until_ms            INTEGER NOT NULL,
        replay_digest       TEXT    NOT NULL,
        reason              TEXT    NOT NULL,
        count               INTEGER NOT NULL,
        chain               BLOB    NOT NULL,
        -- 1 for a grant whose closing has not been recorded.
        is_open             INTEGER NOT NULL
    ) STRICT;

    -- One row: the policy last adopted from the controller.
    CREATE TABLE policy (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        generation          INTEGER NOT NULL,
        text                TEXT    NOT NULL,
        digest              BLOB    NOT NULL,
        not_after_secs      INTEGER NOT NULL,
        replay_floor_secs   INTEGER NOT NULL
    ) STRICT;

    -- One row, without controller: which access file was in force, so that its generation grows
    -- exactly when it changes.
    CREATE TABLE access_file (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        generation          INTEGER NOT NULL,
        digest              BLOB    NOT NULL
    ) STRICT;
    ";

/// Version 2: an event is the bytes of its body, and live grants have a table of their own.
const VERSION_2: &str = "
    ALTER TABLE event RENAME TO event_1;

    -- How new events are chained: as the reader of the journal understands. Only grows.
    ALTER TABLE meta ADD COLUMN chain_version INTEGER NOT NULL DEFAULT 1;

    -- The audit spool. The newest row is never deleted: it carries the numbering and the chain on.
    CREATE TABLE event (
        seq                 INTEGER PRIMARY KEY,
        at_ms               INTEGER NOT NULL,
        -- The number in common.proto.
        kind                INTEGER NOT NULL,
        -- A serialized fleet::Event: what the chain covers, and what is pushed.
        body                BLOB    NOT NULL,
        chain               BLOB    NOT NULL CHECK (length(chain) = 32),
        chain_version       INTEGER NOT NULL
    ) STRICT;

    -- Grants whose closing has not been recorded. One tree, not two: a commit writes every page
    -- that it touches. A run of the agent counts its ids up, so inserts append.
    CREATE TABLE live_grant (
        grant_id            BLOB    PRIMARY KEY CHECK (length(grant_id) = 16),
        until_ms            INTEGER NOT NULL,
        address             TEXT    NOT NULL,
        -- Each as tcp/22, separated by blanks.
        ports               TEXT    NOT NULL,
        -- The body of the event that opened it.
        opened              BLOB    NOT NULL
    ) STRICT, WITHOUT ROWID;
    ";

/// Grants live on in connections, and a host may be locked.
const CONNECTIONS: &str = "
    -- 1 when the closing of its hole has been recorded: it lives on in connections.
    ALTER TABLE live_grant ADD COLUMN is_closed INTEGER NOT NULL DEFAULT 0;

    -- One row while the controller has locked this host.
    CREATE TABLE lock (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        reason              TEXT    NOT NULL
    ) STRICT;
    ";

/// Own messages are remembered under the date inside them. `replay` keeps what a version before
/// left.
const SEEN: &str = "
    -- Messages seen on this host, in order of their own dates: forgetting deletes one end.
    CREATE TABLE seen (
        dated_secs          INTEGER NOT NULL,
        digest              BLOB    NOT NULL,
        PRIMARY KEY (dated_secs, digest)
    ) STRICT, WITHOUT ROWID;

    -- One row; see gate::replay. Messages dated at or before lost_secs, unproven_secs or forgotten_secs
    -- are refused; each stands with the clock that set it. lost_why is a number of gate::FloorReason.
    CREATE TABLE floor (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        lost_secs           INTEGER NOT NULL,
        lost_at_secs        INTEGER NOT NULL,
        lost_why            INTEGER NOT NULL,
        unproven_secs       INTEGER NOT NULL,
        unproven_at_secs    INTEGER NOT NULL,
        forgotten_secs      INTEGER NOT NULL,
        forgotten_at_secs   INTEGER NOT NULL
    ) STRICT;

    -- Dates of messages that were forgotten, both ends included.
    CREATE TABLE spent (
        from_secs           INTEGER PRIMARY KEY,
        through_secs        INTEGER NOT NULL
    ) STRICT;

    -- A message was to be remembered until a window after its date at least.
    INSERT INTO floor SELECT 1, max(not_before_secs - 1, 0), not_before_secs, 3,
        0, 0, max(forgotten_secs - window_secs, 0), forgotten_secs FROM meta;
    INSERT INTO spent SELECT 0, forgotten_secs FROM floor WHERE forgotten_secs > 0;
    -- Told in the table floor from now on.
    UPDATE meta SET forgotten_secs = 0, not_before_secs = 0;
    ";

/// What siblings claim has a place of its own, in the order in which it was told.
const SIBLINGS: &str = "
    CREATE TABLE claimed (
        number              INTEGER PRIMARY KEY,
        digest              BLOB    NOT NULL,
        forget_after_secs   INTEGER NOT NULL
    ) STRICT;
    ";

/// Every floor stands for itself.
const STANDING: &str = "
    -- See gate::replay: messages dated at or before through_secs are refused, by the clock that said
    -- set_at_secs; 0 when no clock may lower it. why is a number of gate::FloorReason.
    CREATE TABLE standing (
        why                 INTEGER NOT NULL,
        through_secs        INTEGER NOT NULL,
        set_at_secs         INTEGER NOT NULL,
        PRIMARY KEY (why, through_secs)
    ) STRICT, WITHOUT ROWID;

    INSERT INTO standing SELECT lost_why, lost_secs, lost_at_secs FROM floor WHERE lost_secs > 0;
    INSERT INTO standing SELECT 5, unproven_secs, unproven_at_secs FROM floor WHERE unproven_secs > 0;
    INSERT INTO standing SELECT 8, forgotten_secs, forgotten_at_secs FROM floor
        WHERE forgotten_secs > 0;
    DROP TABLE floor;
    ";

/// A grant opens more than ports for one address.
const RULES: &str = "
    CREATE TABLE live_grant_rules (
        grant_id            BLOB    PRIMARY KEY CHECK (length(grant_id) = 16),
        until_ms            INTEGER NOT NULL,
        -- Each as engine::Rule prints it, one a line.
        rules               TEXT    NOT NULL,
        -- The body of the event that opened it.
        opened              BLOB    NOT NULL,
        -- 1 when the closing of its hole has been recorded: it lives on in connections. And 2 when its
        -- user wants those ended.
        is_closed           INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;

    INSERT INTO live_grant_rules SELECT grant_id, until_ms,
        address || ' ' || replace(ports, ' ', char(10) || address || ' '), opened, is_closed
        FROM live_grant;
    DROP TABLE live_grant;
    ALTER TABLE live_grant_rules RENAME TO live_grant;
    ";

/// Commands open and close.
const CYCLES: &str = "
    -- Command cycles, each beside its row in live_grant, which has no rules.
    CREATE TABLE cycle (
        grant_id            BLOB    PRIMARY KEY CHECK (length(grant_id) = 16),
        -- The command that closes it.
        close               TEXT    NOT NULL,
        -- 0: its opening command runs; 1: it is open; 2: its closing command runs.
        stage               INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    ";

/// The first version whose journals have a witness.
pub(super) const WITNESS_SINCE: i64 = 4;

/// Every version of the schema, oldest first. Append only.
fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(VERSION_1),
        M::up_with_hook(VERSION_2, |transaction| Ok(move_events(transaction)?)),
        M::up(CONNECTIONS),
        M::up(SEEN),
        M::up(SIBLINGS),
        M::up(STANDING),
        M::up(RULES),
        M::up(CYCLES),
    ])
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is someone else's; what is not told apart is damage"
)]
/// Brings the schema to the newest version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    migrations()
        .to_latest(connection)
        .map_err(|cause| match cause {
            rusqlite_migration::Error::MigrationDefinition(
                rusqlite_migration::MigrationDefinitionError::DatabaseTooFarAhead,
            ) => JournalError::Newer {
                path: path.to_owned(),
            },
            rusqlite_migration::Error::RusqliteError { err, .. } => cannot(path, "migrate")(err),
            other => JournalError::Damaged {
                path: path.to_owned(),
                finding: other.to_string(),
            },
        })
}

/// Keeps the write-ahead log when the last connection closes: after a crash, a log that is gone is
/// how a loss is noticed.
pub(super) fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Durable commits, and no checkpoint on the gate thread.
pub(super) fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    keep_log(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT.cast_signed())?;
    // KiB when negative.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_fit_together() {
        migrations().validate().unwrap();
    }
}

-- The fleet's log keeps each event as the bytes that its host chained, and beside them what is searched.
-- Rows of version 1 are moved by store/sqlite/version_1.rs after this.
ALTER TABLE events RENAME TO events_1;
DROP INDEX events_by_time;
DROP INDEX events_by_host;
DROP INDEX events_by_kind;
DROP INDEX events_by_user;
DROP INDEX events_by_source;
DROP INDEX events_by_opened;

-- (journal, seq) is unique because journals.last_seq only grows, in the same transaction.
CREATE TABLE events (
    id            INTEGER PRIMARY KEY,
    journal       INTEGER NOT NULL REFERENCES journals (id),
    host          INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    body          BLOB NOT NULL,            -- a serialized fleet::Event, as it came
    chain         BLOB NOT NULL,            -- the host's chain
    chain_version INTEGER NOT NULL,
    stored_at_ms  INTEGER NOT NULL,
    log_chain     BLOB NOT NULL,            -- the fleet's chain over everything above
    flaw          TEXT,                     -- what is wrong with it; NULL for nothing

    -- Read out of the body (store/sqlite/columns.rs). Texts are NULL instead of empty. An address is 4 or 6 and its
    -- bytes, or the text it was sent as when it is no canonical address; a digest and a grant id are their bytes
    -- or, in the same way, their text. Of a body that cannot be read only the time, which is that of its arrival.
    at_ms         INTEGER NOT NULL,
    kind          INTEGER NOT NULL,         -- the number in common.proto
    user          TEXT,
    key           TEXT,
    stanza        TEXT,
    generation    INTEGER NOT NULL,
    source        ANY,
    opened        ANY,
    replay_digest ANY,
    grant_id      ANY
) STRICT;

-- Why the controller refuses this host's events; empty when it does not.
ALTER TABLE host_states ADD COLUMN audit_fault TEXT NOT NULL DEFAULT '';

-- What tells that a host, or this database, was set back or copied.

-- The passes that a host was given (store/sqlite/sessions.rs).
CREATE TABLE host_passes (
    member  INTEGER PRIMARY KEY,            -- members.id
    lineage TEXT NOT NULL                   -- store/model/lineage.rs, as JSON
) STRICT;

-- What was found wrong with a host, counted (store/sqlite/alarms.rs). Each is an event of the log, too.
CREATE TABLE host_alarms (
    member  INTEGER NOT NULL,               -- members.id
    kind    INTEGER NOT NULL,               -- the number in common.proto
    count   INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    reason  TEXT NOT NULL,                  -- of the last one
    PRIMARY KEY (member, kind)
) STRICT, WITHOUT ROWID;

-- Who began the journal (members.id); NULL for journals of before, and the controller's own.
ALTER TABLE journals ADD COLUMN member INTEGER;
-- 1: its host was told, or is to be told, to begin another.
ALTER TABLE journals ADD COLUMN retired INTEGER NOT NULL DEFAULT 0;
-- The journal whose continuation this is, beside the one that came first. NULL for all others.
ALTER TABLE journals ADD COLUMN forked_from INTEGER REFERENCES journals (id);

-- One event in one place: what comes again is compared with what is there.
CREATE UNIQUE INDEX events_by_place ON events (journal, seq);

-- 1: the host asked for longer than claims are remembered.
ALTER TABLE claims ADD COLUMN capped INTEGER NOT NULL DEFAULT 0;

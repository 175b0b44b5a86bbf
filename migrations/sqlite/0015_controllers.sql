-- What several controllers over one database tell each other (store/sqlite/others.rs). Several have PostgreSQL: here all of it
-- stays empty, so that both engines have the same tables.

-- The order in which claims were won, for those who follow; NULL for claims of before.
ALTER TABLE claims ADD COLUMN position INTEGER;

-- Those that run, by a number that each start takes anew.
CREATE TABLE controllers (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    beat INTEGER NOT NULL               -- another number each time that it says it lives
) STRICT;

-- At which of them a host has its session, and up to which record of the log it enforces what it should.
CREATE TABLE host_sessions (
    member     INTEGER PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    controller INTEGER NOT NULL,        -- 0 for none
    heard      INTEGER NOT NULL,
    number     INTEGER NOT NULL UNIQUE  -- of the last change: whoever follows reads what is higher
) STRICT;

-- Which of them sends on to a sink; NULL for none.
ALTER TABLE sinks ADD COLUMN sender INTEGER;

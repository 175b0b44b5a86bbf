-- What each of several controllers says of itself (store/sqlite/others.rs); one of before says nothing.

ALTER TABLE controllers ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE controllers ADD COLUMN version TEXT NOT NULL DEFAULT '';
-- When it began to serve, milliseconds since the Unix epoch.
ALTER TABLE controllers ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;

-- What each of several controllers says of itself (migrations/sqlite/0016_controller_facts.sql); one of before says nothing.

ALTER TABLE controllers
    ADD COLUMN address text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN version text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN since_ms bigint NOT NULL DEFAULT 0;

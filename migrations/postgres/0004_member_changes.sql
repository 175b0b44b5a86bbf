-- Whose membership has changed (migrations/sqlite/0017_member_changes.sql, store/sqlite/member_changes.rs). Numbers come from a
-- sequence as those of host_sessions do: all writers take one lock, so their order is that of the commits.

CREATE SEQUENCE member_numbers;
CREATE TABLE member_changes (
    member bigint PRIMARY KEY,
    role   text COLLATE "C" NOT NULL,
    name   text COLLATE "C" NOT NULL,
    number bigint NOT NULL DEFAULT nextval('member_numbers') UNIQUE
);

-- Which schema a writer knows. A program of before leaves it out, and takes no numbers: where its row moves, everything is read.
ALTER TABLE writers ADD COLUMN schema bigint;

CREATE INDEX tokens_open_by_name ON tokens (role, name) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
CREATE INDEX tokens_open_by_creator ON tokens (creator) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
CREATE INDEX tokens_by_creator ON tokens (creator, redeemed_at_ms) WHERE redeemed_at_ms IS NOT NULL;

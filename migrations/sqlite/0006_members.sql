-- Members may be locked and removed, a user may have several keys, and a token can be revoked.

-- The keys of members (store/sqlite/members.rs): users have one for each device, others one, named "default". The id
-- begins the serial number of every certificate of this key and is never used again. Certificates made before this
-- table carry the id of their member, so ids of keys go on where those of members are.
CREATE TABLE member_keys (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    member        INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    identity_key  BLOB NOT NULL CHECK (length(identity_key) = 32),
    exchange_key  BLOB CHECK (length(exchange_key) = 32),
    joined_at_ms  INTEGER NOT NULL,
    renewed_at_ms INTEGER NOT NULL,
    locked_at_ms  INTEGER,                  -- NULL: not locked, and then the next two are empty
    lock_reason   TEXT NOT NULL DEFAULT '',
    locked_by     TEXT NOT NULL DEFAULT '',
    UNIQUE (member, name)
) STRICT;
INSERT INTO member_keys (id, member, name, identity_key, exchange_key, joined_at_ms, renewed_at_ms)
    SELECT id, id, 'default', identity_key, exchange_key, joined_at_ms, joined_at_ms FROM members;
DELETE FROM sqlite_sequence WHERE name = 'member_keys';
INSERT INTO sqlite_sequence (name, seq) SELECT 'member_keys', seq FROM sqlite_sequence WHERE name = 'members';

-- Whoever was banned is locked. The columns above are dropped, not the table: host_states refers to it.
ALTER TABLE members DROP COLUMN identity_key;
ALTER TABLE members DROP COLUMN exchange_key;
ALTER TABLE members RENAME COLUMN banned_at_ms TO locked_at_ms;
ALTER TABLE members ADD COLUMN lock_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE members ADD COLUMN locked_by TEXT NOT NULL DEFAULT '';
UPDATE members SET lock_reason = 'banned' WHERE locked_at_ms IS NOT NULL;

-- Names of users who were removed, until somebody joins by them again: a stanza with a key in its text that still
-- names one of them does not open for that name.
CREATE TABLE departed_users (
    name          TEXT PRIMARY KEY,
    removed_at_ms INTEGER NOT NULL,
    removed_by    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE tokens ADD COLUMN id TEXT NOT NULL DEFAULT '';  -- names it in lists
ALTER TABLE tokens ADD COLUMN key_name TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN creator INTEGER;              -- members.id of the operator; NULL: the controller itself
ALTER TABLE tokens ADD COLUMN revoked_at_ms INTEGER;
ALTER TABLE tokens ADD COLUMN revoked_by TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN member_key INTEGER;           -- member_keys.id of the redeemer
ALTER TABLE tokens ADD COLUMN redeemed_name TEXT NOT NULL DEFAULT '';
UPDATE tokens SET id = lower(hex(randomblob(6))), member_key = member,
    creator = (SELECT id FROM members WHERE role = 'operator' AND name = tokens.created_by),
    redeemed_name = coalesce((SELECT name FROM members WHERE id = tokens.member), '');
CREATE UNIQUE INDEX tokens_by_id ON tokens (id);

-- The log can be proven: signed checkpoints, and rows whose chain value covers all that they say.

-- How log_chain is computed (fleet::audit). Records of before are of version 1.
ALTER TABLE events ADD COLUMN log_version INTEGER NOT NULL DEFAULT 1;
-- The step of retention that emptied the record: its body is then the SHA-256 of what it was, and what it was searched
-- by is NULL (store/sqlite/retention.rs).
ALTER TABLE events ADD COLUMN pruned_by INTEGER;

-- The key that signs checkpoints (store/sqlite/checkpoints.rs): the newest. Its secret is sealed.
CREATE TABLE audit_keys (
    id          INTEGER PRIMARY KEY,
    public      TEXT NOT NULL,              -- a verifier key as text
    sealed_seed BLOB NOT NULL,
    made_at_ms  INTEGER NOT NULL
) STRICT;

-- What was signed, by how many records it covers.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL                      -- a signed note
) STRICT;

-- Checkpoints of ours that somebody presented and that the log does not agree with.
CREATE TABLE audit_conflicts (
    size         INTEGER NOT NULL,
    root         BLOB NOT NULL,
    note         TEXT NOT NULL,             -- the evidence
    signed_at_ms INTEGER NOT NULL,
    whose        TEXT NOT NULL,             -- who presented it first
    found_at_ms  INTEGER NOT NULL,
    is_news      INTEGER NOT NULL,          -- 1: an event says so; 0: of a loss that was known
    PRIMARY KEY (size, root)
) STRICT, WITHOUT ROWID;

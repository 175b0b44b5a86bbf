-- Until when each host may grant under the text that it acknowledged (store/sqlite/leases.rs): a controller that comes back
-- sends nothing to those that have what they should have.
CREATE TABLE host_leases (
    member     INTEGER PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    until_secs INTEGER NOT NULL             -- seconds since the Unix epoch; 0 for ever
) STRICT;

-- Claims of before that are never forgotten: few, and found without looking through all.
CREATE INDEX claims_for_ever ON claims (domain) WHERE forget_after_secs IS NULL;

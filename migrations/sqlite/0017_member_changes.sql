-- Whose membership has changed, in the order of the changes: whoever follows reads these members again, and no others
-- (store/sqlite/member_changes.rs).

CREATE TABLE member_changes (
    member INTEGER PRIMARY KEY,         -- stays when the member has gone; ids are never used again
    role   TEXT NOT NULL,
    name   TEXT NOT NULL,               -- before it went
    number INTEGER NOT NULL UNIQUE      -- of the last change: whoever follows reads what is higher
) STRICT;

-- Open tokens go with the member that made them, or for whom they were made: few of many.
CREATE INDEX tokens_open_by_name ON tokens (role, name) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
CREATE INDEX tokens_open_by_creator ON tokens (creator) WHERE redeemed_at_ms IS NULL AND revoked_at_ms IS NULL;
CREATE INDEX tokens_by_creator ON tokens (creator, redeemed_at_ms) WHERE redeemed_at_ms IS NOT NULL;

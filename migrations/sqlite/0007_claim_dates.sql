-- The replay list forgets by the date inside a message, as hosts do (store/sqlite/claims.rs).

-- The date inside the message; 0 where its host does not say.
ALTER TABLE claims ADD COLUMN dated_secs INTEGER NOT NULL DEFAULT 0;

-- The newest date of what was forgotten, domain by domain: nothing dated like that can be won.
CREATE TABLE claim_dates_spent (
    domain       BLOB PRIMARY KEY CHECK (length(domain) = 32),
    through_secs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest date of what a host has won, ever: a host that has won a newer message proves that claims were lost.
CREATE TABLE claim_dates_won (
    host         TEXT PRIMARY KEY,
    through_secs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Of dates up to here nobody knows what was won: claims before this version have none.
INSERT INTO meta (key, value) VALUES ('claim_dates_since_secs', unixepoch() + 120);

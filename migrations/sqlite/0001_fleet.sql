-- The controller's store. Read together with controller/src/store/sqlite/*.rs: one file per resource.
-- Times are milliseconds (_ms) or seconds (_secs) since the Unix epoch.

-- What is known once for the whole fleet (store/sqlite/meta.rs).
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Who belongs to the fleet (store/sqlite/members.rs). The id begins the serial number of every certificate
-- of this member, and is never used again: a name that is given to somebody else is another member.
CREATE TABLE members (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    role         TEXT NOT NULL CHECK (role IN ('host', 'user', 'operator', 'auditor')),
    name         TEXT NOT NULL,
    identity_key BLOB NOT NULL CHECK (length(identity_key) = 32),
    exchange_key BLOB CHECK (length(exchange_key) = 32),
    address      TEXT NOT NULL,
    spa_port     INTEGER NOT NULL,
    labels       TEXT NOT NULL,             -- a JSON object
    joined_at_ms INTEGER NOT NULL,
    banned_at_ms INTEGER,
    UNIQUE (role, name)
) STRICT;

-- What a host last said of itself (store/sqlite/hosts.rs).
CREATE TABLE host_states (
    member             INTEGER PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    applied_generation INTEGER NOT NULL DEFAULT 0,
    applied_digest     BLOB NOT NULL DEFAULT x'',
    rejected           TEXT NOT NULL DEFAULT '',  -- one reason a line
    drift              TEXT NOT NULL DEFAULT '',
    agent_version      TEXT NOT NULL DEFAULT '',
    last_seen_ms       INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Invitations (store/sqlite/tokens.rs). The secret itself is never stored.
CREATE TABLE tokens (
    secret_hash     BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    role            TEXT NOT NULL,
    name            TEXT NOT NULL,
    labels          TEXT NOT NULL,
    created_by      TEXT NOT NULL,
    created_at_ms   INTEGER NOT NULL,
    expires_at_secs INTEGER NOT NULL,
    redeemed_at_ms  INTEGER,
    redeemed_by     BLOB,                   -- identity key of the redeemer
    member          INTEGER                 -- members.id of the redeemer
) STRICT, WITHOUT ROWID;

-- Every policy there ever was (store/sqlite/policies.rs). The text is sealed: it may hold static keys.
CREATE TABLE policies (
    generation  INTEGER PRIMARY KEY,
    sealed_text BLOB NOT NULL,
    author      TEXT NOT NULL,
    message     TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    rollback_of INTEGER NOT NULL DEFAULT 0,
    stanzas     INTEGER NOT NULL
) STRICT;

-- The shared replay list (store/sqlite/claims.rs).
CREATE TABLE claims (
    domain            BLOB NOT NULL CHECK (length(domain) = 32),
    digest            BLOB NOT NULL CHECK (length(digest) = 32),
    host              TEXT NOT NULL,
    seq               INTEGER NOT NULL,
    forget_after_secs INTEGER,              -- NULL: never
    PRIMARY KEY (domain, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_forget_after ON claims (forget_after_secs) WHERE forget_after_secs IS NOT NULL;

-- The fleet's log (store/sqlite/events.rs). A journal is one host's gap-free, chained sequence.
CREATE TABLE event_hosts (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE journals (
    id       INTEGER PRIMARY KEY,
    host     INTEGER NOT NULL REFERENCES event_hosts (id),
    epoch    TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    chain    BLOB NOT NULL CHECK (length(chain) = 32),
    UNIQUE (host, epoch)
) STRICT;

-- Texts are NULL instead of empty. An address is 4 or 6 and its bytes, or the text it was sent as when
-- it is no canonical address; a digest is its bytes or, in the same way, its text.
-- (journal, seq) is unique because journals.last_seq only grows, in the same transaction.
CREATE TABLE events (
    id            INTEGER PRIMARY KEY,
    journal       INTEGER NOT NULL REFERENCES journals (id),
    host          INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    at_ms         INTEGER NOT NULL,
    kind          INTEGER NOT NULL,         -- the number in common.proto
    user          TEXT,
    key           TEXT,
    stanza        TEXT,
    generation    INTEGER NOT NULL,
    source        ANY,
    opened        ANY,
    ports         TEXT,                     -- separated by commas
    until_ms      INTEGER NOT NULL,
    replay_digest ANY,
    reason        TEXT,
    count         INTEGER NOT NULL,
    chain         BLOB NOT NULL,            -- the host's chain
    stored_at_ms  INTEGER NOT NULL,
    log_chain     BLOB NOT NULL             -- the fleet's chain over everything above
) STRICT;
CREATE INDEX events_by_time ON events (at_ms);
CREATE INDEX events_by_host ON events (host, at_ms);
CREATE INDEX events_by_kind ON events (kind, at_ms);
CREATE INDEX events_by_user ON events (user, at_ms) WHERE user IS NOT NULL;
CREATE INDEX events_by_source ON events (source, at_ms) WHERE source IS NOT NULL;
CREATE INDEX events_by_opened ON events (opened, at_ms) WHERE opened IS NOT NULL AND opened IS NOT source;

-- Who used which port where: one row for each port of an event (protocol * 65536 + port).
CREATE TABLE event_ports (
    host  INTEGER NOT NULL,
    port  INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    event INTEGER NOT NULL,
    kind  INTEGER NOT NULL,
    PRIMARY KEY (host, port, at_ms, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_ports_by_port ON event_ports (port, at_ms, event, kind);

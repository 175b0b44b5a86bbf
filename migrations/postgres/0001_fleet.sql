-- The controller's store over PostgreSQL: what migrations/sqlite has after its step 14, table by table and column by column
-- (a test compares them). What each table is for stands there.
--
-- Whole numbers are bigint and texts compare by their bytes, as they do in SQLite. What may be a number, a text or bytes
-- there is `bit varying` here, which nothing else is: a first byte says which (1 number, 2 text, 3 bytes), and the order
-- is SQLite's. controller/src/store/sql/postgres.rs writes and reads it. `mac` is what tells a row of ours (controller/src/store/sqlite/rows.rs).

-- Of the tables whose ids are never used again: the last that was given. Not sequences, which leave gaps and are not undone.
CREATE TABLE last_ids (
    name text COLLATE "C" PRIMARY KEY,
    id   bigint NOT NULL
);
INSERT INTO last_ids (name, id) VALUES ('members', 0), ('member_keys', 0), ('event_hosts', 0), ('journals', 0),
    ('event_reasons', 0), ('audit_keys', 0);
CREATE FUNCTION next_id(text) RETURNS bigint LANGUAGE sql VOLATILE AS
    'UPDATE last_ids SET id = id + 1 WHERE name = $1 RETURNING id';

-- Who writes: each controller notes its last transaction in it, so that one whose answer was lost is decided.
CREATE TABLE writers (
    name  text COLLATE "C" PRIMARY KEY,
    batch bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE meta (
    key   text COLLATE "C" PRIMARY KEY,
    value bit varying NOT NULL,
    mac          bytea
);
-- No claim is older than this database; then a list that is the first, nothing signed, and no doubt: numbers, and an empty text.
INSERT INTO meta (key, value) VALUES ('claim_dates_since_secs', X'018000000000000000'),
    ('claim_epoch', X'018000000000000001'), ('signed_size', X'018000000000000000'), ('set_back', X'02');

CREATE TABLE members (
    id           bigint PRIMARY KEY DEFAULT next_id('members'),
    role         text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL,
    address      text COLLATE "C" NOT NULL,
    spa_port     bigint NOT NULL,
    labels       text COLLATE "C" NOT NULL,
    joined_at_ms bigint NOT NULL,
    locked_at_ms bigint,
    lock_reason  text COLLATE "C" NOT NULL DEFAULT '',
    locked_by    text COLLATE "C" NOT NULL DEFAULT '',
    addresses    text COLLATE "C" NOT NULL DEFAULT '[]',
    scope        text COLLATE "C" NOT NULL DEFAULT '{}',
    mac          bytea,
    UNIQUE (role, name)
);

CREATE TABLE member_keys (
    id                bigint PRIMARY KEY DEFAULT next_id('member_keys'),
    member            bigint NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    name              text COLLATE "C" NOT NULL,
    identity_key      bytea NOT NULL CHECK (length(identity_key) = 32),
    exchange_key      bytea CHECK (length(exchange_key) = 32),
    joined_at_ms      bigint NOT NULL,
    renewed_at_ms     bigint NOT NULL,
    locked_at_ms      bigint,
    lock_reason       text COLLATE "C" NOT NULL DEFAULT '',
    locked_by         text COLLATE "C" NOT NULL DEFAULT '',
    authorities       bytea NOT NULL DEFAULT '',
    issuer            bytea CHECK (length(issuer) = 32),
    follows           bigint,
    rotation_asked_ms bigint,
    mac          bytea,
    UNIQUE (member, name)
);

CREATE TABLE former_names (
    key  bigint NOT NULL REFERENCES member_keys (id) ON DELETE CASCADE,
    role text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    mac          bytea,
    PRIMARY KEY (key, role, name)
);

CREATE TABLE departed_users (
    name          text COLLATE "C" PRIMARY KEY,
    removed_at_ms bigint NOT NULL,
    removed_by    text COLLATE "C" NOT NULL,
    mac          bytea
);

CREATE TABLE host_states (
    member              bigint PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    applied_generation  bigint NOT NULL DEFAULT 0,
    applied_digest      bytea NOT NULL DEFAULT '',
    rejected            text COLLATE "C" NOT NULL DEFAULT '',
    drift               text COLLATE "C" NOT NULL DEFAULT '',
    agent_version       text COLLATE "C" NOT NULL DEFAULT '',
    last_seen_ms        bigint NOT NULL DEFAULT 0,
    audit_fault         text COLLATE "C" NOT NULL DEFAULT '',
    protected_ports     text COLLATE "C" NOT NULL DEFAULT '',
    own_protected_ports text COLLATE "C" NOT NULL DEFAULT '',
    warnings            text COLLATE "C" NOT NULL DEFAULT '',
    floor_secs          bigint NOT NULL DEFAULT 0,
    clock_offset_ms     bigint,
    commands            bigint,
    backend             text COLLATE "C" NOT NULL DEFAULT '',
    grants_open         bigint,
    contract            text COLLATE "C"
) WITH (fillfactor = 50);

CREATE TABLE host_leases (
    member     bigint PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    until_secs bigint NOT NULL
);

CREATE TABLE host_passes (
    member  bigint PRIMARY KEY,
    lineage text COLLATE "C" NOT NULL
);

CREATE TABLE host_alarms (
    member  bigint NOT NULL,
    kind    bigint NOT NULL,
    count   bigint NOT NULL,
    last_ms bigint NOT NULL,
    reason  text COLLATE "C" NOT NULL,
    PRIMARY KEY (member, kind)
);

CREATE TABLE tokens (
    secret_hash     bytea PRIMARY KEY CHECK (length(secret_hash) = 32),
    role            text COLLATE "C" NOT NULL,
    name            text COLLATE "C" NOT NULL,
    labels          text COLLATE "C" NOT NULL,
    created_by      text COLLATE "C" NOT NULL,
    created_at_ms   bigint NOT NULL,
    expires_at_secs bigint NOT NULL,
    redeemed_at_ms  bigint,
    redeemed_by     bytea,
    member          bigint,
    id              text COLLATE "C" NOT NULL DEFAULT '',
    key_name        text COLLATE "C" NOT NULL DEFAULT '',
    replaces        bigint NOT NULL DEFAULT 0,
    creator         bigint,
    revoked_at_ms   bigint,
    revoked_by      text COLLATE "C" NOT NULL DEFAULT '',
    member_key      bigint,
    redeemed_name   text COLLATE "C" NOT NULL DEFAULT '',
    scope           text COLLATE "C" NOT NULL DEFAULT '{}',
    mac          bytea
);
CREATE UNIQUE INDEX tokens_by_id ON tokens (id);

CREATE TABLE policies (
    generation  bigint PRIMARY KEY,
    sealed_text bytea NOT NULL,
    author      text COLLATE "C" NOT NULL,
    message     text COLLATE "C" NOT NULL,
    at_ms       bigint NOT NULL,
    rollback_of bigint NOT NULL DEFAULT 0,
    stanzas     bigint NOT NULL,
    file        text COLLATE "C" NOT NULL DEFAULT '',
    mac          bytea
);

CREATE TABLE claims (
    domain            bytea NOT NULL CHECK (length(domain) = 32),
    digest            bytea NOT NULL CHECK (length(digest) = 32),
    host              text COLLATE "C" NOT NULL,
    seq               bigint NOT NULL,
    forget_after_secs bigint,
    capped            bigint NOT NULL DEFAULT 0,
    dated_secs        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (domain, digest)
);
CREATE INDEX claims_by_forget_after ON claims (forget_after_secs) WHERE forget_after_secs IS NOT NULL;
CREATE INDEX claims_for_ever ON claims (domain) WHERE forget_after_secs IS NULL;

CREATE TABLE claim_dates_spent (
    domain       bytea PRIMARY KEY CHECK (length(domain) = 32),
    through_secs bigint NOT NULL
);

CREATE TABLE claim_dates_won (
    host         text COLLATE "C" PRIMARY KEY,
    through_secs bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE event_hosts (
    id   bigint PRIMARY KEY DEFAULT next_id('event_hosts'),
    name text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE journals (
    id          bigint PRIMARY KEY DEFAULT next_id('journals'),
    host        bigint NOT NULL REFERENCES event_hosts (id),
    epoch       text COLLATE "C" NOT NULL,
    last_seq    bigint NOT NULL,
    chain       bytea NOT NULL CHECK (length(chain) = 32),
    member      bigint,
    retired     bigint NOT NULL DEFAULT 0,
    forked_from bigint REFERENCES journals (id),
    mac          bytea,
    UNIQUE (host, epoch)
) WITH (fillfactor = 50);

CREATE TABLE events (
    id            bigint PRIMARY KEY,
    journal       bigint NOT NULL REFERENCES journals (id),
    host          bigint NOT NULL,
    seq           bigint NOT NULL,
    body          bytea NOT NULL,
    chain         bytea NOT NULL,
    chain_version bigint NOT NULL,
    stored_at_ms  bigint NOT NULL,
    log_chain     bytea NOT NULL,
    flaw          text COLLATE "C",
    at_ms         bigint NOT NULL,
    kind          bigint NOT NULL,
    "user"        text COLLATE "C",
    key           text COLLATE "C",
    stanza        text COLLATE "C",
    generation    bigint NOT NULL,
    source        bit varying,
    opened        bit varying,
    replay_digest bit varying,
    grant_id      bit varying,
    log_version   bigint NOT NULL DEFAULT 1,
    pruned_by     bigint
);
-- The id stands in each: pages go backwards through the time and, within it, the number.
CREATE INDEX events_by_time ON events (at_ms, id);
CREATE INDEX events_by_host ON events (host, at_ms, id);
CREATE INDEX events_by_kind ON events (kind, at_ms, id);
CREATE INDEX events_by_user ON events ("user", at_ms, id) WHERE "user" IS NOT NULL;
CREATE INDEX events_by_source ON events (source, at_ms, id) WHERE source IS NOT NULL;
CREATE INDEX events_by_opened ON events (opened, at_ms, id) WHERE opened IS NOT NULL AND opened IS DISTINCT FROM source;
CREATE UNIQUE INDEX events_by_place ON events (journal, seq);

CREATE TABLE event_ports (
    host  bigint NOT NULL,
    port  bigint NOT NULL,
    at_ms bigint NOT NULL,
    event bigint NOT NULL,
    kind  bigint NOT NULL,
    PRIMARY KEY (host, port, at_ms, event)
);
CREATE INDEX event_ports_by_port ON event_ports (port, at_ms, event, kind);

CREATE TABLE event_words_end (
    event bigint NOT NULL
);
INSERT INTO event_words_end (event) VALUES (0);

CREATE TABLE event_reasons (
    id   bigint PRIMARY KEY DEFAULT next_id('event_reasons'),
    text text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE event_words (
    what  bigint NOT NULL,
    value bit varying NOT NULL,
    at_ms bigint NOT NULL,
    event bigint NOT NULL,
    PRIMARY KEY (what, value, at_ms, event)
);

CREATE TABLE event_ids (
    part  bigint NOT NULL,
    what  bigint NOT NULL,
    value bit varying NOT NULL,
    event bigint NOT NULL,
    PRIMARY KEY (part, what, value, event)
);

CREATE TABLE event_blocks (
    block bytea NOT NULL,
    at_ms bigint NOT NULL,
    event bigint NOT NULL,
    PRIMARY KEY (block, at_ms, event)
);
CREATE INDEX event_blocks_by_event ON event_blocks (event, block);

CREATE TABLE sinks (
    name            text COLLATE "C" PRIMARY KEY,
    delivered_id    bigint NOT NULL,
    delivered_at_ms bigint NOT NULL,
    alarm_since_ms  bigint
);

CREATE TABLE audit_keys (
    id          bigint PRIMARY KEY DEFAULT next_id('audit_keys'),
    public      text COLLATE "C" NOT NULL,
    sealed_seed bytea NOT NULL,
    made_at_ms  bigint NOT NULL,
    succession  text COLLATE "C",
    mac          bytea
);

CREATE TABLE checkpoints (
    size bigint PRIMARY KEY,
    note text COLLATE "C" NOT NULL
);

CREATE TABLE audit_conflicts (
    size         bigint NOT NULL,
    root         bytea NOT NULL,
    note         text COLLATE "C" NOT NULL,
    signed_at_ms bigint NOT NULL,
    whose        text COLLATE "C" NOT NULL,
    found_at_ms  bigint NOT NULL,
    is_news      bigint NOT NULL,
    PRIMARY KEY (size, root)
);

-- What several controllers tell each other (migrations/sqlite/0015_controllers.sql, store/sqlite/others.rs). Numbers come from
-- sequences: all writers take one lock, so their order is that of the commits, and nobody needs them without gaps.

CREATE SEQUENCE claim_positions;
ALTER TABLE claims ADD COLUMN position bigint;
-- Apart: what is there already has none, and is not written again.
ALTER TABLE claims ALTER COLUMN position SET DEFAULT nextval('claim_positions');
CREATE INDEX claims_by_position ON claims (position) WHERE position IS NOT NULL;

CREATE SEQUENCE controller_ids;
CREATE TABLE controllers (
    id   bigint PRIMARY KEY DEFAULT nextval('controller_ids'),
    name text COLLATE "C" NOT NULL UNIQUE,
    beat bigint NOT NULL
) WITH (fillfactor = 50);

CREATE SEQUENCE host_numbers;
CREATE TABLE host_sessions (
    member     bigint PRIMARY KEY REFERENCES members (id) ON DELETE CASCADE,
    controller bigint NOT NULL,
    heard      bigint NOT NULL,
    number     bigint NOT NULL DEFAULT nextval('host_numbers') UNIQUE
);

ALTER TABLE sinks ADD COLUMN sender bigint;

-- How controllers of before said it, all hosts in one text.
DELETE FROM meta WHERE key LIKE 'present at %';

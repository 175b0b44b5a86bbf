-- More roles, members whose business is some hosts only, hosts with several addresses, and events that are sent on.

-- The roles are those of fleet::Role. A CHECK cannot be altered, and a table that others refer to cannot be made anew
-- inside a transaction; the text of the schema may be edited where what is stored stays the same
-- (https://www.sqlite.org/lang_altertable.html#otheralter).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, ' CHECK (role IN (''host'', ''user'', ''operator'', ''auditor''))', '')
    WHERE type = 'table' AND name = 'members';
PRAGMA writable_schema = RESET;

ALTER TABLE members ADD COLUMN addresses TEXT NOT NULL DEFAULT '[]';  -- a JSON array: those beside address
ALTER TABLE members ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';      -- a JSON object; empty for all hosts
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '{}';

-- What the operator called the file of a generation, for `file:line` in answers; empty where that was not kept
-- (store/sqlite/policies.rs).
ALTER TABLE policies ADD COLUMN file TEXT NOT NULL DEFAULT '';

-- How far events have been sent on (store/sqlite/sinks.rs).
CREATE TABLE sinks (
    name            TEXT PRIMARY KEY,
    delivered_id    INTEGER NOT NULL,       -- events up to this one are delivered
    delivered_at_ms INTEGER NOT NULL,       -- when that was; 0 for never
    alarm_since_ms  INTEGER                 -- since when it is an alarm that this lags; NULL when it is none
) STRICT, WITHOUT ROWID;

-- Members: names under which certificates of a key were made before its member was given another (store/sqlite/members.rs).
-- Whoever has such a certificate, and asks for the next by that name, is who it was. The name alone tells nobody apart:
-- it may be somebody else's by now.
CREATE TABLE former_names (
    key  INTEGER NOT NULL REFERENCES member_keys (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (key, role, name)
) STRICT, WITHOUT ROWID;

-- Before there were owners, an operator might do what an owner may now, so that is what she stays.
INSERT INTO former_names (key, role, name)
    SELECT k.id, m.role, m.name FROM member_keys k JOIN members m ON m.id = k.member WHERE m.role = 'operator';
UPDATE members SET role = 'owner' WHERE role = 'operator';

-- What hosts say of themselves (store/sqlite/hosts.rs).
ALTER TABLE host_states ADD COLUMN backend TEXT NOT NULL DEFAULT '';
ALTER TABLE host_states ADD COLUMN grants_open INTEGER;               -- NULL from hosts that do not say
ALTER TABLE host_states ADD COLUMN contract TEXT;                     -- as fleet::Contract in a header; NULL until heard

-- The log is searched by generation, actor and request, too (store/sqlite/words.rs): 4 generation, 5 actor, 6 request,
-- 7 that it has one of its own. What was indexed before is gone through again, in the background.
UPDATE event_words_end SET event = 0;

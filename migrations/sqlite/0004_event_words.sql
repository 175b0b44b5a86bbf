-- What the log is searched by besides what 0002 has: stanza, key, reason, digest and grant. Filled in the background
-- from the events, in their order of arrival (store/sqlite/words.rs): five more indexes would halve what the log takes.

-- The newest event that is indexed here; one row.
CREATE TABLE event_words_end (
    event INTEGER NOT NULL
) STRICT;
INSERT INTO event_words_end (event) VALUES (0);

-- Few reasons are said many times: each is kept once, its first 120 bytes.
CREATE TABLE event_reasons (
    id   INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

-- what: 1 stanza, 2 key, 3 reason (event_reasons.id). In the order of time for each value.
CREATE TABLE event_words (
    what  INTEGER NOT NULL,
    value ANY NOT NULL,
    at_ms INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (what, value, at_ms, event)
) STRICT, WITHOUT ROWID;

-- what: 1 replay digest, 2 grant; the first 8 bytes of each. They are random: over the whole log each would be written
-- to a page of its own. In parts of 65,536 events the pages that are written are few, and a question looks into each.
CREATE TABLE event_ids (
    part  INTEGER NOT NULL,
    what  INTEGER NOT NULL,
    value ANY NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (part, what, value, event)
) STRICT, WITHOUT ROWID;

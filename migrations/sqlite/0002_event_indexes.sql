-- After the rows have been moved: an index that is made at once is made ten times faster.
DROP TABLE events_1;
CREATE INDEX events_by_time ON events (at_ms);
CREATE INDEX events_by_host ON events (host, at_ms);
CREATE INDEX events_by_kind ON events (kind, at_ms);
CREATE INDEX events_by_user ON events (user, at_ms) WHERE user IS NOT NULL;
CREATE INDEX events_by_source ON events (source, at_ms) WHERE source IS NOT NULL;
CREATE INDEX events_by_opened ON events (opened, at_ms) WHERE opened IS NOT NULL AND opened IS NOT source;

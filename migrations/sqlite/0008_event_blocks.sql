-- What events name that is more than one address or one port: networks, and long ranges of ports, each cut into
-- blocks whose size is a power of two. What encloses an address or a port is then found by a few equal keys. Most events
-- have no row.
CREATE TABLE event_blocks (
    block BLOB NOT NULL,                    -- see columns.rs
    at_ms INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (block, at_ms, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_blocks_by_event ON event_blocks (event, block);

-- A journal as version 1 of the schema left it: made by postern-agent 0.1.0 before events had bodies, and dumped.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE access_file (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        generation          INTEGER NOT NULL,
        digest              BLOB    NOT NULL
    ) STRICT;
CREATE TABLE event (
        seq                 INTEGER PRIMARY KEY,
        at_ms               INTEGER NOT NULL,
        kind                TEXT    NOT NULL,
        user                TEXT    NOT NULL,
        key                 TEXT    NOT NULL,
        stanza              TEXT    NOT NULL,
        generation          INTEGER NOT NULL,
        source              TEXT    NOT NULL,
        opened              TEXT    NOT NULL,
        ports               TEXT    NOT NULL,
        until_ms            INTEGER NOT NULL,
        replay_digest       TEXT    NOT NULL,
        reason              TEXT    NOT NULL,
        count               INTEGER NOT NULL,
        chain               BLOB    NOT NULL,
        -- 1 for a grant whose closing has not been recorded.
        is_open             INTEGER NOT NULL
    ) STRICT;
INSERT INTO "event" VALUES(1,1800000000000,'agent-started','','','',3,'','','',0,'','version 0.1.0',1,X'4E876F841683981A5ACD97F6748D9677D4E1F518B866B04943A4C589C5477AD2',0);
INSERT INTO "event" VALUES(2,1800000001000,'grant-opened','alice','k-5f2a','sre-ssh',3,'192.0.2.7','192.0.2.7','tcp/22 udp/53',1800000031000,'0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef','',1,X'6B4761417B13B0C0D0169B6667FA6D380B90CFF18FD0F9523F439F6F6A8E6237',1);
INSERT INTO "event" VALUES(3,1800000001500,'grant-opened','alice','k-5f2a','sre-ssh',3,'192.0.2.7','2001:db8::7','tcp/22 udp/53',1800000031000,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','',1,X'E384D8C8F137C1205D42D467DE020E1DDBF332180B8E4295C406BEBD2ABFFF6D',0);
INSERT INTO "event" VALUES(4,1800000031000,'grant-closed','alice','k-5f2a','sre-ssh',3,'192.0.2.7','2001:db8::7','tcp/22 udp/53',1800000031000,'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff','über',1,X'09D7DD3FF795D77ACAE04889F085ECA6C377E0525C0EA37664C066C5E368BE25',0);
INSERT INTO "event" VALUES(5,1800000060000,'noise','','','',0,'198.51.100.9','','',0,'','packets of strangers',1234,X'740915D9B4F0A4E0851766822CE0B049A76C363D4AC3FECF885184E0365B1D36',0);
CREATE TABLE meta (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        epoch               TEXT    NOT NULL,
        boot_id             TEXT    NOT NULL,
        clean               INTEGER NOT NULL,
        -- Events up to here are committed elsewhere and may be deleted.
        acknowledged_seq    INTEGER NOT NULL,
        -- The latest forget_after_secs among forgotten digests: a message that would have to be
        -- remembered no longer than that may have been seen, and is refused.
        forgotten_secs      INTEGER NOT NULL,
        -- Packets dated before this are refused: see journal.rs.
        not_before_secs     INTEGER NOT NULL,
        -- The age window that digests were kept for; 0 when packets did not age.
        window_secs         INTEGER NOT NULL
    ) STRICT;
INSERT INTO "meta" VALUES(1,'5cc2fae88495be6dc4acde3115cc0f59','f0940ecd-312d-4ae1-820b-7c89e63918d2',1,0,0,1800000000,120);
CREATE TABLE policy (
        one                 INTEGER PRIMARY KEY CHECK (one = 1),
        generation          INTEGER NOT NULL,
        text                TEXT    NOT NULL,
        digest              BLOB    NOT NULL,
        not_after_secs      INTEGER NOT NULL,
        replay_floor_secs   INTEGER NOT NULL
    ) STRICT;
CREATE TABLE replay (
        forget_after_secs   INTEGER NOT NULL,
        digest              BLOB    NOT NULL,
        PRIMARY KEY (forget_after_secs, digest)
    ) STRICT, WITHOUT ROWID;
COMMIT;

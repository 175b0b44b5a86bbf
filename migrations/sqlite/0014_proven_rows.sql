-- Rows that say who may do what, or who did what, can be told from rows that something else has written: each has a
-- MAC over its columns under a key that is not in the database (store/sqlite/rows.rs). NULL until it is filled.

ALTER TABLE meta ADD COLUMN mac BLOB;
ALTER TABLE members ADD COLUMN mac BLOB;
ALTER TABLE member_keys ADD COLUMN mac BLOB;
ALTER TABLE former_names ADD COLUMN mac BLOB;
ALTER TABLE departed_users ADD COLUMN mac BLOB;
ALTER TABLE tokens ADD COLUMN mac BLOB;
ALTER TABLE policies ADD COLUMN mac BLOB;
ALTER TABLE audit_keys ADD COLUMN mac BLOB;
ALTER TABLE journals ADD COLUMN mac BLOB;

-- Facts whose absence says something are there, so that nothing is said by taking a row away.
INSERT INTO meta (key, value) VALUES ('claim_epoch', 1) ON CONFLICT (key) DO NOTHING;
INSERT INTO meta (key, value) VALUES ('signed_size', 0) ON CONFLICT (key) DO NOTHING;
INSERT INTO meta (key, value) VALUES ('set_back', '') ON CONFLICT (key) DO NOTHING;

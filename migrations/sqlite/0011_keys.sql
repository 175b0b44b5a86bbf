-- Keys follow one another: which authorities a member knows, and which key is to replace which.

-- SHA-256 of each CA certificate that the member keeps, one after another; empty where it keeps one for ever.
ALTER TABLE member_keys ADD COLUMN authorities BLOB NOT NULL DEFAULT x'';
-- SHA-256 of the CA certificate that issued its newest certificate; NULL where that is not known.
ALTER TABLE member_keys ADD COLUMN issuer BLOB CHECK (length(issuer) = 32);
-- member_keys.id of the key that this one is to replace.
ALTER TABLE member_keys ADD COLUMN follows INTEGER;
-- When the member was asked for a new key, which it has not made yet.
ALTER TABLE member_keys ADD COLUMN rotation_asked_ms INTEGER;

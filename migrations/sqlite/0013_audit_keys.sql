-- The key that signs the log is replaced by another. Of one that was, sealed_seed is empty: its secret is gone.

-- The signed note by which it followed the key before it (fleet::audit::Succession); NULL of the first.
ALTER TABLE audit_keys ADD COLUMN succession TEXT;

-- What hosts say of themselves besides the policy; lists with one entry a line.
ALTER TABLE host_states ADD COLUMN protected_ports TEXT NOT NULL DEFAULT '';
ALTER TABLE host_states ADD COLUMN own_protected_ports TEXT NOT NULL DEFAULT '';
ALTER TABLE host_states ADD COLUMN warnings TEXT NOT NULL DEFAULT '';
ALTER TABLE host_states ADD COLUMN floor_secs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE host_states ADD COLUMN clock_offset_ms INTEGER;
-- 0 off, 1 on, NULL not said.
ALTER TABLE host_states ADD COLUMN commands INTEGER;

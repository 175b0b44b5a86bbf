//! A firewall that only remembers: for tests and for `--dry-run`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Door, Firewall, FirewallError, Hole, HoleTimeout};

/// Remembers what it was told to open; closes nothing by itself. Clones share their memory, so that
/// a test can look at what it has given away.
#[derive(Clone, Debug, Default)]
pub struct MemoryFirewall(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    open: BTreeMap<Door, HoleTimeout>,
    revoked: Vec<Door>,
}

// === impl MemoryFirewall ===

impl MemoryFirewall {
    /// The doors that were closed by force and not opened since.
    pub fn revoked(&self) -> Vec<Door> {
        self.0.lock().revoked.clone()
    }

    /// What is open.
    pub fn holes(&self) -> Vec<Hole> {
        let memory = self.0.lock();
        let hole = |(door, timeout): (&Door, &HoleTimeout)| Hole {
            door: *door,
            timeout: *timeout,
        };
        memory.open.iter().map(hole).collect()
    }
}

impl Firewall for MemoryFirewall {
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        let mut memory = self.0.lock();
        for hole in holes {
            memory.open.insert(hole.door, hole.timeout);
            memory.revoked.retain(|door| *door != hole.door);
        }
        Ok(())
    }

    fn close(&mut self, doors: &[Door]) -> Result<(), FirewallError> {
        let mut memory = self.0.lock();
        for door in doors {
            memory.open.remove(door);
            memory.revoked.push(*door);
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        Ok(self.holes())
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.0.lock().open.clear();
        Ok(())
    }
}

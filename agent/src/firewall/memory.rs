//! A firewall that only remembers: for tests and for `--dry-run`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Hole, HoleTimeout, Rule};
use parking_lot::Mutex;

use super::{Firewall, FirewallError};

/// Remembers what it was told to open; closes nothing by itself. Clones share their memory, so that
/// a test can look at what it has given away.
#[derive(Clone, Debug, Default)]
pub struct MemoryFirewall(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    open: BTreeMap<Rule, HoleTimeout>,
    revoked: Vec<Rule>,
}

// === impl MemoryFirewall ===

impl MemoryFirewall {
    /// The rules that were taken back by force and not opened since.
    pub fn revoked(&self) -> Vec<Rule> {
        self.0.lock().revoked.clone()
    }

    /// What is open.
    pub fn holes(&self) -> Vec<Hole> {
        let memory = self.0.lock();
        let hole = |(rule, timeout): (&Rule, &HoleTimeout)| Hole {
            rule: *rule,
            timeout: *timeout,
        };
        memory.open.iter().map(hole).collect()
    }
}

impl Firewall for MemoryFirewall {
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        let mut memory = self.0.lock();
        for hole in holes {
            memory.open.insert(hole.rule, hole.timeout);
            memory.revoked.retain(|rule| *rule != hole.rule);
        }
        Ok(())
    }

    fn close(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        let mut memory = self.0.lock();
        for rule in rules {
            memory.open.remove(rule);
            memory.revoked.push(*rule);
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

//! A packet filter that only remembers: for dry runs and for tests.
//!
//! It answers as a host would whose kernel did all that it was told: what a hole lets through, what
//! the base rules hide, what becomes of a session. Only time it does not have of its own; a dry run
//! never closes anything, and a test lets time pass.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::{Capabilities, Connection, Hole, HoleTimeout, Rule};
use parking_lot::Mutex;
use spa::Service;

use super::{Backend, BaseRules, Drift, FirewallError, Holes};

/// For people.
pub(super) const NAME: &str = "memory";

/// Remembers what it was told. Clones share their memory, so that a test can look at what it has
/// given away.
#[derive(Clone, Debug, Default)]
pub struct MemoryFirewall {
    host: Arc<Mutex<Host>>,
    /// What this clone laid last.
    protect: Vec<Service>,
}

/// What a host's kernel would have in it.
#[derive(Debug, Default)]
struct Host {
    /// The ports that are hidden, while the base rules are there.
    hidden: Option<Vec<Service>>,
    open: BTreeMap<Rule, HoleTimeout>,
    revoked: BTreeSet<Rule>,
    cut: BTreeSet<Connection>,
}

// === impl MemoryFirewall ===

impl MemoryFirewall {
    /// Both halves, with this memory behind them.
    pub fn backend(&self) -> Backend {
        Backend {
            name: NAME,
            marks_connections: false,
            why: "nothing is to be touched".to_owned(),
            base_rules: Box::new(self.clone()),
            holes: Box::new(self.clone()),
        }
    }

    /// The rules that were taken back and not opened since.
    pub fn revoked(&self) -> Vec<Rule> {
        self.host.lock().revoked.iter().copied().collect()
    }

    /// The connections that were ended.
    pub fn cut(&self) -> Vec<Connection> {
        self.host.lock().cut.iter().copied().collect()
    }

    /// What is open.
    pub fn holes(&self) -> Vec<Hole> {
        let host = self.host.lock();
        let hole = |(rule, timeout): (&Rule, &HoleTimeout)| Hole {
            rule: *rule,
            timeout: *timeout,
        };
        host.open.iter().map(hole).collect()
    }

    /// Whether a new connection from this address would reach a service on this port.
    pub fn lets_in(&self, address: IpAddr, port: impl Into<Service>) -> bool {
        let port = port.into();
        let host = self.host.lock();
        let Some(hidden) = &host.hidden else {
            return true;
        };
        let covers = |rule: &Rule| {
            rule.from().contains(&address) && rule.asked().is_none_or(|asked| asked.covers(port))
        };
        !hidden.iter().any(|hidden| hidden.overlaps(port)) || host.open.keys().any(covers)
    }

    /// Whether a session that was established from this address to this port would go on.
    pub fn lets_talk(&self, address: IpAddr, port: impl Into<Service>) -> bool {
        let host = self.host.lock();
        host.hidden.is_none() || !host.revoked.contains(&Rule::accept(address, port))
    }

    /// Lets time pass: every hole has so much less of it left, and those without any are closed.
    pub fn let_pass(&self, secs: u32) {
        self.host.lock().open.retain(|_, timeout| {
            let left = timeout
                .duration()
                .saturating_sub(Duration::from_secs(secs.into()));
            *timeout = HoleTimeout::lasting(left);
            !left.is_zero()
        });
    }

    /// Does what another program does that empties the whole packet filter.
    pub fn forget(&self) {
        *self.host.lock() = Host::default();
    }
}

impl BaseRules for MemoryFirewall {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        self.protect = protect.to_vec();
        self.repair()
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        Ok(())
    }

    fn protected(&self) -> &[Service] {
        &self.protect
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        let host = self.host.lock();
        let as_laid = host.hidden.as_ref() == Some(&self.protect);
        Ok((!as_laid).then(|| Drift(vec!["the base rules are gone".to_owned()])))
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.host.lock().hidden = Some(self.protect.clone());
        Ok(())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.forget();
        Ok(())
    }
}

impl Holes for MemoryFirewall {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        let mut host = self.host.lock();
        for hole in holes {
            host.open.insert(hole.rule, hole.timeout);
            host.revoked.remove(&hole.rule);
        }
        Ok(())
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        let mut host = self.host.lock();
        host.cut.extend(connections);
        for rule in rules {
            host.open.remove(rule);
            host.revoked.insert(*rule);
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        Ok(self.holes())
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.host.lock().open.clear();
        Ok(())
    }
}

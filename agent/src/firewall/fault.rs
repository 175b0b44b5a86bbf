//! A packet filter that fails on purpose, to see what holds when it does.

use engine::{Capabilities, Connection, Hole, Rule};
use spa::Service;

use super::{BaseRules, Drift, FirewallError, Holes};

/// Fails the `n`-th call (from 0) that may fail, and passes all others on.
#[derive(Debug)]
pub struct Faulty<F> {
    inner: F,
    calls_until_fault: Option<u32>,
}

// === impl Faulty ===

impl<F> Faulty<F> {
    /// Wraps one half of a back end.
    pub fn new(inner: F, n: u32) -> Self {
        Self {
            inner,
            calls_until_fault: Some(n),
        }
    }

    fn count(&mut self) -> Result<(), FirewallError> {
        match self.calls_until_fault {
            Some(0) => {
                self.calls_until_fault = None;
                Err(FirewallError::Fault)
            }
            Some(n) => {
                self.calls_until_fault = Some(n - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl<F: BaseRules> BaseRules for Faulty<F> {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.lay(protect)
    }

    fn protect(&mut self, ports: &[Service]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.protect(ports)
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.prepare()
    }

    fn protected(&self) -> &[Service] {
        self.inner.protected()
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        self.count()?;
        self.inner.check()
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.repair()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.remove()
    }
}

impl<F: Holes> Holes for Faulty<F> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.open(holes)
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.close(rules, connections)
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        self.count()?;
        self.inner.list()
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.flush()
    }
}

//! A firewall that fails on purpose, to see what holds when it does.

use engine::{Hole, Rule};

use super::{Firewall, FirewallError};

/// Fails the `n`-th call (from 0) and passes all others on.
#[derive(Debug)]
pub struct Faulty<F> {
    inner: F,
    calls_until_fault: Option<u32>,
}

// === impl Faulty ===

impl<F: Firewall> Faulty<F> {
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

impl<F: Firewall> Firewall for Faulty<F> {
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.open(holes)
    }

    fn close(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        self.count()?;
        self.inner.close(rules)
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

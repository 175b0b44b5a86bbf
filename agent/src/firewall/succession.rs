//! A change from one back end, or one chain, to another: the new one hides first, then what the other left is
//! taken away, so that no port is open in between and nothing stays.

use std::os::fd::BorrowedFd;

use spa::Service;

use super::{BaseRules, Drift, FirewallError};

/// Base rules that take the place of another back end's.
#[derive(Debug)]
pub(super) struct Succession {
    rules: Box<dyn BaseRules>,
    /// What the other left, until it is taken away.
    former: Option<Box<dyn BaseRules>>,
}

// === impl Succession ===

impl Succession {
    /// `rules`, and what another back end left, if it left anything.
    pub(super) fn of(
        rules: Box<dyn BaseRules>,
        former: Option<Box<dyn BaseRules>>,
    ) -> Box<dyn BaseRules> {
        match former {
            None => rules,
            former => Box::new(Self { rules, former }),
        }
    }

    /// To be called when what is to be hidden is hidden.
    fn finish(&mut self) {
        let Some(former) = &mut self.former else {
            return;
        };
        match former.remove() {
            Ok(()) => {
                tracing::info!(
                    "what another back end, or by another name, had been laid is taken away"
                );
                self.former = None;
            }
            Err(cause) => tracing::warn!(
                error = %program::one_line(&cause),
                "what another back end had laid cannot be taken away; it is tried again"
            ),
        }
    }
}

impl BaseRules for Succession {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        self.rules.lay(protect)?;
        self.finish();
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        self.rules.prepare()
    }

    fn protect(&mut self, ports: &[Service]) -> Result<(), FirewallError> {
        self.rules.protect(ports)?;
        self.finish();
        Ok(())
    }

    fn protected(&self) -> &[Service] {
        self.rules.protected()
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        self.rules.check()
    }

    fn glance(&mut self) -> Result<Option<Drift>, FirewallError> {
        self.rules.glance()
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        self.rules.notices()
    }

    fn noticed(&mut self) -> bool {
        self.rules.noticed()
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.rules.repair()?;
        self.finish();
        Ok(())
    }

    fn leave(&mut self) -> Result<(), FirewallError> {
        self.rules.leave()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.rules.remove()?;
        match self.former.take() {
            Some(mut former) => former.remove(),
            None => Ok(()),
        }
    }
}

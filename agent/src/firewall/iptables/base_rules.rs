//! Sets, chain and jump: made at the start, checked every few seconds, repaired when they differ,
//! taken away at the end.

use spa::ProtoPort;

use super::super::family::Family;
use super::super::lock::ChainLock;
use super::super::{BaseRules, Drift, FirewallError};
use super::chain;
use super::sets::Sets;

/// Lays and repairs the chain, the jump and the sets.
#[derive(Debug)]
pub(super) struct IptablesRules {
    chain: String,
    protect: Vec<ProtoPort>,
    sets: Sets,
    families: Vec<Laid>,
    #[expect(
        dead_code,
        reason = "held, not used: the chain is ours until this goes"
    )]
    lock: ChainLock,
}

/// One address family, and how its chain read right after we made it. Listings differ between
/// versions of iptables, so the expected text is what this one printed.
#[derive(Debug)]
struct Laid {
    family: Family,
    listing: Option<String>,
}

/// How often a script is tried that another program's change has made obsolete in between.
const ATTEMPTS: u32 = 3;

// === impl IptablesRules ===

impl IptablesRules {
    pub(super) fn new(chain: String, families: &[Family], sets: Sets, lock: ChainLock) -> Self {
        let laid = |family: &Family| Laid {
            family: *family,
            listing: None,
        };
        Self {
            chain,
            protect: Vec::new(),
            sets,
            families: families.iter().map(laid).collect(),
            lock,
        }
    }
}

impl BaseRules for IptablesRules {
    fn lay(&mut self, protect: &[ProtoPort]) -> Result<(), FirewallError> {
        self.protect = protect.to_vec();
        self.repair()
    }

    fn protect(&mut self, ports: &[ProtoPort]) -> Result<(), FirewallError> {
        if self.protect == ports {
            return Ok(());
        }
        self.lay(ports)
    }

    fn protected(&self) -> &[ProtoPort] {
        &self.protect
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        let mut findings = Vec::new();
        if !self.sets.complete()? {
            findings.push("a kernel set is missing".to_owned());
        }
        let name = &self.chain;
        for Laid { family, listing } in &self.families {
            match chain::jumps(&chain::list_base(*family)?, name).as_slice() {
                [1] => {}
                [] => findings.push(format!("{family}: INPUT does not lead to {name}")),
                [at] => findings.push(format!("{family}: {name} is only rule {at} of INPUT")),
                several => findings.push(format!(
                    "{family}: INPUT leads to {name} {} times",
                    several.len()
                )),
            }
            let now = chain::list(*family, name)?;
            if now.is_none() {
                findings.push(format!("{family}: chain {name} is gone"));
            } else if now != *listing {
                findings.push(format!("{family}: the rules of {name} were changed"));
            }
        }
        Ok((!findings.is_empty()).then_some(Drift(findings)))
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.sets.create()?;
        let Self {
            chain: name,
            protect,
            sets,
            families,
            lock: _,
        } = self;
        for laid in families {
            let family = laid.family;
            attempt(|| {
                let jumps = chain::jumps(&chain::list_base(family)?, name);
                let script = chain::render_install(family, name, sets.names(), protect, &jumps);
                chain::restore(family, &script)
            })?;
            laid.listing = chain::list(family, name)?;
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let name = &self.chain;
        for Laid { family, .. } in &self.families {
            attempt(|| {
                let jumps = chain::jumps(&chain::list_base(*family)?, name);
                if jumps.is_empty() && chain::list(*family, name)?.is_none() {
                    return Ok(());
                }
                chain::restore(*family, &chain::render_remove(name, &jumps))
            })?;
        }
        self.sets.destroy()
    }
}

/// Tries again when another program changed the table between our look and our script.
fn attempt(mut change: impl FnMut() -> Result<(), FirewallError>) -> Result<(), FirewallError> {
    let mut result = change();
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        result = change();
    }
    result
}

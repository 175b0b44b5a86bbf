//! Sets, chain and jump: made at the start, checked every few seconds, repaired when they differ,
//! taken away at the end.

use spa::ProtoPort;

use super::super::family::Family;
use super::super::lock::ChainLock;
use super::super::{BaseRules, Drift, FirewallError};
use super::chain::{self, Hook, Jumps};
use super::sets::Sets;
use crate::connections;

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

/// One address family, and how its chains read right after we made them. Listings differ between
/// versions of iptables, so the expected text is what this one printed.
#[derive(Debug)]
struct Laid {
    family: Family,
    input: Option<String>,
    output: Option<String>,
}

/// How often a script is tried that another program's change has made obsolete in between.
const ATTEMPTS: u32 = 3;

// === impl IptablesRules ===

impl IptablesRules {
    pub(super) fn new(chain: String, families: &[Family], sets: Sets, lock: ChainLock) -> Self {
        let laid = |family: &Family| Laid {
            family: *family,
            input: None,
            output: None,
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
        for laid in &self.families {
            let jumps = Jumps::find(laid.family, &self.chain)?;
            for hook in Hook::ALL {
                laid.compare(hook, &hook.chain(&self.chain), &jumps, &mut findings)?;
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
            // Sessions that connection tracking has not seen would end with what is hidden now. Of
            // ports that are hidden already there are none, but for those that were cut.
            let listed = chain::list(family, name)?.unwrap_or_default();
            let newly = protect.iter().copied();
            let newly: Vec<_> = newly.filter(|port| !chain::hides(&listed, *port)).collect();
            adopt(&newly);
            attempt(|| {
                let jumps = Jumps::find(family, name)?;
                let script = chain::render_install(family, name, sets.names(), protect, &jumps);
                chain::restore(family, &script)
            })?;
            // What has begun since is still one of them: nothing begins from now on.
            adopt(&newly);
            laid.input = chain::list(family, &Hook::Input.chain(name))?;
            laid.output = chain::list(family, &Hook::Output.chain(name))?;
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let name = &self.chain;
        for Laid { family, .. } in &self.families {
            attempt(|| {
                let jumps = Jumps::find(*family, name)?;
                let mut any = !jumps.is_empty();
                for hook in Hook::ALL {
                    any |= chain::list(*family, &hook.chain(name))?.is_some();
                }
                if any {
                    chain::restore(*family, &chain::render_remove(name, &jumps))?;
                }
                Ok(())
            })?;
        }
        self.sets.destroy()
    }
}

// === impl Laid ===

impl Laid {
    /// Adds to `findings` how a chain and the way to it differ from what was laid.
    fn compare(
        &self,
        hook: Hook,
        name: &str,
        jumps: &Jumps,
        findings: &mut Vec<String>,
    ) -> Result<(), FirewallError> {
        let (family, base) = (self.family, hook.base());
        match jumps.of(hook) {
            [1] => {}
            [] => findings.push(format!("{family}: {base} does not lead to {name}")),
            [at] => findings.push(format!("{family}: {name} is only rule {at} of {base}")),
            several => findings.push(format!(
                "{family}: {base} leads to {name} {} times",
                several.len()
            )),
        }
        let laid = match hook {
            Hook::Input => &self.input,
            Hook::Output => &self.output,
        };
        let now = chain::list(family, name)?;
        if now.is_none() {
            findings.push(format!("{family}: chain {name} is gone"));
        } else if now != *laid {
            findings.push(format!("{family}: the rules of {name} were changed"));
        }
        Ok(())
    }
}

/// Enters the sessions to these ports that are older than connection tracking. That it cannot be
/// done is no reason to leave the ports open.
fn adopt(ports: &[ProtoPort]) {
    match connections::adopt(ports) {
        Ok(0) => {}
        Ok(sessions) => tracing::info!(sessions, "sessions that exist live on"),
        Err(cause) => tracing::warn!(
            error = %program::one_line(&cause),
            "sessions that exist may end: connection tracking does not take them"
        ),
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

//! Sets, chain and jump: made at the start, checked every few seconds, repaired when they differ,
//! taken away at the end.

use std::os::fd::BorrowedFd;

use spa::Service;

use super::super::family::Family;
use super::super::lock::ChainLock;
use super::super::{BaseRules, Drift, FirewallError};
use super::chain::{self, Hook, Jumps};
use super::notices::{ChainDigest, NftWatch};
use super::sets::{SetNames, Sets};
use crate::connections;

/// Lays and repairs the chain, the jump and the sets.
#[derive(Debug)]
pub(super) struct IptablesRules {
    chain: String,
    protect: Vec<Service>,
    sets: Sets,
    families: Vec<Laid>,
    /// Hears of changes, where they are told.
    watch: Option<NftWatch>,
    /// Whether what was laid could be seen where changes are told of: not with the old iptables.
    hears: bool,
    /// Whether what differs was seen by a glance, which looks for the first jump only.
    glanced: bool,
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
    /// The chain for what comes in, as the kernel says it, where it can be seen there.
    digest: Option<ChainDigest>,
    /// The ports that it hid when it was last laid by this process.
    hidden: Option<Vec<Service>>,
    /// Whether it was found to read differently.
    differs: bool,
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
            digest: None,
            hidden: None,
            differs: false,
        };
        Self {
            chain,
            protect: Vec::new(),
            sets,
            families: families.iter().map(laid).collect(),
            watch: NftWatch::open(),
            hears: false,
            glanced: false,
            lock,
        }
    }
}

impl BaseRules for IptablesRules {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        self.protect = protect.to_vec();
        self.glanced = false;
        self.families
            .iter_mut()
            .for_each(|laid| laid.differs = true);
        self.repair()
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        self.sets.create()
    }

    fn protect(&mut self, ports: &[Service]) -> Result<(), FirewallError> {
        if self.protect == ports {
            return Ok(());
        }
        self.lay(ports)
    }

    fn protected(&self) -> &[Service] {
        &self.protect
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        self.glanced = false;
        let mut findings = Vec::new();
        if !self.sets.complete()? {
            findings.push("a kernel set is missing".to_owned());
        }
        for laid in &mut self.families {
            let before = findings.len();
            let jumps = Jumps::find(laid.family, &self.chain)?;
            for hook in Hook::ALL {
                laid.compare(hook, &hook.chain(&self.chain), &jumps, &mut findings)?;
            }
            laid.differs = findings.len() > before;
        }
        Ok((!findings.is_empty()).then_some(Drift(findings)))
    }

    fn glance(&mut self) -> Result<Option<Drift>, FirewallError> {
        let (true, Some(watch)) = (self.hears, &mut self.watch) else {
            return self.check();
        };
        self.glanced = true;
        let mut findings = Vec::new();
        for laid in &mut self.families {
            let before = findings.len();
            laid.glance(&self.chain, watch, &mut findings)?;
            laid.differs = findings.len() > before;
        }
        Ok((!findings.is_empty()).then_some(Drift(findings)))
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        let watch = self.watch.as_ref().filter(|_| self.hears);
        watch.map(NftWatch::fd)
    }

    fn noticed(&mut self) -> bool {
        let own = Hook::ALL.map(|hook| hook.chain(&self.chain));
        let own = own.iter().map(|chain| &**chain);
        let chains: Vec<&str> = own.chain(Hook::ALL.map(Hook::base)).collect();
        let watch = self.watch.as_mut();
        watch.is_some_and(|watch| watch.noticed(&chains))
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.sets.create()?;
        // Where it is known which family differs, that one alone is laid: it is open meanwhile.
        let knows = self.families.iter().any(|laid| laid.differs);
        let Self {
            chain,
            protect,
            sets,
            families,
            watch,
            hears,
            glanced,
            lock: _,
        } = self;
        for laid in families.iter_mut().filter(|laid| !knows || laid.differs) {
            let mut seen = watch.as_mut().filter(|_| *hears && *glanced);
            attempt(|| laid.lay(chain, protect, sets.names(), seen.as_deref_mut()))?;
        }
        // Noted when all of it is closed.
        for laid in families.iter_mut().filter(|laid| !knows || laid.differs) {
            laid.note(chain, sets.names(), protect, watch.as_mut())?;
            *hears |= laid.digest.is_some();
            laid.differs = false;
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
    /// Lays the chains of this family.
    fn lay(
        &mut self,
        name: &str,
        protect: &[Service],
        sets: &SetNames,
        watch: Option<&mut NftWatch>,
    ) -> Result<(), FirewallError> {
        let family = self.family;
        // Sessions that connection tracking has not seen would end with what is hidden now. Of ports
        // that are hidden already there are none, but for those that were cut: so what was hidden
        // before others threw it away is not asked again.
        let listed = match &self.hidden {
            Some(_) => String::new(),
            None => chain::list(family, name)?.unwrap_or_default(),
        };
        let was_hidden = |port: &Service| match &self.hidden {
            Some(hidden) => hidden.contains(port),
            None => chain::hides(&listed, *port),
        };
        let newly = protect.iter().copied();
        let newly: Vec<_> = newly.filter(|port| !was_hidden(port)).collect();
        adopt(&newly);
        let jumps = match watch {
            Some(watch) => find_jumps(family, name, watch)?,
            None => Jumps::find(family, name)?,
        };
        chain::restore(
            family,
            &chain::render_install(family, name, sets, protect, &jumps),
        )?;
        self.hidden = Some(protect.to_vec());
        // What has begun since is still one of them: nothing begins from now on.
        adopt(&newly);
        Ok(())
    }

    /// Notes how the chains read now that they were laid.
    ///
    /// # Errors
    ///
    /// When somebody has changed them again already: that must not be taken for ours.
    fn note(
        &mut self,
        name: &str,
        sets: &SetNames,
        protect: &[Service],
        watch: Option<&mut NftWatch>,
    ) -> Result<(), FirewallError> {
        let family = self.family;
        let script = chain::render_install(family, name, sets, protect, &Jumps::default());
        let rules = chain::count_rules(&script, name);
        self.digest = match watch {
            Some(watch) => watch.digest(family, name, rules)?,
            None => None,
        };
        self.input = chain::list(family, &Hook::Input.chain(name))?;
        self.output = chain::list(family, &Hook::Output.chain(name))?;
        let read = self.input.as_deref().unwrap_or_default();
        if chain::count_rules(read, name) == rules {
            Ok(())
        } else {
            self.input = None;
            Err(chain::changed_meanwhile(family, name))
        }
    }

    /// Adds to `findings` what can be seen in microseconds: that nothing leads to a chain, or that
    /// the one for what comes in reads differently.
    fn glance(
        &self,
        name: &str,
        watch: &mut NftWatch,
        findings: &mut Vec<String>,
    ) -> Result<(), FirewallError> {
        let family = self.family;
        for hook in Hook::ALL {
            let (base, chain) = (hook.base(), hook.chain(name));
            if watch.way(family, base, &chain)?.is_none() {
                findings.push(format!("{family}: {base} does not lead to {chain}"));
            }
        }
        let rules = self.digest.map_or(0, ChainDigest::rules);
        if self.digest.is_none() || watch.digest(family, name, rules)? != self.digest {
            findings.push(format!("{family}: the rules of {name} were changed"));
        }
        Ok(())
    }

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

/// The short way to know where the base chains lead to ours: nowhere, or at the top.
fn find_jumps(family: Family, name: &str, watch: &mut NftWatch) -> Result<Jumps, FirewallError> {
    let mut way = |hook: Hook| watch.way(family, hook.base(), &hook.chain(name));
    match (way(Hook::Input)?, way(Hook::Output)?) {
        (input @ (None | Some(1)), output @ (None | Some(1))) => Ok(Jumps::at(input, output)),
        _ => Jumps::find(family, name),
    }
}

/// Enters the sessions to these ports that are older than connection tracking. That it cannot be
/// done is no reason to leave the ports open.
fn adopt(ports: &[Service]) {
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

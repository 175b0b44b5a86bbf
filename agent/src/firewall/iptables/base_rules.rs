//! Sets, chain and jump: made at the start, checked every few seconds, repaired when they differ,
//! taken away at the end.

use std::os::fd::BorrowedFd;

use spa::Service;

use super::super::adoption::adopt;
use super::super::family::Family;
use super::super::lock::ChainLock;
use super::super::stamina::{Stamina, Strength};
use super::super::xtables::RuleText;
use super::super::{BaseRules, Drift, FirewallError};
use super::chain::{self, Base, Guard, Ways};
use super::former;
use super::notices::{ChainDigest, NftWatch};
use super::sets::Sets;
use crate::clock;

/// Lays and repairs the chain, the jump and the sets.
#[derive(Debug)]
pub(super) struct IptablesRules {
    chain: String,
    mark: Mark,
    protect: Vec<Service>,
    sets: Sets,
    families: Vec<Laid>,
    /// Hears of changes, where they are told.
    watch: Option<NftWatch>,
    /// Whether what was laid could be seen where changes are told of: not with the old iptables.
    hears: bool,
    /// Whether what differs was seen by a glance, which looks for the first jump only.
    glanced: bool,
    /// Whether the layout of earlier versions may still be there.
    former: bool,
    #[expect(
        dead_code,
        reason = "held, not used: the chain is ours until this goes"
    )]
    lock: Option<ChainLock>,
}

/// Our bit of the mark, and which packets have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) bit: u32,
    /// Whether answers have it on their way out, too.
    pub(super) on_answers: bool,
}

/// One address family, and how its chains read right after we made them. Listings differ between
/// versions of iptables, so the expected text is what this one printed.
#[derive(Debug)]
struct Laid {
    family: Family,
    /// In the order of [`Base::ALL`].
    read: [Option<Vec<RuleText>>; 4],
    /// The chain for what comes in, as the kernel says it, where it can be seen there.
    digest: Option<ChainDigest>,
    /// The ports that it hid when it was last laid by this process.
    hidden: Option<Vec<Service>>,
    /// Whether it was found to read differently.
    differs: bool,
    /// How often ours is still put above a rule that keeps something from it.
    order: Stamina,
    /// Whether such a rule is left where it is: its program insists.
    yields: bool,
}

/// How often a script is tried that another program's change has made obsolete in between.
const ATTEMPTS: u32 = 3;

// === impl IptablesRules ===

impl IptablesRules {
    pub(super) fn new(
        chain: String,
        mark: Mark,
        families: &[Family],
        sets: Sets,
        lock: Option<ChainLock>,
    ) -> Self {
        let laid = |family: &Family| Laid {
            family: *family,
            read: Default::default(),
            digest: None,
            hidden: None,
            differs: false,
            order: Stamina::new(clock::now().steady),
            yields: false,
        };
        Self {
            chain,
            mark,
            protect: Vec::new(),
            sets,
            families: families.iter().map(laid).collect(),
            watch: NftWatch::open(),
            hears: false,
            glanced: false,
            former: true,
            lock,
        }
    }

    /// Takes away what an earlier version laid, when what hides the same is there.
    fn remove_former(&mut self) {
        let families = self.families.iter().map(|laid| laid.family);
        match former::remove(families, &self.chain, &mut self.sets) {
            Ok(()) => self.former = false,
            Err(cause) => tracing::warn!(
                error = %program::one_line(&cause),
                "rules of an earlier version cannot be taken away; it is tried again"
            ),
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
        self.repair()?;
        if self.former {
            self.remove_former();
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        self.sets.create()
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
            laid.compare(&self.chain, &mut findings)?;
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
        let watch = self.watch.as_mut();
        watch.is_some_and(NftWatch::noticed)
    }

    fn yielded(&self) -> Option<String> {
        let families = self.families.iter().filter(|laid| laid.yields);
        let families: Vec<_> = families.map(|laid| laid.family.to_string()).collect();
        (!families.is_empty()).then(|| {
            format!(
                "another program insists on being first in {}: what its rules accept gets to the \
                 protected ports, which are open to it ({})",
                chain::TABLE,
                families.join(", ")
            )
        })
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        self.sets.create()?;
        // Where it is known which family differs, that one alone is laid: it is open meanwhile.
        let knows = self.families.iter().any(|laid| laid.differs);
        let Self {
            chain,
            mark,
            protect,
            sets,
            families,
            watch,
            hears,
            glanced,
            former: _,
            lock: _,
        } = self;
        let guard = Guard {
            chain,
            sets: sets.names(),
            mark: mark.bit,
            marks_answers: mark.on_answers,
            protect,
        };
        for laid in families.iter_mut().filter(|laid| !knows || laid.differs) {
            let mut seen = watch.as_mut().filter(|_| *hears && *glanced);
            attempt(|| laid.lay(&guard, seen.as_deref_mut()))?;
        }
        // Noted when all of it is closed.
        for laid in families.iter_mut().filter(|laid| !knows || laid.differs) {
            laid.note(&guard, watch.as_mut())?;
            *hears |= laid.digest.is_some();
            laid.differs = false;
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let name = &self.chain;
        for Laid { family, .. } in &self.families {
            attempt(|| {
                let table = chain::list(*family)?;
                let chains = Base::ALL.map(|base| (base.name(), base.chain(name)));
                chain::remove(*family, chain::TABLE, &table, &chains)
            })?;
        }
        former::remove(
            self.families.iter().map(|laid| laid.family),
            name,
            &mut self.sets,
        )?;
        self.sets.destroy()
    }
}

// === impl Laid ===

impl Laid {
    /// Lays the chains of this family.
    fn lay(
        &mut self,
        guard: &Guard<'_>,
        watch: Option<&mut NftWatch>,
    ) -> Result<(), FirewallError> {
        let family = self.family;
        let seen = match watch {
            Some(watch) => find_ways(family, guard.chain, watch)?,
            None => None,
        };
        let (mut ways, newly) = match (seen, &self.hidden) {
            (Some(ways), Some(hidden)) => {
                (ways, newly(guard.protect, |port| hidden.contains(port)))
            }
            (_, hidden) => {
                let table = chain::list(family)?;
                // Sessions that connection tracking has not seen would end with what is hidden now.
                // Of ports that are hidden already there are none, but for those that were cut: so
                // what was hidden before others threw it away is not asked again.
                let mut hiding = table.rules(guard.chain).unwrap_or_default().to_vec();
                if hidden.is_none() {
                    hiding.extend(former::hiding(family, guard.chain));
                }
                let was_hidden = |port: &Service| match hidden {
                    Some(hidden) => hidden.contains(port),
                    None => chain::hides(&hiding, *port),
                };
                (
                    Ways::find(&table, guard.chain),
                    newly(guard.protect, was_hidden),
                )
            }
        };
        if ways.is_kept() {
            self.insist(&mut ways);
        }
        adopt(&newly);
        chain::restore(family, &chain::render_install(family, guard, &ways))?;
        self.hidden = Some(guard.protect.to_vec());
        // What has begun since is still one of them: nothing begins from now on.
        adopt(&newly);
        Ok(())
    }

    /// Puts our chain first once more, or yields to somebody who always does the same.
    fn insist(&mut self, ways: &mut Ways) {
        match self.order.spend(clock::now().steady) {
            Strength::Left => return,
            // Whoever keeps the rules says so.
            Strength::Spent { .. } => {}
        }
        self.yields = true;
        ways.yield_order();
    }

    /// Notes how the chains read now that they were laid.
    ///
    /// # Errors
    ///
    /// When somebody has changed them again already: that must not be taken for ours.
    fn note(
        &mut self,
        guard: &Guard<'_>,
        watch: Option<&mut NftWatch>,
    ) -> Result<(), FirewallError> {
        let (family, name) = (self.family, guard.chain);
        let script = chain::render_install(family, guard, &Ways::default());
        let rules = chain::count_rules(&script, name);
        self.digest = match watch {
            Some(watch) => watch.digest(family, name, rules)?,
            None => None,
        };
        let table = chain::list(family)?;
        let read = Base::ALL.map(|base| {
            let own = base.chain(name);
            let read = table.rules(&own)?;
            (read.len() == chain::count_rules(&script, &own)).then(|| read.to_vec())
        });
        let is_all = read.iter().all(Option::is_some);
        self.read = read;
        if is_all {
            Ok(())
        } else {
            Err(chain::changed_meanwhile(family, name))
        }
    }

    /// Adds to `findings` what can be seen in microseconds: that nothing leads to a chain, or that
    /// the one for what comes in reads differently.
    fn glance(
        &mut self,
        name: &str,
        watch: &mut NftWatch,
        findings: &mut Vec<String>,
    ) -> Result<(), FirewallError> {
        let family = self.family;
        let mut is_below = false;
        for base in Base::ALL {
            let (base, chain) = (base.name(), base.chain(name));
            match watch.way(family, base, &chain)? {
                Some(at) => is_below |= at > 1,
                None => findings.push(format!("{family}: {base} does not lead to {chain}")),
            }
        }
        // Whoever stood above ours stands there no more.
        self.yields &= is_below || !findings.is_empty();
        // What stands above must be read to know whether it keeps anything from ours.
        if is_below && findings.is_empty() && !self.yields {
            return self.compare(name, findings);
        }
        let rules = self.digest.map_or(0, ChainDigest::rules);
        if self.digest.is_none() || watch.digest(family, name, rules)? != self.digest {
            findings.push(format!("{family}: the rules of {name} were changed"));
        }
        Ok(())
    }

    /// Adds to `findings` how the chains and the ways to them differ from what was laid.
    fn compare(&mut self, name: &str, findings: &mut Vec<String>) -> Result<(), FirewallError> {
        let family = self.family;
        let table = chain::list(family)?;
        let ways = Ways::find(&table, name);
        self.yields &= ways.is_kept();
        for ((base, way), laid) in ways.iter().zip(&self.read) {
            let (base_name, own) = (base.name(), base.chain(name));
            match (way.jumps, &way.kept_from) {
                (1, None) => {}
                (1, Some(_)) if self.yields => {}
                (0, _) => findings.push(format!("{family}: {base_name} does not lead to {own}")),
                (1, Some(rule)) => findings.push(format!(
                    "{family}: {own} is only reached past `{rule}` of {base_name}"
                )),
                (several, _) => findings.push(format!(
                    "{family}: {base_name} leads to {own} {several} times"
                )),
            }
            let now = table.rules(&own);
            if now.is_none() {
                findings.push(format!("{family}: chain {own} is gone"));
            } else if now != laid.as_deref() {
                findings.push(format!("{family}: the rules of {own} were changed"));
            }
        }
        Ok(())
    }
}

fn newly(protect: &[Service], was_hidden: impl Fn(&Service) -> bool) -> Vec<Service> {
    let ports = protect.iter().filter(|port| !was_hidden(port));
    ports.copied().collect()
}

/// The short way to know how the base chains lead to ours: nowhere, or at the top.
fn find_ways(
    family: Family,
    name: &str,
    watch: &mut NftWatch,
) -> Result<Option<Ways>, FirewallError> {
    let mut jumps = [0; 4];
    for (base, jumps) in Base::ALL.into_iter().zip(&mut jumps) {
        *jumps = match watch.way(family, base.name(), &base.chain(name))? {
            None => 0,
            Some(1) => 1,
            Some(_) => return Ok(None),
        };
    }
    Ok(Some(Ways::free(jumps)))
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

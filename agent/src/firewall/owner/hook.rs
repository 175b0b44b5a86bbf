//! Our line in a chain of the owner's in nf_tables: where it belongs, and putting it there.
//!
//! It accepts what carries our mark and nothing else. It belongs before the first rule that drops
//! whoever sends (the chain's last word), so that what the owner blocks by address, above that, stays
//! blocked; where there is none, at the end, before the policy. A line that stands is never moved up:
//! what has come to stand above it since is an order of the owner's.

use super::super::FirewallError;
use super::super::changes::Change;
use super::super::family::Family;
use super::super::hook_place::{Correction, HookPlace};
use super::super::nftables::line::{self, Line};
use super::bytes::{Meaning, bits};
use super::matches::Asks;
use super::packet::META_MARK;
use super::packet::{AskedPort, Kind, OwnMark, Packet};
use super::read::{Ours, Reader};
use super::ruleset::{Chain, Comparison, Load, Rule, Ruleset, Step, Table, TableFamily, Verdict};
use super::sources::Sources;
use super::walk::{Shared, Walk};
use crate::config::{FirewallConfig, Hooks};

/// Rules and elements that are looked at to find the place, at most.
const BUDGET: usize = 200_000;
/// Jumps inside jumps. The kernel knows 16.
const DEPTH_MAX: usize = 20;

/// A chain of the owner's that is to have our line.
#[derive(Debug)]
struct NftHook {
    family: TableFamily,
    table: String,
    chain: String,
    bit: u32,
    ours: Ours,
    /// What the last look found to be changed.
    wrong: Option<(Option<u64>, Vec<u64>)>,
    is_laid: bool,
    /// Whether it was said that there is no such chain.
    is_missed: bool,
}

/// How the line stands.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Stands {
    /// As it should.
    Right,
    /// It is to be put before the rule with this handle (`None`: at the end), and these lines of ours
    /// are to go.
    Wrong {
        before: Option<u64>,
        obsolete: Vec<u64>,
    },
}

/// The chains of nf_tables that the configuration names, but those that iptables keeps.
pub(in crate::firewall) fn places(
    config: &FirewallConfig,
    is_of_iptables: fn(&str) -> bool,
) -> Vec<Box<dyn HookPlace>> {
    let entries = match &config.hooks {
        Hooks::Auto | Hooks::None => &[][..],
        Hooks::Chains(entries) => entries,
    };
    let entries = entries.iter().filter(|entry| !is_of_iptables(entry));
    let hooks = entries.filter_map(|entry| NftHook::of(entry, config));
    hooks
        .map(|hook| Box::new(hook) as Box<dyn HookPlace>)
        .collect()
}

/// Takes every line of ours out of every chain.
///
/// # Errors
///
/// When the kernel cannot be asked, or refuses.
pub(in crate::firewall) fn remove_all(config: &FirewallConfig) -> Result<(), FirewallError> {
    let mut reader = Reader::open()?;
    let ruleset = reader.ruleset(&super::ours(config))?;
    for table in &ruleset.tables {
        for (name, chain) in &table.chains {
            let lines: Vec<u64> = lines_of(chain).collect();
            let hook = NftHook::of(&super::words::place(table, name), config);
            if let Some(hook) = hook.filter(|_| !lines.is_empty()) {
                hook.change(&lines, None)?;
            }
        }
    }
    Ok(())
}

// === impl NftHook ===

impl NftHook {
    /// For an entry of the configuration, as `inet filter input`.
    fn of(entry: &str, config: &FirewallConfig) -> Option<Self> {
        let words: Vec<&str> = entry.split(' ').collect();
        let &[family, table, chain] = words.as_slice() else {
            return None;
        };
        let family = match family {
            "ip" => TableFamily::Ip,
            "ip6" => TableFamily::Ip6,
            "inet" => TableFamily::Inet,
            _ => return None,
        };
        Some(Self {
            family,
            table: table.to_owned(),
            chain: chain.to_owned(),
            bit: config.mark,
            ours: super::ours(config),
            wrong: None,
            is_laid: false,
            is_missed: false,
        })
    }

    /// The chain, as the configuration names it.
    fn entry(&self) -> String {
        format!("{} {} {}", self.family.word(), self.table, self.chain)
    }

    fn ruleset(&self) -> Result<Ruleset, FirewallError> {
        let mut reader = Reader::open()?;
        reader.table(&self.ours, self.family, &self.table)
    }

    fn change(&self, obsolete: &[u64], line: Option<Line>) -> Result<(), FirewallError> {
        let chain = line::Chain {
            family: self.family.number(),
            table: &self.table,
            name: &self.chain,
        };
        line::change(chain, obsolete, line).map_err(|cause| FirewallError::Set {
            doing: "put our line into".into(),
            set: self.entry(),
            reason: cause.to_string(),
        })
    }

    /// Says, once, that there is no such chain.
    fn note_missing(&mut self) {
        self.is_laid = false;
        if !std::mem::replace(&mut self.is_missed, true) {
            tracing::warn!(
                "`hooks` names the chain {}, and there is none: our line is put into it when it comes",
                self.entry()
            );
        }
    }
}

impl HookPlace for NftHook {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn concerns(&self, change: &Change<'_>) -> bool {
        change.family == self.family.number() && change.table == self.table
    }

    fn is_silent(&self) -> bool {
        false
    }

    fn look(&mut self) -> Result<Option<Correction>, FirewallError> {
        self.wrong = None;
        let ruleset = self.ruleset()?;
        let table = ruleset.tables.first();
        let found = table.and_then(|table| Some((table, table.chains.get(&self.chain)?)));
        let Some((table, chain)) = found else {
            self.note_missing();
            return Ok(None);
        };
        self.is_missed = false;
        let stands = stands(&ruleset, table, chain, self.bit);
        self.is_laid = stands == Stands::Right;
        let (before, obsolete) = match stands {
            Stands::Right => return Ok(None),
            Stands::Wrong { before, obsolete } => (before, obsolete),
        };
        if table.is_owned {
            return Err(FirewallError::Set {
                doing: "put our line into".into(),
                set: self.entry(),
                reason: "the table belongs to its program alone; for firewalld that ends with \
                         NftablesTableOwner=no in /etc/firewalld/firewalld.conf, and \
                         `postern-agent status` says another way"
                    .to_owned(),
            });
        }
        let script = format!("{} before {before:?} instead of {obsolete:?}", self.entry());
        self.wrong = Some((before, obsolete));
        Ok(Some(Correction {
            script,
            chains: vec![self.entry()],
        }))
    }

    fn correct(&mut self, _: &Correction) -> Result<(), FirewallError> {
        if let Some((before, obsolete)) = self.wrong.take() {
            let bit = self.bit;
            self.change(&obsolete, Some(Line { bit, before }))?;
            self.is_laid = true;
        }
        Ok(())
    }

    fn laid(&self) -> Vec<String> {
        let entry = self.is_laid.then(|| self.entry());
        entry.into_iter().collect()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        let ruleset = self.ruleset()?;
        let table = ruleset.tables.first();
        let chain = table.and_then(|table| table.chains.get(&self.chain));
        let lines: Vec<u64> = chain.into_iter().flat_map(lines_of).collect();
        if lines.is_empty() {
            return Ok(());
        }
        self.change(&lines, None)
    }
}

/// The handles of our lines.
fn lines_of(chain: &Chain) -> impl Iterator<Item = u64> {
    let lines = chain.rules.iter().filter(|rule| rule.is_ours);
    lines.map(|rule| rule.handle)
}

/// Where the line stands, and where it should. A line that the owner wrote is as good as ours.
fn stands(ruleset: &Ruleset, table: &Table, chain: &Chain, bit: u32) -> Stands {
    let rest = || chain.rules.iter().filter(|rule| !rule.is_ours);
    let right = |rule: &Rule| rule.is_ours && accepts_mark(rule, bit);
    let own_at = chain.rules.iter().rposition(right);
    let above = chain.rules.iter().take(own_at.unwrap_or_default());
    let passed = above.filter(|rule| !rule.is_ours).count();
    let last_word = |rule: &Rule| is_last_word(ruleset, table, rule, bit);
    let end = rest().skip(passed).position(last_word);
    let end = end.map(|at| passed + at);
    let before = end.and_then(|at| rest().nth(at)).map(|rule| rule.handle);
    let above = rest().take(end.unwrap_or(usize::MAX));
    let is_written = above.clone().any(|rule| accepts_mark(rule, bit));
    let obsolete: Vec<u64> = lines_of(chain).collect();
    let is_right = own_at.is_some_and(|at| {
        let next = chain.rules.get(at + 1).map(|rule| rule.handle);
        obsolete.len() == 1 && next == before
    });
    match (is_written, obsolete.is_empty(), is_right) {
        (true, true, _) | (false, _, true) => Stands::Right,
        _ => Stands::Wrong { before, obsolete },
    }
}

/// Whether a rule accepts (or returns) what carries the mark, and asks nothing else.
pub(super) fn accepts_mark(rule: &Rule, bit: u32) -> bool {
    let is_mark = |step: &Step| match step {
        Step::Load { what, .. } => *what == Load::Meta(META_MARK),
        Step::Mask { mask, .. } => *mask == bit.to_ne_bytes(),
        Step::Compare {
            comparison: Comparison::Equal,
            with,
            ..
        } => *with == bit.to_ne_bytes(),
        Step::Match(asked) => {
            !asked.is_inverted
                && asked.asks
                    == Asks::Mark {
                        value: bit,
                        mask: bit,
                    }
        }
        Step::Pass(_) | Step::Verdict(Verdict::Accept | Verdict::Return) => true,
        Step::Immediate { .. }
        | Step::Swap { .. }
        | Step::Forget { .. }
        | Step::Compare { .. }
        | Step::Range { .. }
        | Step::Lookup { .. }
        | Step::SetMark { .. }
        | Step::ChangeMark { .. }
        | Step::Aside(_)
        | Step::Lead { .. }
        | Step::LeadTo { .. }
        | Step::Verdict(_)
        | Step::Unknown(_)
        | Step::UnknownVerdict(_) => false,
    };
    let asks = |step: &Step| matches!(step, Step::Compare { .. } | Step::Match(_));
    let ends = |step: &Step| matches!(step, Step::Verdict(_));
    rule.steps.iter().all(is_mark) && rule.steps.iter().any(asks) && rule.steps.iter().any(ends)
}

/// Whether a rule drops some of what we let in, or leads to a chain that lets nothing return,
/// whoever sends it.
fn is_last_word(ruleset: &Ruleset, table: &Table, rule: &Rule, bit: u32) -> bool {
    let ends = |verdict: &Verdict| match verdict {
        Verdict::Drop | Verdict::Reject => true,
        Verdict::Jump(to) | Verdict::Goto(to) => lets_nothing_return(table, to, 0),
        Verdict::Accept | Verdict::Return | Verdict::Continue | Verdict::Queue => false,
    };
    let verdicts = |step: &Step| {
        if let Step::Verdict(verdict) = step {
            return ends(verdict);
        }
        let Step::Lookup {
            set,
            gives_verdict: true,
            ..
        } = step
        else {
            return false;
        };
        table.sets.get(set).is_some_and(|set| {
            let all = set.elements.iter().chain(&set.otherwise);
            all.filter_map(|element| element.verdict.as_ref()).any(ends)
        })
    };
    rule.steps.iter().any(verdicts) && concerns_everybody(ruleset, table, rule, bit)
}

/// Whether what a rule asks may hold whoever sends.
fn concerns_everybody(ruleset: &Ruleset, table: &Table, rule: &Rule, bit: u32) -> bool {
    let families = Family::ALL
        .into_iter()
        .filter(|family| table.family.has(*family));
    let mut kinds = families
        .flat_map(|family| [Kind::Tcp, Kind::Udp, Kind::Echo].map(move |kind| (family, kind)));
    kinds.any(|(family, kind)| {
        let packet = Packet {
            family,
            kind,
            is_led_on: false,
            is_answer: false,
            is_translated: Some(false),
            destination: None,
            port: None,
            asked: AskedPort::Unknown,
            out: None,
            mark: bits(bit, bit),
            own: OwnMark {
                bit,
                on_answers: false,
            },
            has_bit: true,
        };
        let meaning = Meaning {
            ports: 1..=u16::MAX,
            interfaces: Vec::new(),
            address_len: packet.address_len(),
        };
        let mut shared = Shared::new(ruleset, BUDGET);
        let mut walk = Walk::new(&mut shared, &meaning, packet, Sources::All);
        walk.reach(table, rule).is_all(family)
    })
}

/// Whether whatever enters a chain is accepted or dropped in it.
fn lets_nothing_return(table: &Table, chain: &str, depth: usize) -> bool {
    let Some(chain) = table.chains.get(chain).filter(|_| depth < DEPTH_MAX) else {
        return false;
    };
    for rule in &chain.rules {
        let is_plain = |step: &Step| matches!(step, Step::Pass(_) | Step::Immediate { .. });
        let Some((Step::Verdict(last), before)) = rule.steps.split_last() else {
            continue;
        };
        let is_always = before.iter().all(is_plain);
        let leads_out = match last {
            // Somebody may leave here.
            Verdict::Return => Some(false),
            Verdict::Drop | Verdict::Reject => is_always.then_some(true),
            Verdict::Accept => is_always.then_some(false),
            Verdict::Jump(to) | Verdict::Goto(to) if is_always => {
                let ends = lets_nothing_return(table, to, depth + 1);
                (ends || matches!(last, Verdict::Goto(_))).then_some(ends)
            }
            Verdict::Jump(_) | Verdict::Goto(_) | Verdict::Continue | Verdict::Queue => None,
        };
        if let Some(ends) = leads_out {
            return ends;
        }
    }
    false
}

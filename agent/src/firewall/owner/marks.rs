//! Who else uses marks as if all their bits were his: rules of routing that ask for the whole mark,
//! rules that keep it in connections, or give it back, with our bit, and rules that wipe it behind us.
//! Pure.

use std::collections::BTreeSet;

use super::packet::{CT_MARK, META_MARK};
use super::ruleset::{
    Aside, Asked, Base, Chain, Hook, Keeping, Load, Rule, Ruleset, Step, Table, Verdict,
};

/// Where iptables has its table `mangle`, in which our chains stand with that back end.
const MANGLE: i32 = -150;

/// What is said of marks, one sentence each. `in_connections` says whether our bit stands in the marks
/// of connections, as with iptables.
pub(super) fn warnings(ruleset: &Ruleset, bit: u32, in_connections: bool) -> Vec<String> {
    let rest = !bit;
    let asks = |asked: &&Asked| asked.mask & bit != 0 && asked.value & bit == 0;
    let of_routing = ruleset.marks_asked.iter().filter(asks);
    let mut said: BTreeSet<String> = of_routing
        .map(|Asked { value, mask }| {
            format!(
                "`ip rule fwmark {value:#x}` asks for every bit of the mark, so a packet that a hole \
                 lets in does not meet it: write fwmark {value:#x}/{:#x}",
                mask & rest
            )
        })
        .collect();
    let keeps = |keeping: &(String, Keeping)| keeping.1.bits() & bit != 0;
    let all: Vec<_> = keepings(ruleset).into_iter().filter(keeps).collect();
    let is_saved = in_connections || all.iter().any(|(_, it)| matches!(it, Keeping::Save(_)));
    for (place, keeping) in all {
        let sentence = match keeping {
            Keeping::Restore(_) if is_saved => format!(
                "{place} gives packets the whole mark of their connection, our bit with it, so rules \
                 that ask for the owner's mark alone do not meet them: restore with the mask {rest:#x}"
            ),
            Keeping::Set(_) | Keeping::Save(_) if in_connections => format!(
                "{place} writes the whole mark of connections, so those that began through a hole \
                 lose our bit, and what goes on in them is for the owner's rules as any other: write \
                 it with the mask {rest:#x}"
            ),
            Keeping::Restore(_) | Keeping::Set(_) | Keeping::Save(_) => continue,
        };
        said.insert(sentence);
    }
    for (place, (value, mask)) in wiped(ruleset, bit, in_connections) {
        said.insert(format!(
            "{place} sets the whole mark of packets, and that behind us: those that a hole lets in \
             lose our bit, and what asks for it does not meet them: set {value:#x}/{:#x}",
            mask & rest
        ));
    }
    said.into_iter().collect()
}

/// Every rule that takes our bit from packets that have it already, with its chain, and what it sets
/// with which mask.
fn wiped(ruleset: &Ruleset, bit: u32, in_connections: bool) -> Vec<(String, (u32, u32))> {
    let mut all = Vec::new();
    for table in &ruleset.tables {
        for (name, rules) in behind_us(table, in_connections) {
            let sets = rules.iter().filter(|rule| !rule.is_ours).filter_map(set);
            let wipes = sets.filter(|(value, mask)| mask & bit != 0 && value & bit == 0);
            all.extend(wipes.map(|set| (super::words::place(table, name), set)));
        }
    }
    all
}

/// The chains of a table, and of their rules those that packets meet when they have our bit.
fn behind_us(table: &Table, in_connections: bool) -> Vec<(&str, &[Rule])> {
    let of_base = table.chains.iter().filter_map(|(name, chain)| {
        let rules = behind_us_in(table, chain, chain.base?, in_connections);
        Some((name.as_str(), rules))
    });
    let mut found: Vec<(&str, &[Rule])> = of_base.collect();
    let mut next = 0;
    // Those that are jumped to from there, whoever else jumps to them.
    while let Some((_, rules)) = found.get(next) {
        next += 1;
        for target in rules.iter().flat_map(|rule| &rule.steps).filter_map(target) {
            let known = found.iter().any(|(name, _)| *name == target);
            let chain = table.chains.get_key_value(target);
            let chain = chain.filter(|(_, chain)| chain.base.is_none() && !known);
            found.extend(chain.map(|(name, chain)| (name.as_str(), chain.rules.as_slice())));
        }
    }
    found
}

/// Of a base chain. With iptables our own begins where a rule jumps to a chain that is not read; with
/// nf_tables it stands right behind `mangle`.
fn behind_us_in<'a>(
    table: &Table,
    chain: &'a Chain,
    base: Base,
    in_connections: bool,
) -> &'a [Rule] {
    match base.hook {
        Hook::Input | Hook::Forward => &chain.rules,
        Hook::Prerouting if base.priority > MANGLE => &chain.rules,
        Hook::Prerouting if base.priority == MANGLE && in_connections => {
            let is_ours = |rule: &Rule| {
                let mut targets = rule.steps.iter().filter_map(target);
                targets.any(|target| !table.chains.contains_key(target))
            };
            let ours = chain.rules.iter().rposition(is_ours);
            let first = ours.map_or(0, |index| index + 1);
            chain.rules.get(first..).unwrap_or_default()
        }
        Hook::Prerouting | Hook::Ingress | Hook::Output => &[],
    }
}

fn target(step: &Step) -> Option<&str> {
    let Step::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) = step else {
        return None;
    };
    Some(chain)
}

/// What a rule sets the mark to, whatever it was, and with which mask.
fn set(rule: &Rule) -> Option<(u32, u32)> {
    let mut put = None;
    for step in &rule.steps {
        if let Step::ChangeMark { value, mask } = step {
            return Some((*value, *mask));
        }
        if let Step::Immediate { to, bytes } = step {
            let value = bytes.as_slice().try_into().map(u32::from_ne_bytes);
            put = value.ok().map(|value| (*to, value));
        }
        if let (Step::SetMark { from }, Some((to, value))) = (step, put) {
            return (*from == to).then_some((value, u32::MAX));
        }
    }
    None
}

/// Every rule that keeps marks or gives them back, with its chain.
fn keepings(ruleset: &Ruleset) -> Vec<(String, Keeping)> {
    let mut all = Vec::new();
    for table in &ruleset.tables {
        for (name, chain) in &table.chains {
            let place = || super::words::place(table, name);
            let rules = chain.rules.iter().filter(|rule| !rule.is_ours);
            all.extend(rules.filter_map(keeping).map(|found| (place(), found)));
        }
    }
    all
}

/// What a rule does to marks. With nf_tables it loads one mark, takes bits of it, and writes another.
fn keeping(rule: &Rule) -> Option<Keeping> {
    // Which mark the registers have, and which of its bits.
    let mut loaded: Option<(Load, u32)> = None;
    for step in &rule.steps {
        match step {
            Step::Aside(Aside::Keep(keeping)) => return Some(*keeping),
            Step::Load { what, .. } => loaded = Some((*what, u32::MAX)),
            Step::Mask { mask, .. } => {
                let mask = mask.as_slice().try_into().map(u32::from_ne_bytes);
                let bits = mask.unwrap_or(u32::MAX);
                loaded = loaded.map(|(what, before)| (what, before & bits));
            }
            Step::Immediate { .. } | Step::Lookup { .. } => loaded = None,
            Step::SetMark { .. } => match loaded {
                Some((Load::Ct { key: CT_MARK, .. }, bits)) => return Some(Keeping::Restore(bits)),
                Some(_) | None => loaded = None,
            },
            Step::Aside(Aside::SetConnectionMark) => {
                return Some(match loaded {
                    // What it was before, but for other bits.
                    Some((Load::Ct { key: CT_MARK, .. }, kept)) => Keeping::Set(!kept),
                    Some((Load::Meta(META_MARK), bits)) if bits == u32::MAX => Keeping::Save(bits),
                    Some(_) | None => Keeping::Set(u32::MAX),
                });
            }
            Step::Swap { .. }
            | Step::Forget { .. }
            | Step::Compare { .. }
            | Step::Range { .. }
            | Step::Match(_)
            | Step::ChangeMark { .. }
            | Step::Aside(Aside::Untracked | Aside::Zone(_) | Aside::SetZone)
            | Step::Lead { .. }
            | Step::LeadTo { .. }
            | Step::Verdict(_)
            | Step::Pass(_)
            | Step::Unknown(_)
            | Step::UnknownVerdict(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIT: u32 = 0x2000_0000;

    #[test]
    fn a_rule_of_routing_that_asks_for_the_whole_mark_is_said_with_its_cure() {
        let asked = |value, mask| Asked { value, mask };
        let ruleset = Ruleset {
            marks_asked: vec![
                asked(2, u32::MAX),
                asked(2, 0xffff),
                asked(0x2000_0000, u32::MAX),
            ],
            ..Ruleset::default()
        };
        let said = warnings(&ruleset, BIT, false);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("write fwmark 0x2/0xdfffffff"), "{said:?}");
    }

    fn rule(steps: Vec<Step>) -> Rule {
        Rule {
            steps,
            ..Rule::default()
        }
    }

    /// Of `MARK --set-mark 2` in a table of iptables.
    fn said_of(hook: Hook, priority: i32, rules: Vec<Rule>, in_connections: bool) -> Vec<String> {
        let base = Base {
            hook,
            priority,
            is_nat: false,
            drops: false,
        };
        let chain = |base, rules| Chain {
            base,
            rules,
            ..Chain::default()
        };
        let sets = chain(
            None,
            vec![rule(vec![Step::ChangeMark {
                value: 2,
                mask: u32::MAX,
            }])],
        );
        let table = Table {
            family: super::super::ruleset::TableFamily::Ip,
            name: "mangle".to_owned(),
            is_owned: false,
            is_legacy: false,
            chains: [
                ("FIRST".to_owned(), chain(Some(base), rules)),
                ("SETS".to_owned(), sets),
            ]
            .into(),
            sets: Default::default(),
        };
        let ruleset = Ruleset {
            tables: vec![table],
            ..Ruleset::default()
        };
        warnings(&ruleset, BIT, in_connections)
    }

    #[test]
    fn a_rule_that_sets_the_whole_mark_behind_us_is_said_and_one_before_us_is_not() {
        let jump = |chain: &str| rule(vec![Step::Verdict(Verdict::Jump(chain.to_owned()))]);
        let set = |value, mask| rule(vec![Step::ChangeMark { value, mask }]);
        let whole = || set(2, u32::MAX);
        let said = |hook, priority, rules| said_of(hook, priority, rules, true);
        // Our own chain is not read.
        let below = said(Hook::Prerouting, -150, vec![jump("POSTERN"), whole()]);
        assert!(below[0].contains("ip mangle FIRST"), "{below:?}");
        assert!(below[0].ends_with("set 0x2/0xdfffffff"), "{below:?}");
        let above = vec![whole(), jump("POSTERN")];
        assert_eq!(said(Hook::Prerouting, -150, above), [""; 0]);
        assert_eq!(said(Hook::Prerouting, -300, vec![whole()]), [""; 0]);
        assert_eq!(said(Hook::Output, -150, vec![jump("SETS")]), [""; 0]);
        assert_eq!(said(Hook::Input, -150, vec![jump("SETS")]).len(), 1);
        assert_eq!(
            said(Hook::Forward, 0, vec![set(0x2000_0002, u32::MAX)]),
            [""; 0]
        );
        assert_eq!(said(Hook::Forward, 0, vec![set(2, 0xffff)]), [""; 0]);
        // With nf_tables we stand behind all of it.
        let mangle = vec![jump("POSTERN"), whole()];
        assert_eq!(said_of(Hook::Prerouting, -150, mangle, false), [""; 0]);
        let native = rule(vec![
            Step::Immediate {
                to: 16,
                bytes: 2_u32.to_ne_bytes().to_vec(),
            },
            Step::SetMark { from: 16 },
        ]);
        assert_eq!(
            said_of(Hook::Prerouting, -100, vec![native], false).len(),
            1
        );
    }
}

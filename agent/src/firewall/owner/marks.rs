//! Who else uses marks as if all their bits were his: rules of routing that ask for the whole mark, and
//! rules that keep it in connections, or give it back, with our bit. Pure.

use std::collections::BTreeSet;

use super::packet::{CT_MARK, META_MARK};
use super::ruleset::{Aside, Asked, Keeping, Load, Rule, Ruleset, Step};

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
    said.into_iter().collect()
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
}

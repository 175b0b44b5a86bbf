//! What the owner's rules keep out of connection tracking, or put into a zone of it. Pure.

use super::ruleset::{Aside, Rule, Ruleset, Step};
use super::words;

/// How connection tracking is told what to do with packets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::firewall) struct Tracking {
    /// The zones that rules name for both directions.
    pub(in crate::firewall) zones: Vec<u16>,
    /// The chains that keep packets out of it, or put them into a zone that they do not name: a
    /// session that begins to be tracked there belongs to nothing established.
    pub(in crate::firewall) strays: Vec<String>,
}

/// What a rule says of it.
enum Said {
    Zone(u16),
    Stray,
}

/// What all rules say of it.
pub(super) fn of(ruleset: &Ruleset) -> Tracking {
    let mut tracking = Tracking::default();
    for table in &ruleset.tables {
        for (name, chain) in &table.chains {
            for said in chain.rules.iter().filter_map(said) {
                match said {
                    Said::Zone(zone) => tracking.zones.push(zone),
                    Said::Stray => tracking.strays.push(words::place(table, name)),
                }
            }
        }
    }
    tracking.zones.sort_unstable();
    tracking.zones.dedup();
    tracking.strays.sort_unstable();
    tracking.strays.dedup();
    tracking
}

fn said(rule: &Rule) -> Option<Said> {
    let mut number = None;
    for step in &rule.steps {
        match step {
            Step::Immediate { bytes, .. } => {
                let bytes = bytes.get(..2).and_then(|bytes| bytes.try_into().ok());
                number = bytes.map(u16::from_ne_bytes);
            }
            Step::Load { .. } | Step::Lookup { .. } | Step::Forget { .. } => number = None,
            Step::Aside(Aside::Untracked) => return Some(Said::Stray),
            Step::Aside(Aside::Zone(zone)) => return Some(zone.map_or(Said::Stray, Said::Zone)),
            Step::Aside(Aside::SetZone) => return Some(number.map_or(Said::Stray, Said::Zone)),
            Step::Aside(Aside::Keep(_) | Aside::SetConnectionMark)
            | Step::Mask { .. }
            | Step::Swap { .. }
            | Step::Compare { .. }
            | Step::Range { .. }
            | Step::Match(_)
            | Step::SetMark { .. }
            | Step::ChangeMark { .. }
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
    use super::super::legacy;
    use super::super::read::Ours;
    use super::super::ruleset::TableFamily;
    use super::*;

    #[test]
    fn zones_are_told_by_number_and_what_is_kept_out_of_tracking_by_its_chain() {
        let save = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
            -A PREROUTING -i eth0 -j CT --zone 5\n-A OUTPUT -j CT --zone 5\n\
            -A PREROUTING -p tcp -m tcp --dport 22 -j CT --notrack\nCOMMIT\n\
            *mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --helper ftp\nCOMMIT\n";
        let tables = legacy::tables(save, TableFamily::Ip, &Ours::default());
        let ruleset = Ruleset {
            tables,
            ..Ruleset::default()
        };

        let tracking = of(&ruleset);

        assert_eq!(tracking.zones, [5]);
        assert_eq!(tracking.strays, ["iptables-legacy ip raw PREROUTING"]);
    }
}

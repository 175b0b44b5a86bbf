//! Where in a chain of the owner's our line belongs. Pure.
//!
//! Before the first rule that drops without looking at who sends: that is the owner's policy, which
//! a hole is meant to be an exception from. Never above a rule that may drop because of who sends,
//! nor above a chain in which such a rule may stand: whoever the owner blocks stays blocked, hole or
//! not. Where both cannot be had, the line stands lower, and what it does not reach stays closed.
//!
//! A line that stands is never moved up: what has come to stand above it since is an order of the
//! owner's, not policy. It moves down when it stands above what may drop by sender.
//!
//! In the chain for what goes out, all of this is said of whom a packet goes to.

use super::super::xtables::{DEPTH_MAX, RuleText, TableText, Target};

/// Where a line may stand in the rules of a chain, our own left out: `first..=last` of them before
/// it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Spot {
    pub(super) chain: String,
    pub(super) first: usize,
    pub(super) last: usize,
    /// Whether it makes a difference: something below would drop.
    pub(super) is_needed: bool,
}

/// What a rule does to packets in general.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort<'r> {
    /// Lets them in, or decides nothing.
    Passes,
    /// May drop because of who sends.
    BySender,
    /// Drops some, whoever sends.
    Policy,
    /// Nothing comes after it; it drops all that its chain does not let in.
    Drops(Option<&'r str>),
    /// Nothing comes after it; it does not drop.
    Accepts,
}

/// Where a line belongs in a chain; `None` when there is no such chain. `is_ours` knows our lines,
/// which count as if they were not there. `accepts` knows lines of the owner that do the same.
pub(super) fn spot(
    table: &TableText,
    chain: &str,
    is_ours: &dyn Fn(&RuleText) -> bool,
    is_same: &dyn Fn(&RuleText) -> bool,
) -> Option<Spot> {
    let reading = Reading {
        table,
        goes_out: chain == OUTPUT,
        is_ours,
        is_same,
    };
    let drops_at_end = table.policy(chain).is_some_and(|policy| policy != "ACCEPT");
    reading.spot(chain, drops_at_end, DEPTH_MAX)
}

/// The chains that drop all that they do not let in.
pub(super) fn dropping(table: &TableText, is_ours: &dyn Fn(&RuleText) -> bool) -> Vec<String> {
    let reading = Reading {
        table,
        goes_out: false,
        is_ours,
        is_same: &|_| false,
    };
    let chains = table.chains().map(|(chain, _)| chain);
    let dropping = chains.filter(|chain| reading.always_drops(chain, DEPTH_MAX));
    dropping.map(str::to_owned).collect()
}

struct Reading<'t> {
    table: &'t TableText,
    /// Whether who is at the other end is whom a packet goes to.
    goes_out: bool,
    is_ours: &'t dyn Fn(&RuleText) -> bool,
    is_same: &'t dyn Fn(&RuleText) -> bool,
}

impl<'t> Reading<'t> {
    fn spot(&self, chain: &str, drops_at_end: bool, depth: u32) -> Option<Spot> {
        let rules = self.table.rules(chain)?;
        let is_base = self.table.policy(chain).is_some();
        let sorts: Vec<_> = rules
            .iter()
            .filter(|rule| !(self.is_ours)(rule))
            .map(|rule| self.sort(rule, is_base && drops_at_end))
            .map(|sort| {
                if self.is_shared(&sort, chain, depth) {
                    Sort::BySender
                } else {
                    sort
                }
            })
            .collect();
        let is_end = |sort: &Sort<'_>| matches!(sort, Sort::Drops(_) | Sort::Accepts);
        let end = sorts.iter().position(is_end).unwrap_or(sorts.len());
        let reached = sorts.get(..end).unwrap_or_default();
        let last_by_sender = reached.iter().rposition(|sort| *sort == Sort::BySender);
        let first = last_by_sender.map_or(0, |at| at + 1);
        let standing = self.standing(rules);
        if let Some(at) = standing.filter(|at| *at > end) {
            return Some(Spot {
                chain: chain.to_owned(),
                first: at,
                last: at,
                is_needed: true,
            });
        }
        let drops = match sorts.get(end) {
            Some(Sort::Drops(Some(inner))) if self.blocks_senders(inner, depth) => {
                let depth = depth.checked_sub(1)?;
                return self.spot(inner, drops_at_end, depth);
            }
            Some(Sort::Drops(_)) => true,
            Some(_) => false,
            None => drops_at_end,
        };
        let policy = reached
            .iter()
            .skip(first)
            .position(|sort| *sort == Sort::Policy);
        let place = policy.map_or(end, |at| first + at);
        let standing = standing.filter(|at| *at >= first);
        Some(Spot {
            chain: chain.to_owned(),
            first: standing.unwrap_or(first),
            last: standing.unwrap_or(place),
            is_needed: drops || policy.is_some(),
        })
    }

    /// Whether a last word is a chain that may drop by sender and to which not everybody is led.
    fn is_shared(&self, sort: &Sort<'_>, from: &str, depth: u32) -> bool {
        matches!(sort, Sort::Drops(Some(inner))
            if self.blocks_senders(inner, depth) && !self.is_only_led_to(inner, from))
    }

    /// Below how many rules of others our line stands; of several, the last.
    fn standing(&self, rules: &[RuleText]) -> Option<usize> {
        let last = rules.iter().rposition(|rule| (self.is_ours)(rule))?;
        let above = rules.iter().take(last);
        Some(above.filter(|rule| !(self.is_ours)(rule)).count())
    }

    /// Whether nothing leads to a chain but rules about every packet, in `from` or in base chains:
    /// then nobody is sent there because of who sends.
    fn is_only_led_to(&self, inner: &str, from: &str) -> bool {
        let leads = |rule: &RuleText| match &rule.target {
            Target::Jump(to) | Target::Goto(to) => to == inner,
            Target::None => false,
        };
        self.table.chains().all(|(chain, rules)| {
            let may_lead = chain == from || self.table.policy(chain).is_some();
            let mut ways = rules.iter().filter(|rule| leads(rule));
            ways.all(|rule| may_lead && rule.is_unconditional())
        })
    }

    fn sort(&self, rule: &'t RuleText, return_drops: bool) -> Sort<'t> {
        if (self.is_same)(rule) {
            return Sort::Accepts;
        }
        let is_goto = matches!(rule.target, Target::Goto(_));
        let (Target::Jump(target) | Target::Goto(target)) = &rule.target else {
            return Sort::Passes;
        };
        let drop = |inner| match (
            rule.is_unconditional(),
            self.looks_at_sender(&rule.conditions),
        ) {
            (true, _) => Sort::Drops(inner),
            (false, true) => Sort::BySender,
            (false, false) => Sort::Policy,
        };
        match target.as_str() {
            "ACCEPT" if rule.is_unconditional() => Sort::Accepts,
            "ACCEPT" => Sort::Passes,
            "RETURN" if return_drops => drop(None),
            "RETURN" if rule.is_unconditional() => Sort::Accepts,
            "RETURN" => Sort::Passes,
            "DROP" | "REJECT" | "TARPIT" => drop(None),
            other if PASSING.contains(&other) => Sort::Passes,
            DOCKER_USER => Sort::BySender,
            chain if self.table.is_own_chain(chain) => {
                if self.always_drops(chain, DEPTH_MAX) || (is_goto && rule.is_unconditional()) {
                    drop(Some(chain))
                } else {
                    Sort::BySender
                }
            }
            // A queue, or something that is not known here.
            _ => Sort::BySender,
        }
    }

    /// Whether a chain drops whatever it does not let in.
    fn always_drops(&self, chain: &str, depth: u32) -> bool {
        let (Some(rules), Some(depth)) = (self.table.rules(chain), depth.checked_sub(1)) else {
            return false;
        };
        let last_word = rules.iter().find_map(|rule| {
            let (Target::Jump(target) | Target::Goto(target)) = &rule.target else {
                return None;
            };
            if (self.is_ours)(rule) {
                return None;
            }
            match (target.as_str(), rule.is_unconditional()) {
                // Something comes back from there.
                ("RETURN", _) => Some(false),
                (_, false) => None,
                ("DROP" | "REJECT" | "TARPIT", true) => Some(true),
                ("ACCEPT", true) => Some(false),
                (inner, true) if self.always_drops(inner, depth) => Some(true),
                (_, true) if matches!(rule.target, Target::Goto(_)) => Some(false),
                (_, true) => None,
            }
        });
        last_word.unwrap_or(false)
    }

    /// Whether, in a chain that drops the rest, something stands that may drop by sender.
    fn blocks_senders(&self, chain: &str, depth: u32) -> bool {
        let (Some(rules), Some(depth)) = (self.table.rules(chain), depth.checked_sub(1)) else {
            return false;
        };
        let rules = rules.iter().filter(|rule| !(self.is_ours)(rule));
        for sort in rules.map(|rule| self.sort(rule, false)) {
            match sort {
                Sort::BySender => return true,
                Sort::Passes | Sort::Policy => {}
                Sort::Drops(Some(inner)) => return self.blocks_senders(inner, depth),
                Sort::Drops(None) | Sort::Accepts => return false,
            }
        }
        false
    }

    /// Whether the sender may make a difference, or who it goes to where it goes out. What is not known
    /// here may.
    fn looks_at_sender(&self, conditions: &[String]) -> bool {
        let end = |word| {
            if self.goes_out {
                of_other_end(word)
            } else {
                word
            }
        };
        let mut words = conditions.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word == "-m" {
                // It is the options that count.
                words.next();
                continue;
            }
            if word == "--match-set" {
                let directions = words.nth(1);
                let is_of_sender = |to| end(to) != "dst";
                if directions.is_none_or(|directions| directions.split(',').any(is_of_sender)) {
                    return true;
                }
                continue;
            }
            let word = end(word);
            let Some((_, arguments)) = NOT_OF_SENDER.iter().find(|(option, _)| *option == word)
            else {
                return true;
            };
            for _ in 0..*arguments {
                words.next();
            }
        }
        false
    }
}

/// Where what this host sends is judged.
pub(super) const OUTPUT: &str = "OUTPUT";
/// Where the rules of Docker's users stand; it has a line of its own.
pub(super) const DOCKER_USER: &str = "DOCKER-USER";

/// Targets of this table after which a packet goes on to the next rule.
const PASSING: [&str; 11] = [
    "AUDIT",
    "CONNMARK",
    "CONNSECMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "RATEEST",
    "SET",
    "ULOG",
];

/// Options that say nothing of the sender, each with how many words follow it.
const NOT_OF_SENDER: [(&str, usize); 24] = [
    ("!", 0),
    ("-p", 1),
    ("-d", 1),
    ("-i", 1),
    ("-o", 1),
    ("--dport", 1),
    ("--dports", 1),
    ("--syn", 0),
    ("--tcp-flags", 2),
    ("--tcp-option", 1),
    ("--icmp-type", 1),
    ("--icmpv6-type", 1),
    ("--ctstate", 1),
    ("--state", 1),
    ("--ctorigdst", 1),
    ("--ctorigdstport", 1),
    ("--ctdir", 1),
    ("--dst-type", 1),
    ("--pkt-type", 1),
    ("--limit", 1),
    ("--limit-burst", 1),
    ("--length", 1),
    ("--limit-iface-in", 0),
    ("-f", 0),
];

/// What an option about one end of a packet is called where it is about the other.
fn of_other_end(option: &str) -> &str {
    const ENDS: [(&str, &str); 6] = [
        ("-s", "-d"),
        ("-i", "-o"),
        ("--sport", "--dport"),
        ("--sports", "--dports"),
        ("--src-type", "--dst-type"),
        ("src", "dst"),
    ];
    let ends = ENDS.iter().find(|(a, b)| *a == option || *b == option);
    ends.map_or(option, |(a, b)| if *a == option { b } else { a })
}

#[cfg(test)]
mod tests;

//! What the programs of iptables print of a table, read: `iptables -S` and `iptables-save` print the
//! same lines. Pure.

use std::collections::BTreeMap;

/// A table as it was printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::firewall) struct TableText {
    /// The policies of the base chains.
    policies: BTreeMap<String, String>,
    chains: BTreeMap<String, Vec<RuleText>>,
}

/// A rule as it was printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::firewall) struct RuleText {
    /// All of it after `-A CHAIN `.
    pub(in crate::firewall) text: String,
    /// The words of its conditions.
    pub(in crate::firewall) conditions: Vec<String>,
    pub(in crate::firewall) target: Target,
}

/// What becomes of a packet that a rule is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::firewall) enum Target {
    /// It is counted.
    None,
    /// A target of the kernel, or a chain, after which the next rule follows if nothing is decided.
    Jump(String),
    /// A chain after which the calling chain follows.
    Goto(String),
}

// === impl TableText ===

impl TableText {
    /// Reads a listing. Lines that are no rules and no chains are left out.
    pub(in crate::firewall) fn of(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            // Counters come first in a save that was made with them.
            let line = match line
                .strip_prefix('[')
                .and_then(|line| line.split_once("] "))
            {
                Some((_, line)) => line,
                None => line,
            };
            if let Some(rest) = line.strip_prefix("-A ") {
                let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
                let rules = table.chains.entry(chain.to_owned()).or_default();
                rules.push(RuleText::of(rule));
            } else if let Some(rest) = line.strip_prefix("-N ") {
                table.chains.entry(rest.to_owned()).or_default();
            } else if let Some(rest) = line.strip_prefix("-P ").or_else(|| line.strip_prefix(':')) {
                let mut words = rest.split(' ');
                let (chain, policy) = (words.next(), words.next());
                let chain = chain.unwrap_or_default().to_owned();
                if let Some(policy) = policy.filter(|policy| *policy != "-") {
                    table.policies.insert(chain.clone(), policy.to_owned());
                }
                table.chains.entry(chain).or_default();
            }
        }
        table
    }

    /// The rules of a chain, in their order; `None` when there is no such chain.
    pub(in crate::firewall) fn rules(&self, chain: &str) -> Option<&[RuleText]> {
        self.chains.get(chain).map(Vec::as_slice)
    }

    /// Every chain and its rules.
    pub(in crate::firewall) fn chains(&self) -> impl Iterator<Item = (&str, &[RuleText])> {
        let chains = self.chains.iter();
        chains.map(|(name, rules)| (name.as_str(), rules.as_slice()))
    }

    /// What becomes of a packet that gets to the end of a base chain.
    pub(in crate::firewall) fn policy(&self, chain: &str) -> Option<&str> {
        self.policies.get(chain).map(String::as_str)
    }

    /// Whether a name is that of a chain which is no base chain.
    pub(in crate::firewall) fn is_own_chain(&self, name: &str) -> bool {
        self.chains.contains_key(name) && !self.policies.contains_key(name)
    }

    /// How many rules of a chain do nothing but lead to another, whatever the packet.
    pub(in crate::firewall) fn jumps(&self, from: &str, to: &str) -> usize {
        let rules = self.rules(from).unwrap_or_default();
        rules.iter().filter(|rule| rule.leads_to(to)).count()
    }

    /// The first rule of a base chain that may keep a packet from the first jump to `to`; `None`
    /// when everything gets there that is not dropped before.
    pub(in crate::firewall) fn kept_from(&self, base: &str, to: &str) -> Option<&RuleText> {
        let rules = self.rules(base).unwrap_or_default();
        let above = rules.iter().take_while(|rule| !rule.leads_to(to));
        let mut above = above.filter(|rule| !rule.is_for_loopback());
        above.find(|rule| match &rule.target {
            Target::None => false,
            // What comes back from there goes on after the base chain.
            Target::Goto(_) => true,
            Target::Jump(target) if target == "RETURN" => true,
            Target::Jump(target) => self.may_accept(target, DEPTH_MAX),
        })
    }

    /// Whether a target may be the last word on a packet and not drop it.
    fn may_accept(&self, target: &str, depth: u32) -> bool {
        if PASSING_TARGETS.contains(&target) {
            return false;
        }
        let (Some(rules), Some(depth)) = (self.rules(target), depth.checked_sub(1)) else {
            return true;
        };
        rules.iter().any(|rule| match &rule.target {
            Target::None => false,
            Target::Jump(target) if target == "RETURN" => false,
            Target::Jump(target) | Target::Goto(target) => self.may_accept(target, depth),
        })
    }
}

/// Chains within chains: the kernel allows 16 in nf_tables.
pub(in crate::firewall) const DEPTH_MAX: u32 = 32;

/// Targets after which a packet goes on to the next rule, or is dropped.
const PASSING_TARGETS: [&str; 24] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "DROP",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "RATEEST",
    "REJECT",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TTL",
];

// === impl RuleText ===

impl RuleText {
    fn of(text: &str) -> Self {
        let words = words(text);
        let at = words.iter().position(|word| word == "-j" || word == "-g");
        let named = at.and_then(|at| words.get(at + 1));
        let target = match (at.and_then(|at| words.get(at)), named) {
            (Some(how), Some(name)) if how == "-g" => Target::Goto(name.clone()),
            (_, Some(name)) => Target::Jump(name.clone()),
            (_, None) => Target::None,
        };
        let conditions = words.into_iter().take(at.unwrap_or(usize::MAX));
        Self {
            text: text.to_owned(),
            conditions: without_comments(conditions),
            target,
        }
    }

    /// Whether it is about every packet.
    pub(in crate::firewall) fn is_unconditional(&self) -> bool {
        self.conditions.is_empty()
    }

    fn leads_to(&self, chain: &str) -> bool {
        self.is_unconditional() && matches!(&self.target, Target::Jump(to) if to == chain)
    }

    /// Whether it is only about what never left this host.
    fn is_for_loopback(&self) -> bool {
        let mut pairs = self.conditions.windows(2);
        pairs.any(|pair| matches!(pair, [option, name] if option == "-i" && name == "lo"))
            && !self.conditions.iter().any(|word| word == "!")
    }
}

/// The words of a line; quotation marks hold words together, as iptables prints them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if is_escaped => {
                is_escaped = false;
                word.get_or_insert_default().push(c);
            }
            '\\' if is_quoted => is_escaped = true,
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            ' ' if !is_quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// A comment is no condition.
fn without_comments(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let is_module = word == "-m" && words.peek().is_some_and(|next| next == "comment");
        if is_module || word == "--comment" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept_from(lines: &str) -> Option<String> {
        let table = TableText::of(&format!("-P PREROUTING ACCEPT\n-N P\n{lines}\n"));
        let rule = table.kept_from("PREROUTING", "P");
        rule.map(|rule| rule.text.clone())
    }

    #[test]
    fn a_jump_below_rules_that_decide_nothing_is_reached_by_everything() {
        for above in [
            "",
            "-A PREROUTING -j MARK --set-xmark 0x1/0x1\n",
            "-A PREROUTING -s 192.0.2.7/32 -j DROP\n",
            "-A PREROUTING -i lo -j ACCEPT\n",
            "-A PREROUTING -m comment --comment \"-j ACCEPT\" -j LOG\n",
            "-N X\n-A PREROUTING -j X\n-A X -i eth0 -j RETURN\n-A X -j CONNMARK --save-mark\n",
        ] {
            assert_eq!(
                kept_from(&format!("{above}-A PREROUTING -j P")),
                None,
                "{above}"
            );
        }
    }

    #[test]
    fn a_rule_above_that_may_accept_is_found_in_whatever_chain_it_stands() {
        for above in [
            "-A PREROUTING -i eth0 -j ACCEPT",
            "-A PREROUTING ! -i lo -j ACCEPT",
            "-A PREROUTING -p udp -j RETURN",
            "-A PREROUTING -p tcp -j TPROXY --on-port 1 --on-ip 0.0.0.0 --tproxy-mark 0x1/0x1",
            "-A PREROUTING -g X\n-N X",
            "-A PREROUTING -j X\n-N X\n-N Y\n-A X -j Y\n-A Y -m mark --mark 0x1 -j ACCEPT",
            "-A PREROUTING -j UNHEARDOF",
        ] {
            let first = above.lines().next().unwrap_or_default();
            let found = kept_from(&format!("{above}\n-A PREROUTING -j P"));
            assert_eq!(found.as_deref(), first.strip_prefix("-A PREROUTING "));
        }
    }

    #[test]
    fn only_rules_that_are_nothing_but_the_jump_are_counted_as_it() {
        let table = TableText::of(
            "-P INPUT DROP\n-A INPUT -j P\n-A INPUT -i lo -j P\n-A INPUT -j PO\n\
             -A INPUT -m comment --comment \"a \\\" -g b\" -j P\n",
        );

        assert_eq!(table.jumps("INPUT", "P"), 2);
        assert_eq!(table.jumps("INPUT", "PX"), 0);
        assert_eq!(table.policy("INPUT"), Some("DROP"));
    }

    #[test]
    fn a_save_reads_as_a_listing() {
        let saved = "*filter\n:INPUT DROP [3:180]\n:X - [0:0]\n[1:60] -A INPUT -j X\nCOMMIT\n";
        let listed = "-P INPUT DROP\n-N X\n-A INPUT -j X\n";

        assert_eq!(TableText::of(saved), TableText::of(listed));
    }

    proptest! {
        #[test]
        fn whatever_is_printed_it_is_read_and_no_rule_is_lost(
            lines in prop::collection::vec("(-A [A-Z]{1,3} )?[ -~]{0,30}", 0..20),
        ) {
            let table = TableText::of(&lines.join("\n"));

            let rules: usize = table.chains().map(|(_, rules)| rules.len()).sum();
            let expected = lines.iter().filter(|line| line.starts_with("-A ")).count();
            prop_assert!(rules >= expected);
            table.kept_from("INPUT", "P");
        }
    }
}

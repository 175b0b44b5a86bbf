//! Hearing that somebody has changed rules, and a glance at those that are ours.
//!
//! iptables as distributions have it today writes into nf_tables, which tells of every change and
//! lists one chain in microseconds, whatever else there is. With the old iptables nothing is heard:
//! then a chain of ours seems empty here, and everything is looked at now and then.
//! Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.

use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};

use sha2::{Digest as _, Sha256};

use super::super::FirewallError;
use super::super::family::Family;
use crate::netlink::{
    Attributes, Heard, Listener, NLM_F_DUMP, Netlink, NetlinkError, Notice, Requests,
};

const NFNLGRP_NFTABLES: u32 = 7;
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFGEN_LEN: usize = 4;

/// Messages.
const NEWTABLE: u8 = 0;
const DELTABLE: u8 = 2;
const NEWCHAIN: u8 = 3;
const DELCHAIN: u8 = 5;
const NEWRULE: u8 = 6;
const GETRULE: u8 = 7;
const DELRULE: u8 = 8;

/// Attributes. Tables and chains name themselves as rules name their table.
const TABLE_NAME: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_JUMP`, in network byte order.
const JUMP: [u8; 4] = (-3_i32).to_be_bytes();

/// The only table with rules of ours.
const TABLE: &str = "filter";

/// Hears of changes, and looks.
#[derive(Debug)]
pub(super) struct NftWatch {
    listener: Listener,
    requests: Requests,
}

/// What a chain holds, without what changes by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ChainDigest {
    sum: [u8; 32],
    rules: usize,
}

// === impl ChainDigest ===

impl ChainDigest {
    /// How many rules.
    pub(super) const fn rules(self) -> usize {
        self.rules
    }
}

// === impl NftWatch ===

impl NftWatch {
    /// Starts to listen; `None` where nothing can be heard.
    pub(super) fn open() -> Option<Self> {
        let listener = Listener::netfilter(&[NFNLGRP_NFTABLES]);
        let listener = listener.inspect_err(|cause| {
            tracing::info!(error = %program::one_line(cause), "changes of the firewall are not told");
        });
        Some(Self {
            listener: listener.ok()?,
            requests: Requests::default(),
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes all notices. Says whether one of them may concern these chains; what was missed may.
    pub(super) fn noticed(&mut self, chains: &[&str]) -> bool {
        let mut concerned = false;
        let heard = self
            .listener
            .drain(&mut |notice| concerned |= concerns(notice, chains));
        concerned || !matches!(heard, Ok(Heard::All))
    }

    /// What `chain` holds now; `None` when that is not so many rules, or they cannot be seen here.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn digest(
        &mut self,
        family: Family,
        chain: &str,
        expected: usize,
    ) -> Result<Option<ChainDigest>, FirewallError> {
        let mut sum = Sha256::new();
        let mut rules = 0;
        self.rules(family, chain, &mut |rule| {
            rules += 1;
            add_rule(&mut sum, rule);
            ControlFlow::Continue(())
        })?;
        Ok((rules == expected && rules > 0).then(|| ChainDigest {
            sum: sum.finalize().into(),
            rules,
        }))
    }

    /// Which rule of `base`, from 1, is the first that leads to `chain`, whatever the packet. Stops
    /// there, which is at the top, so that it does not matter how many follow.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be asked.
    pub(super) fn way(
        &mut self,
        family: Family,
        base: &str,
        chain: &str,
    ) -> Result<Option<usize>, FirewallError> {
        let (mut at, mut leads) = (0, false);
        self.rules(family, base, &mut |rule| {
            at += 1;
            leads = is_jump(rule, chain);
            if leads {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(leads.then_some(at))
    }

    fn rules(
        &mut self,
        family: Family,
        chain: &str,
        each: &mut dyn FnMut(Attributes<'_>) -> ControlFlow<()>,
    ) -> Result<(), FirewallError> {
        let requests = &mut self.requests;
        requests.clear();
        requests.begin(NFNL_SUBSYS_NFTABLES, GETRULE, NLM_F_DUMP, number(family));
        requests.text(TABLE_NAME, TABLE);
        requests.text(RULE_CHAIN, chain);
        requests.end();
        // A list that is not read to its end leaves the socket useless, so each has its own.
        let mut list = |requests: &mut Requests| {
            Netlink::open()?.list(requests, &mut |notice| {
                let rule = notice.attributes(NFGEN_LEN);
                if !names(rule, RULE_CHAIN, chain) {
                    return ControlFlow::Continue(());
                }
                each(rule)
            })
        };
        list(requests).map_err(|cause: NetlinkError| FirewallError::Netlink {
            doing: "list the rules of a chain",
            reason: cause.to_string(),
        })
    }
}

const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// Whether a notice may be about these chains.
fn concerns(notice: Notice<'_>, chains: &[&str]) -> bool {
    let [message, subsystem] = notice.kind.to_le_bytes();
    if subsystem != NFNL_SUBSYS_NFTABLES {
        return false;
    }
    let said = notice.attributes(NFGEN_LEN);
    let about = |kind| {
        let chain = said.find(kind).map(text);
        names(said, TABLE_NAME, TABLE) && chain.is_none_or(|name| chains.contains(&name))
    };
    match message {
        NEWTABLE | DELTABLE => names(said, TABLE_NAME, TABLE),
        NEWCHAIN | DELCHAIN => about(CHAIN_NAME),
        NEWRULE | DELRULE => about(RULE_CHAIN),
        _ => false,
    }
}

fn names(attributes: Attributes<'_>, kind: u16, name: &str) -> bool {
    attributes.find(kind).map(text) == Some(name)
}

/// A name without the zero that ends it; empty if it is none.
fn text(value: &[u8]) -> &str {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

/// Names and values of a rule's expressions.
fn expressions<'a>(rule: Attributes<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let all = rule.find(RULE_EXPRESSIONS).unwrap_or_default();
    Attributes::inside(all).map(|(_, expression)| {
        let expression = Attributes::inside(expression);
        let name = expression.find(EXPR_NAME).map(text).unwrap_or_default();
        (name, expression.find(EXPR_DATA).unwrap_or_default())
    })
}

fn add_rule(sum: &mut Sha256, rule: Attributes<'_>) {
    sum.update(b"rule");
    for (name, value) in expressions(rule) {
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
        // Counters count.
        if name != "counter" {
            sum.update((value.len() as u64).to_le_bytes());
            sum.update(value);
        }
    }
}

fn is_jump(rule: Attributes<'_>, chain: &str) -> bool {
    let mut leads = false;
    for (name, value) in expressions(rule) {
        match name {
            "counter" => {}
            "immediate" => leads = jumps_to(value, chain),
            // A condition.
            _ => return false,
        }
    }
    leads
}

fn jumps_to(immediate: &[u8], chain: &str) -> bool {
    let inside = |value: Option<_>, kind| Attributes::inside(value?).find(kind);
    let verdict = inside(inside(Some(immediate), IMMEDIATE_DATA), DATA_VERDICT);
    inside(verdict, VERDICT_CODE) == Some(&JUMP[..])
        && inside(verdict, VERDICT_CHAIN).map(text) == Some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice_of(message: u8, attributes: &[(u16, &str)]) -> (u16, Vec<u8>) {
        let mut body = vec![2, 0, 0, 0];
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len() + 1).unwrap();
            body.extend_from_slice(&length.to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value.as_bytes());
            body.push(0);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        (u16::from_le_bytes([message, NFNL_SUBSYS_NFTABLES]), body)
    }

    #[test]
    fn a_notice_concerns_us_when_it_names_our_table_and_one_of_our_chains() {
        let concerned = |message, attributes: &[(u16, &str)]| {
            let (kind, body) = notice_of(message, attributes);
            let notice = Notice {
                kind,
                port: 0,
                body: &body,
            };
            concerns(notice, &["INPUT", "P"])
        };

        assert!(concerned(
            DELRULE,
            &[(TABLE_NAME, "filter"), (RULE_CHAIN, "P")]
        ));
        assert!(concerned(
            NEWRULE,
            &[(TABLE_NAME, "filter"), (RULE_CHAIN, "INPUT")]
        ));
        assert!(concerned(
            DELCHAIN,
            &[(TABLE_NAME, "filter"), (CHAIN_NAME, "P")]
        ));
        assert!(concerned(DELTABLE, &[(TABLE_NAME, "filter")]));
        assert!(!concerned(
            DELRULE,
            &[(TABLE_NAME, "nat"), (RULE_CHAIN, "P")]
        ));
        assert!(!concerned(
            DELRULE,
            &[(TABLE_NAME, "filter"), (RULE_CHAIN, "FORWARD")]
        ));
        assert!(!concerned(DELTABLE, &[(TABLE_NAME, "nat")]));
        let set_element = 12;
        assert!(!concerned(set_element, &[(TABLE_NAME, "filter")]));
    }
}

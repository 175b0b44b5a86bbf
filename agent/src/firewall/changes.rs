//! What nf_tables tells of changes, read. Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.

use crate::netlink::{Attributes, Notice};

pub(super) const NFNLGRP_NFTABLES: u32 = 7;
pub(super) const NFNL_SUBSYS_NFTABLES: u8 = 10;
/// Family, version and resource of a message (`struct nfgenmsg`).
pub(super) const NFGEN_LEN: usize = 4;

/// Messages.
const NEWTABLE: u8 = 0;
const DELTABLE: u8 = 2;
const NEWCHAIN: u8 = 3;
const DELCHAIN: u8 = 5;
const NEWRULE: u8 = 6;
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
/// `NFT_JUMP` and `NFT_GOTO`, in network byte order.
const JUMP: [u8; 4] = (-3_i32).to_be_bytes();
const GOTO: [u8; 4] = (-4_i32).to_be_bytes();

/// Expressions that are no condition.
const UNCONDITIONAL: [&str; 5] = ["counter", "immediate", "log", "reject", "target"];

/// How a rule begins that asks for bits of the mark.
const MARK_LINE: [&str; 3] = ["meta", "bitwise", "cmp"];

/// What was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Change<'n> {
    /// The kernel's number of the family (`NFPROTO_*`, linux/netfilter.h).
    pub(crate) family: u8,
    pub(crate) table: &'n str,
    /// `None` when it is about the whole table.
    pub(crate) chain: Option<&'n str>,
    /// Whether it is a rule that is about some packets only.
    pub(crate) is_conditional: bool,
    /// Whether it is a rule that leads to another chain.
    pub(crate) leads: bool,
    /// Whether a rule is gone that asks for a mark and nothing else, as our lines do.
    pub(crate) ends_mark_line: bool,
}

// === impl Change ===

impl<'n> Change<'n> {
    /// Reads a notice; `None` when it is about no table, chain or rule.
    pub(super) fn of(notice: Notice<'n>) -> Option<Self> {
        let [message, subsystem] = notice.kind.to_le_bytes();
        if subsystem != NFNL_SUBSYS_NFTABLES {
            return None;
        }
        let said = notice.attributes(NFGEN_LEN);
        let chain_in = match message {
            NEWTABLE | DELTABLE => None,
            NEWCHAIN | DELCHAIN => Some(CHAIN_NAME),
            NEWRULE | DELRULE => Some(RULE_CHAIN),
            _ => return None,
        };
        let is_rule = chain_in == Some(RULE_CHAIN);
        Some(Self {
            family: *notice.body.first()?,
            table: said.find(TABLE_NAME).map(text)?,
            chain: chain_in.and_then(|kind| said.find(kind)).map(text),
            is_conditional: is_rule
                && expressions(said).any(|(name, _)| !UNCONDITIONAL.contains(&name)),
            leads: is_rule
                && expressions(said).any(|(name, value)| name == "immediate" && leads(value)),
            ends_mark_line: message == DELRULE && {
                let names = expressions(said).map(|(name, _)| name);
                names.take(MARK_LINE.len()).eq(MARK_LINE)
            },
        })
    }
}

/// Whether an immediate value is a jump to a chain, or goes there.
fn leads(immediate: &[u8]) -> bool {
    let inside = |value: Option<_>, kind| Attributes::inside(value?).find(kind);
    let verdict = inside(inside(Some(immediate), IMMEDIATE_DATA), DATA_VERDICT);
    inside(verdict, VERDICT_CODE).is_some_and(|code| code == JUMP || code == GOTO)
}

/// A name without the zero that ends it; empty if it is none.
pub(super) fn text(value: &[u8]) -> &str {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

/// Names and values of a rule's expressions.
pub(super) fn expressions<'a>(rule: Attributes<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let all = rule.find(RULE_EXPRESSIONS).unwrap_or_default();
    Attributes::inside(all).map(|(_, expression)| {
        let expression = Attributes::inside(expression);
        let name = expression.find(EXPR_NAME).map(text).unwrap_or_default();
        (name, expression.find(EXPR_DATA).unwrap_or_default())
    })
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
    fn a_notice_says_which_table_and_which_chain_were_changed() {
        let told = |message, attributes: &[(u16, &str)]| {
            let (kind, body) = notice_of(message, attributes);
            let notice = Notice {
                kind,
                port: 0,
                body: &body,
            };
            Change::of(notice).map(|change| {
                assert_eq!(change.family, 2);
                (change.table.to_owned(), change.chain.map(str::to_owned))
            })
        };
        let expected =
            |table: &str, chain: Option<&str>| Some((table.to_owned(), chain.map(str::to_owned)));

        for (message, name) in [
            (NEWRULE, RULE_CHAIN),
            (DELRULE, RULE_CHAIN),
            (NEWCHAIN, CHAIN_NAME),
            (DELCHAIN, CHAIN_NAME),
        ] {
            let found = told(message, &[(TABLE_NAME, "nat"), (name, "P")]);
            assert_eq!(found, expected("nat", Some("P")));
        }
        assert_eq!(
            told(DELTABLE, &[(TABLE_NAME, "nat")]),
            expected("nat", None)
        );
        let set_element = 12;
        assert_eq!(told(set_element, &[(TABLE_NAME, "nat")]), None);
    }
}

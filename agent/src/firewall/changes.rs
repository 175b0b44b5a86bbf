//! What nf_tables tells of changes, read. Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.

use super::numbers::nf_tables as nf;
use crate::netlink::{Attributes, Notice};

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
        if subsystem != nf::SUBSYSTEM {
            return None;
        }
        let said = notice.attributes(nf::HEADER_LEN);
        let chain_in = match message {
            nf::NEWTABLE | nf::DELTABLE => None,
            nf::NEWCHAIN | nf::DELCHAIN => Some(nf::CHAIN_NAME),
            nf::NEWRULE | nf::DELRULE => Some(nf::RULE_CHAIN),
            _ => return None,
        };
        let is_rule = chain_in == Some(nf::RULE_CHAIN);
        Some(Self {
            family: *notice.body.first()?,
            table: said.find(nf::TABLE_NAME).map(text)?,
            chain: chain_in.and_then(|kind| said.find(kind)).map(text),
            is_conditional: is_rule
                && expressions(said).any(|(name, _)| !UNCONDITIONAL.contains(&name)),
            leads: is_rule
                && expressions(said).any(|(name, value)| name == "immediate" && leads(value)),
            ends_mark_line: message == nf::DELRULE && {
                let names = expressions(said).map(|(name, _)| name);
                names.take(MARK_LINE.len()).eq(MARK_LINE)
            },
        })
    }
}

/// Whether an immediate value is a jump to a chain, or goes there.
fn leads(immediate: &[u8]) -> bool {
    let inside = |value: Option<_>, kind| Attributes::inside(value?).find(kind);
    let verdict = inside(
        inside(Some(immediate), nf::IMMEDIATE_DATA),
        nf::DATA_VERDICT,
    );
    inside(verdict, nf::VERDICT_CODE).is_some_and(|code| {
        [nf::JUMP, nf::GOTO]
            .iter()
            .any(|to| code == to.to_be_bytes())
    })
}

/// A name without the zero that ends it; empty if it is none.
pub(super) fn text(value: &[u8]) -> &str {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(name).unwrap_or_default()
}

/// Names and values of a rule's expressions.
pub(super) fn expressions<'a>(rule: Attributes<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let all = rule.find(nf::RULE_EXPRESSIONS).unwrap_or_default();
    Attributes::inside(all).map(|(_, expression)| {
        let expression = Attributes::inside(expression);
        let name = expression.find(nf::EXPR_NAME).map(text).unwrap_or_default();
        (name, expression.find(nf::EXPR_DATA).unwrap_or_default())
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
        (u16::from_le_bytes([message, nf::SUBSYSTEM]), body)
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
            (nf::NEWRULE, nf::RULE_CHAIN),
            (nf::DELRULE, nf::RULE_CHAIN),
            (nf::NEWCHAIN, nf::CHAIN_NAME),
            (nf::DELCHAIN, nf::CHAIN_NAME),
        ] {
            let found = told(message, &[(nf::TABLE_NAME, "nat"), (name, "P")]);
            assert_eq!(found, expected("nat", Some("P")));
        }
        assert_eq!(
            told(nf::DELTABLE, &[(nf::TABLE_NAME, "nat")]),
            expected("nat", None)
        );
        let set_element = 12;
        assert_eq!(told(set_element, &[(nf::TABLE_NAME, "nat")]), None);
    }
}

//! A line of ours in a table of somebody else's: put there and taken away in one step.

use super::super::numbers::nf_tables as nf;
use super::expression::{self, Expression, Register};
use super::message;
use crate::netlink::{NLM_F_CREATE, Netlink, NetlinkError, Requests};

/// `nft` shows it as the rule's comment, and we know our lines by it.
pub(in crate::firewall) const COMMENT: &[u8] = b"postern\0";

/// Put it at the end, or behind the rule that is named.
const NLM_F_APPEND: u16 = 0x800;
/// What kind of data the comment is, as nft keeps it.
const UDATA_COMMENT: u8 = 0;

/// A chain of somebody's.
#[derive(Clone, Copy, Debug)]
pub(in crate::firewall) struct Chain<'a> {
    /// The kernel's number of the family (`NFPROTO_*`, linux/netfilter.h).
    pub(in crate::firewall) family: u8,
    pub(in crate::firewall) table: &'a str,
    pub(in crate::firewall) name: &'a str,
}

/// A line that accepts what carries a bit of the packet mark.
#[derive(Clone, Copy, Debug)]
pub(in crate::firewall) struct Line {
    pub(in crate::firewall) bit: u32,
    /// Before the rule with this handle, or at the end.
    pub(in crate::firewall) before: Option<u64>,
}

/// Takes these rules away and puts the line in, all of it or nothing.
pub(in crate::firewall) fn change(
    chain: Chain<'_>,
    obsolete: &[u64],
    line: Option<Line>,
) -> Result<(), NetlinkError> {
    let mut requests = Requests::default();
    message::begin_batch(&mut requests);
    for handle in obsolete {
        begin(&mut requests, chain, nf::DELRULE, 0);
        requests.attribute(nf::RULE_HANDLE, &handle.to_be_bytes());
        requests.end();
    }
    if let Some(line) = line {
        insert(&mut requests, chain, line);
    }
    message::end_batch(&mut requests);
    Netlink::open()?.transact(&mut requests)
}

fn begin(requests: &mut Requests, chain: Chain<'_>, message: u8, flags: u16) {
    requests.begin(nf::SUBSYSTEM, message, flags, chain.family);
    requests.text(nf::RULE_TABLE, chain.table);
    requests.text(nf::RULE_CHAIN, chain.name);
}

fn insert(requests: &mut Requests, chain: Chain<'_>, line: Line) {
    let flags = match line.before {
        Some(_) => NLM_F_CREATE,
        None => NLM_F_CREATE | NLM_F_APPEND,
    };
    begin(requests, chain, nf::NEWRULE, flags);
    if let Some(before) = line.before {
        requests.attribute(nf::RULE_POSITION, &before.to_be_bytes());
    }
    let (mark, bit) = (Register(0), line.bit.to_ne_bytes());
    let rule = [
        Expression::Meta(expression::Meta::Mark, mark),
        Expression::Bits {
            register: mark,
            len: 4,
            mask: bit,
            xor: [0; 4],
        },
        Expression::Is(mark, &bit),
        Expression::Verdict(expression::Verdict::Accept),
    ];
    let list = requests.nest(nf::RULE_EXPRESSIONS);
    for expression in &rule {
        let item = requests.nest(nf::LIST_ITEM);
        expression::write(requests, expression);
        requests.end_nest(item);
    }
    requests.end_nest(list);
    let mut comment = vec![
        UDATA_COMMENT,
        u8::try_from(COMMENT.len()).unwrap_or_default(),
    ];
    comment.extend_from_slice(COMMENT);
    requests.attribute(nf::RULE_USERDATA, &comment);
    requests.end();
}

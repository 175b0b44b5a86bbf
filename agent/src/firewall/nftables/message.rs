//! The messages of nf_tables: a batch that makes tables, chains, sets, rules and elements, and what
//! asks for them. Pure. Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.
//!
//! A batch is done whole or not at all. Its last message but the end asks for an answer, which is
//! the only one when all went well.

use super::expression::{self, Expression};
use crate::netlink::{NLM_F_CREATE, NLM_F_DUMP, Requests};

pub(super) const NFNL_SUBSYS_NFTABLES: u8 = 10;
/// What stands before the attributes of a message (`struct nfgenmsg`).
pub(super) const HEADER_LEN: usize = 4;
pub(super) const NFPROTO_INET: u8 = 1;

/// `NFNL_MSG_BATCH_BEGIN` and `_END`; the header names the subsystem that the batch is for.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_HEADER: [u8; 4] = [0, 0, 0, NFNL_SUBSYS_NFTABLES];

const MSG_NEWTABLE: u8 = 0;
const MSG_GETTABLE: u8 = 1;
const MSG_DELTABLE: u8 = 2;
const MSG_NEWCHAIN: u8 = 3;
const MSG_GETCHAIN: u8 = 4;
const MSG_NEWRULE: u8 = 6;
const MSG_GETRULE: u8 = 7;
const MSG_DELRULE: u8 = 8;
const MSG_NEWSET: u8 = 9;
pub(super) const MSG_NEWSETELEM: u8 = 12;
const MSG_GETSETELEM: u8 = 13;
pub(super) const MSG_DELSETELEM: u8 = 14;
const MSG_DESTROYSETELEM: u8 = 30;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;

pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
const HOOK_HOOKNUM: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const NF_ACCEPT: u32 = 1;

const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;

const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_DESC: u16 = 9;
const SET_ID: u16 = 10;
const SET_TIMEOUT: u16 = 11;
const SET_DESC_CONCAT: u16 = 2;
const SET_FIELD_LEN: u16 = 1;
const SET_FLAG_INTERVAL: u32 = 0x4;
const SET_FLAG_MAP: u32 = 0x8;
const SET_FLAG_TIMEOUT: u32 = 0x10;
/// Intervals of several fields, whose lengths the description must say.
const SET_FLAG_CONCAT: u32 = 0x80;

const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS: u16 = 3;
pub(super) const LIST_ITEM: u16 = 1;
pub(super) const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_TIMEOUT: u16 = 4;
pub(super) const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_USERDATA: u16 = 6;
pub(super) const ELEMENT_KEY_END: u16 = 10;
pub(super) const DATA_VALUE: u16 = 1;

/// Bits of a field's type in the type of several fields (nft's own numbers, for its listing).
const TYPE_BITS: u32 = 6;

/// What a field of a set's key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    Ipv4Addr,
    Ipv6Addr,
    InetProto,
    InetService,
}

/// A set to make. Its key's fields begin at multiples of four bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetSpec<'a> {
    pub(super) name: &'a str,
    pub(super) fields: &'a [Field],
    /// What its elements lead to; none for a set that is no map.
    pub(super) data: &'a [Field],
    /// Whether its elements span intervals.
    pub(super) is_interval: bool,
    /// Seconds after which an element that says nothing itself ends; `None` for elements that stay.
    pub(super) timeout_secs: Option<u32>,
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Base {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// Number of the hook (`enum nf_inet_hooks`).
    pub(super) hook: u32,
    pub(super) priority: i32,
}

/// One element: its key, the last one in a set of intervals, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Element {
    pub(super) first: Key,
    pub(super) last: Option<Key>,
    /// From now; `None` in a set without timeouts, and for an element to delete.
    pub(super) timeout_ms: Option<u64>,
}

/// An element that leads somewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LedElement {
    pub(super) element: Element,
    /// Where to, in a map.
    pub(super) data: Option<Key>,
    /// What is said of it.
    pub(super) note: Option<String>,
}

/// The bytes of a key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

/// Whether to add elements or to delete them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Add,
    Delete,
    /// Deletes what may not be there (Linux 6.3).
    Destroy,
}

// === impl Field ===

impl Field {
    const fn len(self) -> u32 {
        match self {
            Self::Ipv4Addr => 4,
            Self::Ipv6Addr => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
        }
    }

    /// nft's number for the type.
    const fn number(self) -> u32 {
        match self {
            Self::Ipv4Addr => 7,
            Self::Ipv6Addr => 8,
            Self::InetProto => 12,
            Self::InetService => 13,
        }
    }
}

// === impl Key ===

impl Key {
    /// Two IPv6 addresses, protocol and port.
    const LEN_MAX: usize = 40;

    /// These fields, each padded to four bytes. Fields beyond the longest key are left out.
    pub(super) fn of(fields: &[&[u8]]) -> Self {
        let mut key = Self {
            bytes: [0; Self::LEN_MAX],
            len: 0,
        };
        for field in fields {
            let end = key.len + field.len();
            if let Some(slot) = key.bytes.get_mut(key.len..end) {
                slot.copy_from_slice(field);
                key.len = end.next_multiple_of(4);
            }
        }
        key
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

// === Messages ===

/// Begins a batch in an empty buffer; [`end_batch`] must follow.
pub(super) fn begin_batch(requests: &mut Requests) {
    requests.begin_other(BATCH_BEGIN, 0, &BATCH_HEADER);
    requests.end();
}

pub(super) fn end_batch(requests: &mut Requests) {
    requests.ask_for_answer();
    requests.begin_other(BATCH_END, 0, &BATCH_HEADER);
    requests.end();
}

fn begin(requests: &mut Requests, message: u8, flags: u16) {
    requests.begin(NFNL_SUBSYS_NFTABLES, message, flags, NFPROTO_INET);
}

/// Makes a table, or takes over one that is nobody's.
pub(super) fn new_table(requests: &mut Requests, table: &str, flags: u32) {
    begin(requests, MSG_NEWTABLE, NLM_F_CREATE);
    requests.text(TABLE_NAME, table);
    requests.attribute(TABLE_FLAGS, &flags.to_be_bytes());
    requests.end();
}

pub(super) fn delete_table(requests: &mut Requests, table: &str) {
    begin(requests, MSG_DELTABLE, 0);
    requests.text(TABLE_NAME, table);
    requests.end();
}

/// Makes a chain, or finds it there.
pub(super) fn new_chain(requests: &mut Requests, table: &str, chain: &str, base: Option<Base>) {
    begin(requests, MSG_NEWCHAIN, NLM_F_CREATE);
    requests.text(CHAIN_TABLE, table);
    requests.text(CHAIN_NAME, chain);
    if let Some(base) = base {
        let hook = requests.nest(CHAIN_HOOK);
        requests.attribute(HOOK_HOOKNUM, &base.hook.to_be_bytes());
        requests.attribute(HOOK_PRIORITY, &base.priority.to_be_bytes());
        requests.end_nest(hook);
        requests.attribute(CHAIN_POLICY, &NF_ACCEPT.to_be_bytes());
        requests.text(CHAIN_TYPE, base.kind);
    }
    requests.end();
}

/// Deletes all rules of all chains of a table.
pub(super) fn delete_rules(requests: &mut Requests, table: &str) {
    begin(requests, MSG_DELRULE, 0);
    requests.text(RULE_TABLE, table);
    requests.end();
}

/// Appends a rule.
pub(super) fn new_rule(requests: &mut Requests, table: &str, chain: &str, rule: &[Expression<'_>]) {
    const NLM_F_APPEND: u16 = 0x800;
    begin(requests, MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    requests.text(RULE_TABLE, table);
    requests.text(RULE_CHAIN, chain);
    let list = requests.nest(RULE_EXPRESSIONS);
    for expression in rule {
        let item = requests.nest(LIST_ITEM);
        expression::write(requests, expression);
        requests.end_nest(item);
    }
    requests.end_nest(list);
    requests.end();
}

/// Makes a set, or finds it there. `id` tells it from the other new sets of the batch.
pub(super) fn new_set(requests: &mut Requests, table: &str, set: &SetSpec<'_>, id: u32) {
    let concat = set.is_interval && set.fields.len() > 1;
    let flags = [
        (set.is_interval, SET_FLAG_INTERVAL),
        (concat, SET_FLAG_CONCAT),
        (set.timeout_secs.is_some(), SET_FLAG_TIMEOUT),
        (!set.data.is_empty(), SET_FLAG_MAP),
    ];
    let flags = flags.iter().filter(|(is_set, _)| *is_set);
    let flags = flags.fold(0, |flags, (_, flag)| flags | flag);
    let types = |so_far: u32, field: &Field| so_far << TYPE_BITS | field.number();
    let lengths = set
        .fields
        .iter()
        .map(|field| field.len().next_multiple_of(4));
    begin(requests, MSG_NEWSET, NLM_F_CREATE);
    requests.text(SET_TABLE, table);
    requests.text(SET_NAME, set.name);
    requests.attribute(SET_FLAGS, &flags.to_be_bytes());
    let key_type = set.fields.iter().fold(0, types);
    requests.attribute(SET_KEY_TYPE, &key_type.to_be_bytes());
    requests.attribute(SET_KEY_LEN, &lengths.sum::<u32>().to_be_bytes());
    if !set.data.is_empty() {
        let data_type = set.data.iter().fold(0, types);
        requests.attribute(SET_DATA_TYPE, &data_type.to_be_bytes());
        requests.attribute(SET_DATA_LEN, &data_len(set.data).to_be_bytes());
    }
    requests.attribute(SET_ID, &id.to_be_bytes());
    if concat {
        describe(requests, set.fields);
    }
    if let Some(secs) = set.timeout_secs {
        let ms = u64::from(secs) * 1_000;
        requests.attribute(SET_TIMEOUT, &ms.to_be_bytes());
    }
    requests.end();
}

/// Which fields a key has. The kernel refuses that where it needs not know.
fn describe(requests: &mut Requests, fields: &[Field]) {
    let description = requests.nest(SET_DESC);
    let list = requests.nest(SET_DESC_CONCAT);
    for field in fields {
        let item = requests.nest(LIST_ITEM);
        requests.attribute(SET_FIELD_LEN, &field.len().to_be_bytes());
        requests.end_nest(item);
    }
    requests.end_nest(list);
    requests.end_nest(description);
}

/// Empties a set.
pub(super) fn flush_set(requests: &mut Requests, table: &str, set: &str) {
    begin(requests, MSG_DELSETELEM, 0);
    requests.text(ELEMENTS_TABLE, table);
    requests.text(ELEMENTS_SET, set);
    requests.end();
}

/// Adds or deletes elements; no message for none.
pub(super) fn change_elements(
    requests: &mut Requests,
    change: Change,
    table: &str,
    set: &str,
    elements: &[Element],
) {
    /// An attribute's length has 16 bits, and an element at most some 120 bytes.
    const ELEMENTS_PER_MESSAGE: usize = 500;
    let (message, flags) = match change {
        Change::Add => (MSG_NEWSETELEM, NLM_F_CREATE),
        Change::Delete => (MSG_DELSETELEM, 0),
        Change::Destroy => (MSG_DESTROYSETELEM, 0),
    };
    for elements in elements.chunks(ELEMENTS_PER_MESSAGE) {
        begin(requests, message, flags);
        requests.text(ELEMENTS_TABLE, table);
        requests.text(ELEMENTS_SET, set);
        let list = requests.nest(ELEMENTS);
        for element in elements {
            write_element(requests, element, change);
        }
        requests.end_nest(list);
        requests.end();
    }
}

fn write_element(requests: &mut Requests, element: &Element, change: Change) {
    let item = requests.nest(LIST_ITEM);
    write_key(requests, element, change);
    requests.end_nest(item);
}

fn write_key(requests: &mut Requests, element: &Element, change: Change) {
    let key = requests.nest(ELEMENT_KEY);
    requests.attribute(DATA_VALUE, element.first.bytes());
    requests.end_nest(key);
    if let Some(last) = &element.last {
        let end = requests.nest(ELEMENT_KEY_END);
        requests.attribute(DATA_VALUE, last.bytes());
        requests.end_nest(end);
    }
    if let (Change::Add, Some(ms)) = (change, element.timeout_ms) {
        requests.attribute(ELEMENT_TIMEOUT, &ms.to_be_bytes());
        // An element that is there already begins anew also where its timeout stays the same.
        requests.attribute(ELEMENT_EXPIRATION, &ms.to_be_bytes());
    }
}

/// How many bytes the data of a map's element has. Several fields begin at multiples of four.
pub(super) fn data_len(fields: &[Field]) -> u32 {
    match fields {
        [one] => one.len(),
        fields => fields
            .iter()
            .map(|field| field.len().next_multiple_of(4))
            .sum(),
    }
}

/// The same for one element that leads somewhere: its data, and what is said of it.
pub(super) fn change_led(
    requests: &mut Requests,
    change: Change,
    table: &str,
    set: &str,
    led: &LedElement,
    data_len: usize,
) {
    let (message, flags) = match change {
        Change::Add => (MSG_NEWSETELEM, NLM_F_CREATE),
        Change::Delete => (MSG_DELSETELEM, 0),
        Change::Destroy => (MSG_DESTROYSETELEM, 0),
    };
    begin(requests, message, flags);
    requests.text(ELEMENTS_TABLE, table);
    requests.text(ELEMENTS_SET, set);
    let list = requests.nest(ELEMENTS);
    let item = requests.nest(LIST_ITEM);
    write_key(requests, &led.element, change);
    if change == Change::Add {
        if let Some(data) = &led.data {
            let nest = requests.nest(ELEMENT_DATA);
            let bytes = data.bytes().get(..data_len).unwrap_or_default();
            requests.attribute(DATA_VALUE, bytes);
            requests.end_nest(nest);
        }
        if let Some(note) = &led.note {
            requests.attribute(ELEMENT_USERDATA, &comment(note));
        }
    }
    requests.end_nest(item);
    requests.end_nest(list);
    requests.end();
}

/// As nft writes a comment: type, length, the text and a zero.
fn comment(text: &str) -> Vec<u8> {
    const COMMENT: u8 = 0;
    /// What the kernel keeps of an element (`NFT_USERDATA_MAXLEN`), without type and length.
    const LEN_MAX: usize = 254;
    let text = text.bytes().take(LEN_MAX - 1);
    let mut value: Vec<u8> = vec![COMMENT, 0];
    value.extend(text.chain([0]));
    let len = u8::try_from(value.len() - 2).unwrap_or(u8::MAX);
    if let Some(slot) = value.get_mut(1) {
        *slot = len;
    }
    value
}

/// The text of a comment.
pub(super) fn comment_of(element: crate::netlink::Attributes<'_>) -> Option<&str> {
    let [_, len, text @ ..] = element.find(ELEMENT_USERDATA)? else {
        return None;
    };
    let text = text.get(..usize::from(*len))?.strip_suffix(&[0])?;
    std::str::from_utf8(text).ok()
}

/// Asks for a table.
pub(super) fn get_table(requests: &mut Requests, table: &str) {
    begin(requests, MSG_GETTABLE, 0);
    requests.text(TABLE_NAME, table);
    requests.end();
}

/// Asks for all chains of all tables of this family: the kernel does not choose.
pub(super) fn list_chains(requests: &mut Requests) {
    begin(requests, MSG_GETCHAIN, NLM_F_DUMP);
    requests.end();
}

/// Asks for all rules of a table.
pub(super) fn list_rules(requests: &mut Requests, table: &str) {
    begin(requests, MSG_GETRULE, NLM_F_DUMP);
    requests.text(RULE_TABLE, table);
    requests.end();
}

/// Asks for all elements of a set.
pub(super) fn list_elements(requests: &mut Requests, table: &str, set: &str) {
    begin(requests, MSG_GETSETELEM, NLM_F_DUMP);
    requests.text(ELEMENTS_TABLE, table);
    requests.text(ELEMENTS_SET, set);
    requests.end();
}

//! The messages of nf_tables: a batch that makes tables, chains, sets, rules and elements, and what
//! asks for them. Pure. Numbers: linux/netfilter/nf_tables.h, nfnetlink.h.
//!
//! A batch is done whole or not at all. Its last message but the end asks for an answer, which is
//! the only one when all went well.

use super::super::numbers::nf_tables as nf;
use super::expression::{self, Expression};
use crate::netlink::{NLM_F_CREATE, NLM_F_DUMP, Requests};

/// `NFNL_MSG_BATCH_BEGIN` and `_END`; the header names the subsystem that the batch is for.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_HEADER: [u8; 4] = [0, 0, 0, nf::SUBSYSTEM];

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
    requests.begin(nf::SUBSYSTEM, message, flags, nf::NFPROTO_INET);
}

/// Makes a table, or takes over one that is nobody's.
pub(super) fn new_table(requests: &mut Requests, table: &str, flags: u32) {
    begin(requests, nf::NEWTABLE, NLM_F_CREATE);
    requests.text(nf::TABLE_NAME, table);
    requests.attribute(nf::TABLE_FLAGS, &flags.to_be_bytes());
    requests.end();
}

pub(super) fn delete_table(requests: &mut Requests, table: &str) {
    begin(requests, nf::DELTABLE, 0);
    requests.text(nf::TABLE_NAME, table);
    requests.end();
}

/// Makes a chain, or finds it there.
pub(super) fn new_chain(requests: &mut Requests, table: &str, chain: &str, base: Option<Base>) {
    begin(requests, nf::NEWCHAIN, NLM_F_CREATE);
    requests.text(nf::CHAIN_TABLE, table);
    requests.text(nf::CHAIN_NAME, chain);
    if let Some(base) = base {
        let hook = requests.nest(nf::CHAIN_HOOK);
        requests.attribute(nf::HOOK_NUMBER, &base.hook.to_be_bytes());
        requests.attribute(nf::HOOK_PRIORITY, &base.priority.to_be_bytes());
        requests.end_nest(hook);
        requests.attribute(nf::CHAIN_POLICY, &nf::ACCEPT.to_be_bytes());
        requests.text(nf::CHAIN_TYPE, base.kind);
    }
    requests.end();
}

/// Deletes all rules of all chains of a table.
pub(super) fn delete_rules(requests: &mut Requests, table: &str) {
    begin(requests, nf::DELRULE, 0);
    requests.text(nf::RULE_TABLE, table);
    requests.end();
}

/// Appends a rule.
pub(super) fn new_rule(requests: &mut Requests, table: &str, chain: &str, rule: &[Expression<'_>]) {
    const NLM_F_APPEND: u16 = 0x800;
    begin(requests, nf::NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    requests.text(nf::RULE_TABLE, table);
    requests.text(nf::RULE_CHAIN, chain);
    let list = requests.nest(nf::RULE_EXPRESSIONS);
    for expression in rule {
        let item = requests.nest(nf::LIST_ITEM);
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
        (set.is_interval, nf::SET_FLAG_INTERVAL),
        (concat, nf::SET_FLAG_CONCAT),
        (set.timeout_secs.is_some(), nf::SET_FLAG_TIMEOUT),
        (!set.data.is_empty(), nf::SET_FLAG_MAP),
    ];
    let flags = flags.iter().filter(|(is_set, _)| *is_set);
    let flags = flags.fold(0, |flags, (_, flag)| flags | flag);
    let types = |so_far: u32, field: &Field| so_far << TYPE_BITS | field.number();
    let lengths = set
        .fields
        .iter()
        .map(|field| field.len().next_multiple_of(4));
    begin(requests, nf::NEWSET, NLM_F_CREATE);
    requests.text(nf::SET_TABLE, table);
    requests.text(nf::SET_NAME, set.name);
    requests.attribute(nf::SET_FLAGS, &flags.to_be_bytes());
    let key_type = set.fields.iter().fold(0, types);
    requests.attribute(nf::SET_KEY_TYPE, &key_type.to_be_bytes());
    requests.attribute(nf::SET_KEY_LEN, &lengths.sum::<u32>().to_be_bytes());
    if !set.data.is_empty() {
        let data_type = set.data.iter().fold(0, types);
        requests.attribute(nf::SET_DATA_TYPE, &data_type.to_be_bytes());
        requests.attribute(nf::SET_DATA_LEN, &data_len(set.data).to_be_bytes());
    }
    requests.attribute(nf::SET_ID, &id.to_be_bytes());
    if concat {
        describe(requests, set.fields);
    }
    if let Some(secs) = set.timeout_secs {
        let ms = u64::from(secs) * 1_000;
        requests.attribute(nf::SET_TIMEOUT, &ms.to_be_bytes());
    }
    requests.end();
}

/// Which fields a key has. The kernel refuses that where it needs not know.
fn describe(requests: &mut Requests, fields: &[Field]) {
    let description = requests.nest(nf::SET_DESC);
    let list = requests.nest(nf::SET_DESC_CONCAT);
    for field in fields {
        let item = requests.nest(nf::LIST_ITEM);
        requests.attribute(nf::SET_FIELD_LEN, &field.len().to_be_bytes());
        requests.end_nest(item);
    }
    requests.end_nest(list);
    requests.end_nest(description);
}

/// Empties a set.
pub(super) fn flush_set(requests: &mut Requests, table: &str, set: &str) {
    begin(requests, nf::DELSETELEM, 0);
    requests.text(nf::ELEMENTS_TABLE, table);
    requests.text(nf::ELEMENTS_SET, set);
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
        Change::Add => (nf::NEWSETELEM, NLM_F_CREATE),
        Change::Delete => (nf::DELSETELEM, 0),
        Change::Destroy => (nf::DESTROYSETELEM, 0),
    };
    for elements in elements.chunks(ELEMENTS_PER_MESSAGE) {
        begin(requests, message, flags);
        requests.text(nf::ELEMENTS_TABLE, table);
        requests.text(nf::ELEMENTS_SET, set);
        let list = requests.nest(nf::ELEMENTS);
        for element in elements {
            write_element(requests, element, change);
        }
        requests.end_nest(list);
        requests.end();
    }
}

fn write_element(requests: &mut Requests, element: &Element, change: Change) {
    let item = requests.nest(nf::LIST_ITEM);
    write_key(requests, element, change);
    requests.end_nest(item);
}

fn write_key(requests: &mut Requests, element: &Element, change: Change) {
    let key = requests.nest(nf::ELEMENT_KEY);
    requests.attribute(nf::DATA_VALUE, element.first.bytes());
    requests.end_nest(key);
    if let Some(last) = &element.last {
        let end = requests.nest(nf::ELEMENT_KEY_END);
        requests.attribute(nf::DATA_VALUE, last.bytes());
        requests.end_nest(end);
    }
    if let (Change::Add, Some(ms)) = (change, element.timeout_ms) {
        requests.attribute(nf::ELEMENT_TIMEOUT, &ms.to_be_bytes());
        // An element that is there already begins anew also where its timeout stays the same.
        requests.attribute(nf::ELEMENT_EXPIRATION, &ms.to_be_bytes());
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
        Change::Add => (nf::NEWSETELEM, NLM_F_CREATE),
        Change::Delete => (nf::DELSETELEM, 0),
        Change::Destroy => (nf::DESTROYSETELEM, 0),
    };
    begin(requests, message, flags);
    requests.text(nf::ELEMENTS_TABLE, table);
    requests.text(nf::ELEMENTS_SET, set);
    let list = requests.nest(nf::ELEMENTS);
    let item = requests.nest(nf::LIST_ITEM);
    write_key(requests, &led.element, change);
    if change == Change::Add {
        if let Some(data) = &led.data {
            let nest = requests.nest(nf::ELEMENT_DATA);
            let bytes = data.bytes().get(..data_len).unwrap_or_default();
            requests.attribute(nf::DATA_VALUE, bytes);
            requests.end_nest(nest);
        }
        if let Some(note) = &led.note {
            requests.attribute(nf::ELEMENT_USERDATA, &comment(note));
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
    let [_, len, text @ ..] = element.find(nf::ELEMENT_USERDATA)? else {
        return None;
    };
    let text = text.get(..usize::from(*len))?.strip_suffix(&[0])?;
    std::str::from_utf8(text).ok()
}

/// Asks for a table.
pub(super) fn get_table(requests: &mut Requests, table: &str) {
    begin(requests, nf::GETTABLE, 0);
    requests.text(nf::TABLE_NAME, table);
    requests.end();
}

/// Asks for all chains of all tables of this family: the kernel does not choose.
pub(super) fn list_chains(requests: &mut Requests) {
    begin(requests, nf::GETCHAIN, NLM_F_DUMP);
    requests.end();
}

/// Asks for all rules of a table.
pub(super) fn list_rules(requests: &mut Requests, table: &str) {
    begin(requests, nf::GETRULE, NLM_F_DUMP);
    requests.text(nf::RULE_TABLE, table);
    requests.end();
}

/// Asks for all elements of a set.
pub(super) fn list_elements(requests: &mut Requests, table: &str, set: &str) {
    begin(requests, nf::GETSETELEM, NLM_F_DUMP);
    requests.text(nf::ELEMENTS_TABLE, table);
    requests.text(nf::ELEMENTS_SET, set);
    requests.end();
}

//! The sets of ipset that the owner's rules name, as the kernel has them. Of their changes nobody
//! tells. Numbers: linux/netfilter/ipset/ip_set.h.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::family::Family;
use super::super::numbers::ipset as kernel;
use super::super::numbers::nf_tables as nf;
use super::matches::Asks;
use super::ruleset::{Ruleset, Step};
use super::sources::{Members, Sources, number, of_bytes};
use crate::netlink::{Attributes, NLM_F_ACK, NLM_F_DUMP, Netlink, Notice, Requests};

/// An exception in a set of networks.
const FLAG_NOMATCH: u32 = 4;
/// The version of the protocol that finds sets by number.
const PROTOCOL_BY_INDEX: u8 = 7;
/// Elements of one set that are read, at most.
const ELEMENTS_MAX: usize = 100_000;

/// Asks the kernel for every set that a rule names, and writes into the rules what is in it. A set
/// that is of another kind than addresses, or cannot be read, stays what cannot be told.
pub(super) fn resolve(ruleset: &mut Ruleset) {
    let mut known: HashMap<String, (String, Option<Arc<Members>>)> = HashMap::new();
    let mut netlink = None;
    let tables = ruleset.tables.iter_mut();
    let chains = tables.flat_map(|table| table.chains.values_mut());
    for rule in chains.flat_map(|chain| chain.rules.iter_mut()) {
        for step in &mut rule.steps {
            let Step::Match(asked) = step else { continue };
            let Asks::InSet { set, members, .. } = &mut asked.asks else {
                continue;
            };
            if netlink.is_none() {
                netlink = Netlink::open().ok();
            }
            let Some(netlink) = &mut netlink else { return };
            let found = known.entry(set.clone()).or_insert_with(|| {
                let name = name_of(netlink, set).unwrap_or_else(|| set.clone());
                let members = members_of(netlink, &name).map(Arc::new);
                (name, members)
            });
            (*set, *members) = found.clone();
            ruleset.has_ipsets = true;
        }
    }
}

/// The name of a set that is known by its number; itself, where that is the name.
fn name_of(netlink: &mut Netlink, set: &str) -> Option<String> {
    let index: u16 = set.strip_prefix('#')?.parse().ok()?;
    let mut requests = Requests::default();
    requests.begin(
        kernel::SUBSYSTEM,
        kernel::CMD_GET_BYINDEX,
        0,
        Family::V4.number(),
    );
    requests.attribute(kernel::ATTR_PROTOCOL, &[PROTOCOL_BY_INDEX]);
    requests.attribute_be(kernel::ATTR_INDEX, &index.to_be_bytes());
    requests.end();
    let mut name = None;
    let mut each = |notice: Notice<'_>| {
        let said = notice.attributes(nf::HEADER_LEN).find(kernel::ATTR_SETNAME);
        name = said.map(super::decode::text).map(str::to_owned);
        ControlFlow::Break(())
    };
    let asked = netlink.list(&mut requests, &mut each);
    asked.ok().and(name)
}

fn members_of(netlink: &mut Netlink, set: &str) -> Option<Members> {
    let mut requests = Requests::default();
    requests.begin(
        kernel::SUBSYSTEM,
        kernel::CMD_LIST,
        NLM_F_ACK | NLM_F_DUMP,
        Family::V4.number(),
    );
    requests.attribute(kernel::ATTR_PROTOCOL, &[kernel::PROTOCOL]);
    requests.text(kernel::ATTR_SETNAME, set);
    requests.end();
    let mut members = Members::default();
    let (mut is_of_addresses, mut count) = (false, 0);
    let mut each = |message: Attributes<'_>| {
        if let Some(kind) = message.find(kernel::ATTR_TYPENAME).map(super::decode::text) {
            let created = Attributes::inside(message.find(kernel::ATTR_DATA).unwrap_or_default());
            is_of_addresses |= matches!(kind, "hash:ip" | "hash:net" | "bitmap:ip")
                && created.find(kernel::ATTR_NETMASK).is_none();
        }
        let list = message.find(kernel::ATTR_ADT).unwrap_or_default();
        for (_, element) in Attributes::inside(list).filter(|(kind, _)| *kind == kernel::ATTR_DATA)
        {
            count += 1;
            let element = element_of(Attributes::inside(element));
            match element.filter(|_| count <= ELEMENTS_MAX) {
                Some((Family::V4, sources)) => members.v4.add(&sources),
                Some((Family::V6, sources)) => members.v6.add(&sources),
                None => members.is_partial = true,
            }
        }
    };
    netlink.dump(&mut requests, &mut each).ok()?;
    is_of_addresses.then_some(members)
}

/// Takes a message for an element.
pub(super) fn read_hostile(message: Attributes<'_>) {
    let _ = element_of(message);
}

/// The addresses of an element; `None` for an exception, and what is not understood.
fn element_of(element: Attributes<'_>) -> Option<(Family, Sources)> {
    let flags = element
        .find(kernel::ATTR_FLAGS)
        .and_then(super::decode::be32);
    if flags.unwrap_or_default() & FLAG_NOMATCH != 0 {
        return None;
    }
    let address = |kind| {
        let said = Attributes::inside(element.find(kind)?);
        let bytes = said.find(kernel::ATTR_IPADDR_IPV4);
        of_bytes(bytes.or_else(|| said.find(kernel::ATTR_IPADDR_IPV6))?)
    };
    let first: IpAddr = address(kernel::ATTR_IP)?;
    let family = Family::of(first);
    if let Some(last) = address(kernel::ATTR_IP_TO) {
        return Some((family, Sources::range(number(first).0, number(last).0)));
    }
    let prefix_len = element
        .find(kernel::ATTR_CIDR)
        .and_then(|cidr| cidr.first());
    let prefix_len = prefix_len.copied().unwrap_or(128);
    Some((family, Sources::network(first, prefix_len)))
}

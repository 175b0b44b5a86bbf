//! Reads what the kernel's packet filter holds, over netlink. Numbers: linux/netfilter/nf_tables.h.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::super::FirewallError;
use super::super::numbers::nf_tables as nf;
use super::decode::{self, be32, be64, text};
use super::ruleset::{Base, Chain, Element, Hook, Ruleset, Set, Table, TableFamily};
use crate::netlink::{Attributes, NLM_F_DUMP, Netlink, Notice, Requests};

/// Flags.
const TABLE_IS_OWNED: u32 = 2;
const ELEM_ENDS_INTERVAL: u32 = 1;
const ELEM_IS_CATCHALL: u32 = 2;
/// Elements of one set that are read, at most: some megabytes.
const ELEMENTS_MAX: usize = 100_000;
/// How often it is tried again when somebody changes something meanwhile.
const ATTEMPTS: u32 = 3;

/// Names of what is our own, and is not looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ours {
    /// A table of nf_tables, of the family inet.
    pub(super) table: String,
    /// Chains of iptables.
    pub(super) chains: Vec<String>,
}

/// Asks the kernel.
#[derive(Debug)]
pub(super) struct Reader {
    netlink: Netlink,
    requests: Requests,
}

/// What is to be dumped: of a family (0 for all), a table, a set.
#[derive(Clone, Copy, Debug, Default)]
struct Of<'a> {
    family: u8,
    table: &'a str,
    set: &'a str,
}

// === impl Reader ===

impl Reader {
    pub(super) fn open() -> Result<Self, FirewallError> {
        let netlink = Netlink::open().map_err(|cause| failed("look at the rules", &cause))?;
        Ok(Self {
            netlink,
            requests: Requests::default(),
        })
    }

    /// The number of the ruleset: another one after every change. `None` where the kernel has no
    /// nf_tables.
    pub(super) fn generation(&mut self) -> Option<u32> {
        self.requests.clear();
        self.requests.begin(nf::SUBSYSTEM, nf::GETGEN, 0, 0);
        self.requests.end();
        let mut generation = None;
        let mut each = |notice: Notice<'_>| {
            generation = notice
                .attributes(nf::HEADER_LEN)
                .find(nf::GEN_ID)
                .and_then(be32);
            ControlFlow::Break(())
        };
        let asked = self.netlink.list(&mut self.requests, &mut each);
        asked.ok().and(generation)
    }

    /// Everything that decides over packets to this host or through it, as it stands at one moment
    /// (if nobody changes it again and again).
    pub(super) fn ruleset(&mut self, ours: &Ours) -> Result<Ruleset, FirewallError> {
        let mut before = self.generation();
        if before.is_none() {
            return Ok(Ruleset::default());
        }
        let mut attempts = ATTEMPTS;
        loop {
            let ruleset = self.read(ours);
            let after = self.generation();
            attempts -= 1;
            if before == after || attempts == 0 {
                return ruleset;
            }
            before = after;
        }
    }

    fn read(&mut self, ours: &Ours) -> Result<Ruleset, FirewallError> {
        let mut ruleset = Ruleset::default();
        self.tables(&mut ruleset, ours)?;
        self.content(&mut ruleset, ours, Of::default())?;
        Ok(ruleset)
    }

    /// The same of one table alone.
    pub(super) fn table(
        &mut self,
        ours: &Ours,
        family: TableFamily,
        name: &str,
    ) -> Result<Ruleset, FirewallError> {
        let mut ruleset = Ruleset::default();
        self.tables(&mut ruleset, ours)?;
        let is_it = |table: &Table| table.family == family && table.name == name;
        ruleset.tables.retain(is_it);
        let of = Of {
            family: family.number(),
            table: name,
            set: "",
        };
        if !ruleset.tables.is_empty() {
            self.content(&mut ruleset, ours, of)?;
        }
        Ok(ruleset)
    }

    /// Everything in the tables that are known.
    fn content(
        &mut self,
        ruleset: &mut Ruleset,
        ours: &Ours,
        of: Of<'_>,
    ) -> Result<(), FirewallError> {
        self.chains(ruleset)?;
        self.rules(ruleset, ours, of)?;
        self.sets(ruleset, of)
    }

    fn tables(&mut self, ruleset: &mut Ruleset, ours: &Ours) -> Result<(), FirewallError> {
        self.dump(nf::GETTABLE, Of::default(), &mut |family, said| {
            let name = said.find(nf::TABLE_NAME).map(text).unwrap_or_default();
            let flags = said
                .find(nf::TABLE_FLAGS)
                .and_then(be32)
                .unwrap_or_default();
            let Some(family) = family_of(family) else {
                return;
            };
            if (family, name) != (TableFamily::Inet, ours.table.as_str()) {
                ruleset.tables.push(Table {
                    family,
                    name: name.to_owned(),
                    is_owned: flags & TABLE_IS_OWNED != 0,
                    is_legacy: false,
                    chains: HashMap::new(),
                    sets: HashMap::new(),
                });
            }
        })
    }

    fn chains(&mut self, ruleset: &mut Ruleset) -> Result<(), FirewallError> {
        self.dump(nf::GETCHAIN, Of::default(), &mut |family, said| {
            if let Some(table) = table_of(ruleset, family, said) {
                let name = said.find(nf::CHAIN_NAME).map(text).unwrap_or_default();
                let chain = Chain {
                    base: base(family, said),
                    devices: devices(said),
                    rules: Vec::new(),
                };
                table.chains.insert(name.to_owned(), chain);
            }
        })
    }

    fn rules(
        &mut self,
        ruleset: &mut Ruleset,
        ours: &Ours,
        of: Of<'_>,
    ) -> Result<(), FirewallError> {
        self.dump(nf::GETRULE, of, &mut |family, said| {
            let chain = said.find(nf::RULE_CHAIN).map(text).unwrap_or_default();
            if ours.chains.iter().any(|own| own == chain) {
                return;
            }
            let table = table_of(ruleset, family, said);
            if let Some(chain) = table.and_then(|table| table.chains.get_mut(chain)) {
                chain.rules.push(decode::rule(said));
            }
        })
    }

    fn sets(&mut self, ruleset: &mut Ruleset, of: Of<'_>) -> Result<(), FirewallError> {
        let mut found = Vec::new();
        self.dump(nf::GETSET, of, &mut |family, said| {
            if let Some(table) = table_of(ruleset, family, said) {
                let name = said.find(nf::SET_NAME).map(text).unwrap_or_default();
                let flags = said.find(nf::SET_FLAGS).and_then(be32).unwrap_or_default();
                let is_interval = flags & nf::SET_FLAG_INTERVAL != 0;
                found.push((family, table.name.clone(), name.to_owned(), is_interval));
                let set = Set {
                    fields: fields(said),
                    ..Set::default()
                };
                table.sets.insert(name.to_owned(), set);
            }
        })?;
        let mut soonest: Option<Duration> = None;
        for (family, table, name, is_interval) in found {
            let of = Of {
                family,
                table: &table,
                set: &name,
            };
            let mut read = Vec::new();
            self.dump(nf::GETSETELEM, of, &mut |_, said| {
                let list = said.find(nf::ELEMENTS).unwrap_or_default();
                let room = ELEMENTS_MAX.saturating_sub(read.len());
                let elements = Attributes::inside(list).map(|(_, one)| element(one));
                read.extend(elements.take(room));
            })?;
            let ends = read.iter().filter_map(|element| element.expires_in).min();
            soonest = soonest.into_iter().chain(ends).min();
            let family = family_of(family);
            let mut tables = ruleset.tables.iter_mut();
            let table = tables.find(|own| Some(own.family) == family && own.name == table);
            if let Some(set) = table.and_then(|table| table.sets.get_mut(&name)) {
                set.is_partial = read.len() == ELEMENTS_MAX;
                fill(set, read, is_interval);
            }
        }
        ruleset.changes_in = soonest;
        Ok(())
    }

    fn dump(
        &mut self,
        message: u8,
        of: Of<'_>,
        each: &mut dyn FnMut(u8, Attributes<'_>),
    ) -> Result<(), FirewallError> {
        self.requests.clear();
        self.requests
            .begin(nf::SUBSYSTEM, message, NLM_F_DUMP, of.family);
        if !of.table.is_empty() {
            self.requests.text(nf::TABLE_NAME, of.table);
        }
        if !of.set.is_empty() {
            self.requests.text(nf::SET_NAME, of.set);
        }
        self.requests.end();
        let mut one = |notice: Notice<'_>| {
            let family = notice.body.first().copied().unwrap_or_default();
            each(family, notice.attributes(nf::HEADER_LEN));
            ControlFlow::Continue(())
        };
        self.netlink
            .list(&mut self.requests, &mut one)
            .map_err(|cause| failed("look at the rules", &cause))
    }
}

fn failed(doing: &'static str, cause: &dyn std::error::Error) -> FirewallError {
    FirewallError::Netlink {
        doing: doing.into(),
        reason: cause.to_string(),
    }
}

const fn family_of(number: u8) -> Option<TableFamily> {
    match number {
        nf::NFPROTO_INET => Some(TableFamily::Inet),
        nf::NFPROTO_IPV4 => Some(TableFamily::Ip),
        nf::NFPROTO_IPV6 => Some(TableFamily::Ip6),
        nf::NFPROTO_NETDEV => Some(TableFamily::Netdev),
        _ => None,
    }
}

/// The table that a message names.
fn table_of<'r>(
    ruleset: &'r mut Ruleset,
    family: u8,
    said: Attributes<'_>,
) -> Option<&'r mut Table> {
    let (family, name) = (family_of(family)?, said.find(nf::TABLE_NAME).map(text)?);
    let mut tables = ruleset.tables.iter_mut();
    tables.find(|table| table.family == family && table.name == name)
}

/// Where a chain hangs; `None` where nothing on the way to this host or through it passes.
fn base(family: u8, said: Attributes<'_>) -> Option<Base> {
    let hook = Attributes::inside(said.find(nf::CHAIN_HOOK)?);
    let number = be32(hook.find(nf::HOOK_NUMBER)?)?;
    let policy = said.find(nf::CHAIN_POLICY).and_then(be32);
    Some(Base {
        // `NF_NETDEV_INGRESS` and `NF_INET_` of linux/netfilter.h.
        hook: match (family, number) {
            (nf::NFPROTO_NETDEV, 0) | (nf::NFPROTO_INET, 5) => Hook::Ingress,
            (nf::NFPROTO_NETDEV, _) => return None,
            (_, 0) => Hook::Prerouting,
            (_, 1) => Hook::Input,
            (_, 2) => Hook::Forward,
            (_, 3) => Hook::Output,
            _ => return None,
        },
        priority: be32(hook.find(nf::HOOK_PRIORITY)?)?.cast_signed(),
        is_nat: said.find(nf::CHAIN_TYPE).map(text) == Some("nat"),
        // `NF_DROP`
        drops: policy == Some(0),
    })
}

/// The interfaces of a chain at ingress.
fn devices(said: Attributes<'_>) -> Vec<String> {
    let hook = Attributes::inside(said.find(nf::CHAIN_HOOK).unwrap_or_default());
    let many = Attributes::inside(hook.find(nf::HOOK_DEVICES).unwrap_or_default());
    let all = hook
        .find(nf::HOOK_DEVICE)
        .into_iter()
        .chain(many.map(|(_, name)| name));
    let mut names: Vec<String> = all.map(|name| text(name).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn fields(said: Attributes<'_>) -> Vec<usize> {
    let number = |value: &[u8]| usize::try_from(be32(value)?).ok();
    let inside = |value| Attributes::inside(value);
    let concat = said
        .find(nf::SET_DESC)
        .and_then(|desc| inside(desc).find(nf::SET_DESC_CONCAT));
    let lens = concat.into_iter().flat_map(inside);
    let lens: Vec<usize> = lens
        .filter_map(|(_, field)| number(inside(field).find(nf::SET_FIELD_LEN)?))
        .collect();
    if lens.is_empty() {
        let len = said.find(nf::SET_KEY_LEN).and_then(number);
        return vec![len.unwrap_or_default()];
    }
    lens
}

/// An element as it is dumped.
#[derive(Clone, Debug, Default)]
struct Dumped {
    key: Vec<u8>,
    end: Option<Vec<u8>>,
    flags: u32,
    verdict: Option<super::ruleset::Verdict>,
    expires_in: Option<Duration>,
}

fn element(said: &[u8]) -> Dumped {
    let said = Attributes::inside(said);
    let key = |kind| said.find(kind).and_then(decode::value).map(<[u8]>::to_vec);
    Dumped {
        key: key(nf::ELEMENT_KEY).unwrap_or_default(),
        end: key(nf::ELEMENT_KEY_END),
        flags: said
            .find(nf::ELEMENT_FLAGS)
            .and_then(be32)
            .unwrap_or_default(),
        verdict: said.find(nf::ELEMENT_DATA).and_then(decode::verdict),
        expires_in: said
            .find(nf::ELEMENT_EXPIRATION)
            .and_then(be64)
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis),
    }
}

/// Puts the elements into a set. Intervals of one field come as where they begin and where the next
/// thing begins.
fn fill(set: &mut Set, read: Vec<Dumped>, is_interval: bool) {
    let (otherwise, mut read): (Vec<_>, Vec<_>) = read
        .into_iter()
        .partition(|element| element.flags & ELEM_IS_CATCHALL != 0);
    set.otherwise = otherwise.into_iter().next().map(|element| Element {
        verdict: element.verdict,
        ..Element::default()
    });
    let is_halves = is_interval && read.iter().all(|element| element.end.is_none());
    if !is_halves {
        let elements = read.into_iter().map(|element| Element {
            high: element.end.unwrap_or_else(|| element.key.clone()),
            low: element.key,
            verdict: element.verdict,
        });
        set.elements = elements.collect();
        return;
    }
    // Where one ends and the next begins, the end comes first.
    let begins = |element: &Dumped| element.flags & ELEM_ENDS_INTERVAL == 0;
    read.sort_by(|a, b| (&a.key, begins(a)).cmp(&(&b.key, begins(b))));
    let mut begins = read.iter().peekable();
    while let Some(begin) = begins.next() {
        if begin.flags & ELEM_ENDS_INTERVAL != 0 {
            continue;
        }
        let high = match begins.peek() {
            Some(next) => less_one(&next.key),
            None => vec![u8::MAX; begin.key.len()],
        };
        set.elements.push(Element {
            low: begin.key.clone(),
            high,
            verdict: begin.verdict.clone(),
        });
    }
}

/// The number before this one.
fn less_one(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}

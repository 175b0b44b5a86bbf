//! Our table in the kernel: changed through one socket, read through others.
//!
//! A table that has an owner belongs to a socket, not to a process: only through it can the table be
//! changed, and nobody else's flush touches it. So both halves of the back end share that socket.
//! What is long (listing) goes another way; a change holds it for as long as the kernel takes, which
//! lets only one change in at a time anyway.

use std::io;
use std::ops::ControlFlow;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::super::FirewallError;
pub(super) use super::super::changes::text;
use super::super::numbers::nf_tables as nf;
use super::element::{self, Listed};
use super::message::{self};
use crate::netlink::{Attributes, Netlink, NetlinkError, Notice, Requests};

/// `NFT_TABLE_F_OWNER` and `NFT_TABLE_F_PERSIST` (linux/netfilter/nf_tables.h, Linux 6.9). The first
/// alone would take the table away with the process, and open what it hid.
pub(super) const OWNER: u32 = 0x2;
const PERSIST: u32 = 0x4;

pub(super) const ENOENT: i32 = 2;

/// Whether nobody else may touch the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ownership {
    /// It is ours alone, and stays when we go.
    Ours,
    /// Anybody may change it, as with kernels before 6.9.
    Anybodys,
}

/// The table, as it is changed.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) ownership: Ownership,
    /// The number of the socket, by which the kernel names who changed something.
    pub(super) port: u32,
    socket: Mutex<Netlink>,
}

/// Asks about our table.
#[derive(Debug)]
pub(super) struct Reader {
    table: String,
    netlink: Netlink,
    requests: Requests,
}

/// What the kernel says of a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) flags: u32,
}

/// What hooks, chains and rules a table has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TableDigest([u8; 32]);

// === impl Ownership ===

impl Ownership {
    /// What a table's flags say.
    pub(super) const fn of(flags: u32) -> Self {
        if flags & OWNER == 0 {
            Self::Anybodys
        } else {
            Self::Ours
        }
    }

    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Ours => OWNER | PERSIST,
            Self::Anybodys => 0,
        }
    }
}

// === impl Table ===

impl Table {
    /// Opens the socket, in the network namespace of the calling thread. Makes no table.
    pub(super) fn connect(name: String, ownership: Ownership) -> Result<Self, FirewallError> {
        let netlink = connect()?;
        Ok(Self {
            name,
            ownership,
            port: netlink.port(),
            socket: Mutex::new(netlink),
        })
    }

    /// Does a batch, whole or not at all.
    pub(super) fn transact(&self, requests: &mut Requests) -> Result<(), NetlinkError> {
        self.socket.lock().transact(requests)
    }

    /// The same, with the words for people when it fails.
    pub(super) fn change(
        &self,
        requests: &mut Requests,
        doing: &'static str,
    ) -> Result<(), FirewallError> {
        self.transact(requests)
            .map_err(|cause| refused(doing, &self.name, &cause))
    }

    /// Makes the table, or takes it over.
    pub(super) fn claim(&self, requests: &mut Requests) {
        message::new_table(requests, &self.name, self.ownership.flags());
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn connect(table: &str) -> Result<Self, FirewallError> {
        Ok(Self {
            table: table.to_owned(),
            netlink: connect()?,
            requests: Requests::default(),
        })
    }

    /// `None` when there is no such table.
    pub(super) fn table(&mut self) -> Result<Option<Found>, FirewallError> {
        self.requests.clear();
        message::get_table(&mut self.requests, &self.table);
        let mut found = None;
        // Not a list: one answer, and no end is said.
        let asked = self.netlink.list(&mut self.requests, &mut |answer| {
            let flags = answer.attributes(nf::HEADER_LEN).find(nf::TABLE_FLAGS);
            let flags = flags.and_then(|flags| flags.try_into().ok());
            found = flags.map(|flags| Found {
                flags: u32::from_be_bytes(flags),
            });
            ControlFlow::Break(())
        });
        match asked {
            Err(NetlinkError::Kernel(errno)) if errno.code == ENOENT => Ok(None),
            other => other
                .map(|()| found)
                .map_err(|cause| refused("look for", &self.table, &cause)),
        }
    }

    /// All elements of a set; `false` when there is no such set.
    pub(super) fn elements(
        &mut self,
        set: &str,
        each: &mut dyn FnMut(Listed<'_>),
    ) -> Result<bool, FirewallError> {
        self.requests.clear();
        message::list_elements(&mut self.requests, &self.table, set);
        let listed = self.netlink.dump(&mut self.requests, &mut |message| {
            element::listed(message, &mut *each);
        });
        match listed {
            Err(NetlinkError::Kernel(errno)) if errno.code == ENOENT => Ok(false),
            other => other
                .map(|()| true)
                .map_err(|cause| refused("list a set of", &self.table, &cause)),
        }
    }

    /// What the table holds beside elements, without what changes by itself.
    pub(super) fn digest(&mut self) -> Result<TableDigest, FirewallError> {
        let mut sum = Sha256::new();
        self.requests.clear();
        message::list_chains(&mut self.requests);
        let table = &self.table;
        let chains = self.netlink.list(&mut self.requests, &mut |chain| {
            add_chain(&mut sum, chain, table);
            ControlFlow::Continue(())
        });
        chains.map_err(|cause| refused("list the chains of", table, &cause))?;
        self.requests.clear();
        message::list_rules(&mut self.requests, table);
        let rules = self.netlink.list(&mut self.requests, &mut |rule| {
            add(
                &mut sum,
                rule.attributes(nf::HEADER_LEN),
                &[nf::RULE_CHAIN, nf::RULE_EXPRESSIONS],
            );
            ControlFlow::Continue(())
        });
        rules.map_err(|cause| refused("list the rules of", table, &cause))?;
        Ok(TableDigest(sum.finalize().into()))
    }
}

fn add_chain(sum: &mut Sha256, chain: Notice<'_>, table: &str) {
    let chain = chain.attributes(nf::HEADER_LEN);
    if chain.find(nf::CHAIN_TABLE).map(text) == Some(table) {
        add(
            sum,
            chain,
            &[
                nf::CHAIN_NAME,
                nf::CHAIN_HOOK,
                nf::CHAIN_POLICY,
                nf::CHAIN_TYPE,
            ],
        );
    }
}

fn add(sum: &mut Sha256, from: Attributes<'_>, kinds: &[u16]) {
    for kind in kinds {
        let value = from.find(*kind).unwrap_or_default();
        sum.update((value.len() as u64).to_le_bytes());
        sum.update(value);
    }
}

pub(super) fn connect() -> Result<Netlink, FirewallError> {
    Netlink::open().map_err(|cause| FirewallError::Netlink {
        doing: "open a socket".into(),
        reason: cause.to_string(),
    })
}

pub(super) fn refused(doing: &'static str, table: &str, cause: &NetlinkError) -> FirewallError {
    FirewallError::Set {
        doing: doing.into(),
        set: format!("table inet {table}"),
        reason: reason(cause),
    }
}

/// What the kernel's error numbers mean for tables (errno.h).
pub(super) fn reason(cause: &NetlinkError) -> String {
    match cause {
        NetlinkError::Kernel(errno) => match errno.code {
            1 => "not permitted (root or CAP_NET_ADMIN is needed), or another program owns it"
                .to_owned(),
            ENOENT => "it, or something in it, is not there".to_owned(),
            code @ (22 | 95) => format!(
                "this kernel's nf_tables lacks what it takes (error {code}, message {})",
                errno.request
            ),
            code => io::Error::from_raw_os_error(code).to_string(),
        },
        NetlinkError::Io(cause) => cause.to_string(),
        NetlinkError::Truncated(cause) => cause.to_string(),
    }
}

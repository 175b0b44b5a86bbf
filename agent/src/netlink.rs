//! Netlink, as much of it as is needed: the kernel's sets, the host's addresses and interfaces, and
//! notices of what others change.
//!
//! | file | what it holds |
//! |---|---|
//! | `request` | messages under construction, many in one reused buffer |
//! | `reply` | the kernel's bytes taken apart; pure, and safe for any bytes |
//! | `socket` | sending a batch in one system call and reading what comes back |
//! | `notices` | hearing what the kernel tells without being asked |
//!
//! Written by hand on a plain socket because the gate thread reuses one buffer for every request,
//! and because no crate speaks the ipset subsystem. What the messages of one subsystem mean stands
//! where it is used, never here. Layouts: linux/netlink.h, linux/netfilter/nfnetlink.h.

mod notices;
mod reply;
mod request;
mod socket;

pub(crate) use notices::{Heard, Listener};
pub(crate) use reply::{Attributes, Datagram, Notice};
pub(crate) use request::{Nest, Requests};
pub(crate) use socket::{Netlink, NetlinkError};

/// Ask for an answer to this request even if all went well.
pub(crate) const NLM_F_ACK: u16 = 0x4;
/// List everything that matches.
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// Make what is not there yet.
pub(crate) const NLM_F_CREATE: u16 = 0x400;

/// Do not touch what is there.
pub(crate) const NLM_F_EXCL: u16 = 0x200;

/// What every request says of itself.
const NLM_F_REQUEST: u16 = 0x1;

/// Flags of an attribute's type.
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_F_NET_BYTEORDER: u16 = 1 << 14;
const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);

/// Length, type, flags, sequence number and port of a message (`struct nlmsghdr`).
const HEADER_LEN: usize = 16;
/// Family, version and resource of a netfilter message (`struct nfgenmsg`).
const NFGEN_LEN: usize = 4;
/// Length and type of an attribute (`struct nlattr`).
const ATTRIBUTE_LEN: usize = 4;
/// Messages and attributes begin at multiples of this.
const ALIGN: usize = 4;

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let value = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(value.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let value = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

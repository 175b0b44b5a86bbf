//! Numbers of the kernel's ipset: linux/netfilter/ipset/ip_set.h.

/// Its subsystem (linux/netfilter/nfnetlink.h).
pub(in crate::firewall) const SUBSYSTEM: u8 = 6;

// Messages.
pub(in crate::firewall) const CMD_CREATE: u8 = 2;
pub(in crate::firewall) const CMD_DESTROY: u8 = 3;
pub(in crate::firewall) const CMD_FLUSH: u8 = 4;
pub(in crate::firewall) const CMD_LIST: u8 = 7;
pub(in crate::firewall) const CMD_ADD: u8 = 9;
pub(in crate::firewall) const CMD_DEL: u8 = 10;
pub(in crate::firewall) const CMD_HEADER: u8 = 12;
pub(in crate::firewall) const CMD_GET_BYINDEX: u8 = 15;

// Attributes of messages.
pub(in crate::firewall) const ATTR_PROTOCOL: u16 = 1;
pub(in crate::firewall) const ATTR_SETNAME: u16 = 2;
pub(in crate::firewall) const ATTR_TYPENAME: u16 = 3;
pub(in crate::firewall) const ATTR_REVISION: u16 = 4;
pub(in crate::firewall) const ATTR_FAMILY: u16 = 5;
pub(in crate::firewall) const ATTR_DATA: u16 = 7;
pub(in crate::firewall) const ATTR_ADT: u16 = 8;
pub(in crate::firewall) const ATTR_LINENO: u16 = 9;
pub(in crate::firewall) const ATTR_INDEX: u16 = 11;

// Attributes of elements, and of what makes a set.
pub(in crate::firewall) const ATTR_IP: u16 = 1;
pub(in crate::firewall) const ATTR_IP_TO: u16 = 2;
pub(in crate::firewall) const ATTR_CIDR: u16 = 3;
pub(in crate::firewall) const ATTR_PORT: u16 = 4;
pub(in crate::firewall) const ATTR_PORT_TO: u16 = 5;
pub(in crate::firewall) const ATTR_TIMEOUT: u16 = 6;
pub(in crate::firewall) const ATTR_PROTO: u16 = 7;
pub(in crate::firewall) const ATTR_FLAGS: u16 = 8;
pub(in crate::firewall) const ATTR_MAXELEM: u16 = 19;
pub(in crate::firewall) const ATTR_NETMASK: u16 = 20;
pub(in crate::firewall) const ATTR_IPADDR_IPV4: u16 = 1;
pub(in crate::firewall) const ATTR_IPADDR_IPV6: u16 = 2;

/// The version of the protocol that every kernel since 2.6.39 speaks.
pub(in crate::firewall) const PROTOCOL: u8 = 6;

/// A set that is full makes room for what is added (`IPSET_FLAG_WITH_FORCEADD`).
pub(in crate::firewall) const WITH_FORCEADD: u32 = 1 << 5;

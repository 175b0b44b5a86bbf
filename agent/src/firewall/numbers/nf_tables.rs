//! Numbers of the kernel's nf_tables: linux/netfilter/nf_tables.h.

// Its subsystem and the group of what it tells (linux/netfilter/nfnetlink.h).
pub(in crate::firewall) const SUBSYSTEM: u8 = 10;
pub(in crate::firewall) const GROUP: u32 = 7;

/// What stands before the attributes of a message (`struct nfgenmsg`).
pub(in crate::firewall) const HEADER_LEN: usize = 4;

// Messages.
pub(in crate::firewall) const NEWTABLE: u8 = 0;
pub(in crate::firewall) const GETTABLE: u8 = 1;
pub(in crate::firewall) const DELTABLE: u8 = 2;
pub(in crate::firewall) const NEWCHAIN: u8 = 3;
pub(in crate::firewall) const GETCHAIN: u8 = 4;
pub(in crate::firewall) const DELCHAIN: u8 = 5;
pub(in crate::firewall) const NEWRULE: u8 = 6;
pub(in crate::firewall) const GETRULE: u8 = 7;
pub(in crate::firewall) const DELRULE: u8 = 8;
pub(in crate::firewall) const NEWSET: u8 = 9;
pub(in crate::firewall) const GETSET: u8 = 10;
pub(in crate::firewall) const NEWSETELEM: u8 = 12;
pub(in crate::firewall) const GETSETELEM: u8 = 13;
pub(in crate::firewall) const DELSETELEM: u8 = 14;
pub(in crate::firewall) const NEWGEN: u8 = 15;
pub(in crate::firewall) const GETGEN: u8 = 16;
pub(in crate::firewall) const DESTROYSETELEM: u8 = 30;

// Families of tables (linux/netfilter.h).
pub(in crate::firewall) const NFPROTO_INET: u8 = 1;
pub(in crate::firewall) const NFPROTO_IPV4: u8 = 2;
pub(in crate::firewall) const NFPROTO_NETDEV: u8 = 5;
pub(in crate::firewall) const NFPROTO_IPV6: u8 = 10;

// Hooks (`enum nf_inet_hooks`, linux/netfilter.h).
pub(in crate::firewall) const PRE_ROUTING: u32 = 0;
pub(in crate::firewall) const LOCAL_IN: u32 = 1;
pub(in crate::firewall) const LOCAL_OUT: u32 = 3;
pub(in crate::firewall) const POST_ROUTING: u32 = 4;

// Attributes of tables.
pub(in crate::firewall) const TABLE_NAME: u16 = 1;
pub(in crate::firewall) const TABLE_FLAGS: u16 = 2;

// Attributes of chains, and of where one hangs.
pub(in crate::firewall) const CHAIN_TABLE: u16 = 1;
pub(in crate::firewall) const CHAIN_NAME: u16 = 3;
pub(in crate::firewall) const CHAIN_HOOK: u16 = 4;
pub(in crate::firewall) const CHAIN_POLICY: u16 = 5;
pub(in crate::firewall) const CHAIN_TYPE: u16 = 7;
pub(in crate::firewall) const HOOK_NUMBER: u16 = 1;
pub(in crate::firewall) const HOOK_PRIORITY: u16 = 2;
pub(in crate::firewall) const HOOK_DEVICE: u16 = 3;
pub(in crate::firewall) const HOOK_DEVICES: u16 = 4;

// Attributes of rules, and of the expressions in them.
pub(in crate::firewall) const RULE_TABLE: u16 = 1;
pub(in crate::firewall) const RULE_CHAIN: u16 = 2;
pub(in crate::firewall) const RULE_HANDLE: u16 = 3;
pub(in crate::firewall) const RULE_EXPRESSIONS: u16 = 4;
pub(in crate::firewall) const RULE_POSITION: u16 = 6;
pub(in crate::firewall) const RULE_USERDATA: u16 = 7;
pub(in crate::firewall) const EXPR_NAME: u16 = 1;
pub(in crate::firewall) const EXPR_DATA: u16 = 2;
pub(in crate::firewall) const IMMEDIATE_DATA: u16 = 2;
pub(in crate::firewall) const DATA_VALUE: u16 = 1;
pub(in crate::firewall) const DATA_VERDICT: u16 = 2;
pub(in crate::firewall) const VERDICT_CODE: u16 = 1;
pub(in crate::firewall) const VERDICT_CHAIN: u16 = 2;
pub(in crate::firewall) const LIST_ITEM: u16 = 1;

// Attributes of sets.
pub(in crate::firewall) const SET_TABLE: u16 = 1;
pub(in crate::firewall) const SET_NAME: u16 = 2;
pub(in crate::firewall) const SET_FLAGS: u16 = 3;
pub(in crate::firewall) const SET_KEY_TYPE: u16 = 4;
pub(in crate::firewall) const SET_KEY_LEN: u16 = 5;
pub(in crate::firewall) const SET_DATA_TYPE: u16 = 6;
pub(in crate::firewall) const SET_DATA_LEN: u16 = 7;
pub(in crate::firewall) const SET_DESC: u16 = 9;
pub(in crate::firewall) const SET_ID: u16 = 10;
pub(in crate::firewall) const SET_TIMEOUT: u16 = 11;
pub(in crate::firewall) const SET_DESC_CONCAT: u16 = 2;
pub(in crate::firewall) const SET_FIELD_LEN: u16 = 1;

// Flags of sets; the last: intervals of several fields, whose lengths the description must say.
pub(in crate::firewall) const SET_FLAG_INTERVAL: u32 = 0x4;
pub(in crate::firewall) const SET_FLAG_MAP: u32 = 0x8;
pub(in crate::firewall) const SET_FLAG_TIMEOUT: u32 = 0x10;
pub(in crate::firewall) const SET_FLAG_CONCAT: u32 = 0x80;

// Attributes of lists of elements, and of elements.
pub(in crate::firewall) const ELEMENTS_TABLE: u16 = 1;
pub(in crate::firewall) const ELEMENTS_SET: u16 = 2;
pub(in crate::firewall) const ELEMENTS: u16 = 3;
pub(in crate::firewall) const ELEMENT_KEY: u16 = 1;
pub(in crate::firewall) const ELEMENT_DATA: u16 = 2;
pub(in crate::firewall) const ELEMENT_FLAGS: u16 = 3;
pub(in crate::firewall) const ELEMENT_TIMEOUT: u16 = 4;
pub(in crate::firewall) const ELEMENT_EXPIRATION: u16 = 5;
pub(in crate::firewall) const ELEMENT_USERDATA: u16 = 6;
pub(in crate::firewall) const ELEMENT_KEY_END: u16 = 10;

/// The number of a ruleset.
pub(in crate::firewall) const GEN_ID: u16 = 1;

// Verdicts; the first two are netfilter's own.
pub(in crate::firewall) const DROP: i32 = 0;
pub(in crate::firewall) const ACCEPT: i32 = 1;
pub(in crate::firewall) const CONTINUE: i32 = -1;
pub(in crate::firewall) const JUMP: i32 = -3;
pub(in crate::firewall) const GOTO: i32 = -4;
pub(in crate::firewall) const RETURN: i32 = -5;

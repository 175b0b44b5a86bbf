//! What the host's packet filter holds, as a value: tables, chains, rules and sets as they stand in
//! the kernel. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::family::Family;
use super::matches::Match;
use super::routes::Routes;

/// Everything that decides over packets to this host and through it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Ruleset {
    pub(super) tables: Vec<Table>,
    pub(super) routes: Routes,
    /// This host's own addresses.
    pub(super) own: Vec<IpAddr>,
    /// When an element of a set ends by itself, of which nobody tells.
    pub(super) changes_in: Option<Duration>,
    /// Whether tables of the old iptables are there, of which no change is told.
    pub(super) has_legacy: bool,
    /// The same of sets of ipset that rules name.
    pub(super) has_ipsets: bool,
    /// What could not be read, one sentence each.
    pub(super) unread: Vec<String>,
    /// The marks that rules of routing ask for.
    pub(super) marks_asked: Vec<Asked>,
}

/// A table of nf_tables, or of the old iptables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Table {
    pub(super) family: TableFamily,
    pub(super) name: String,
    /// Whether the process that made it lets nobody else change it.
    pub(super) is_owned: bool,
    pub(super) is_legacy: bool,
    pub(super) chains: HashMap<String, Chain>,
    pub(super) sets: HashMap<String, Set>,
}

/// Which packets come through a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TableFamily {
    Ip,
    Ip6,
    Inet,
    Netdev,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Chain {
    /// Where packets enter it; `None` for one that is jumped to.
    pub(super) base: Option<Base>,
    /// The interfaces whose packets enter it, for one at ingress.
    pub(super) devices: Vec<String>,
    pub(super) rules: Vec<Rule>,
}

/// Where a base chain hangs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Base {
    pub(super) hook: Hook,
    pub(super) priority: i32,
    pub(super) is_nat: bool,
    pub(super) drops: bool,
}

/// The hooks that a packet to this host or through it passes, and the answer from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
}

/// One rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Rule {
    /// The kernel's number of it; 0 where there is none.
    pub(super) handle: u64,
    pub(super) steps: Vec<Step>,
    /// Whether it has our comment.
    pub(super) is_ours: bool,
    /// As its owner wrote it, where it was read as text.
    pub(super) text: Option<String>,
}

/// A range of bytes in the registers: where they begin.
pub(super) type At = usize;

/// What a rule does, one after the other. Registers are 64 bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Load {
        to: At,
        what: Load,
    },
    Immediate {
        to: At,
        bytes: Vec<u8>,
    },
    Mask {
        from: At,
        to: At,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    /// The bytes of every number of `size` bytes are turned round.
    Swap {
        from: At,
        to: At,
        len: usize,
        size: usize,
    },
    /// Something is put there of which nothing is known.
    Forget {
        to: At,
        len: usize,
    },
    Compare {
        from: At,
        comparison: Comparison,
        with: Vec<u8>,
    },
    Range {
        from: At,
        is_outside: bool,
        low: Vec<u8>,
        high: Vec<u8>,
    },
    Lookup {
        from: At,
        set: String,
        is_outside: bool,
        /// Whether the element's verdict is what happens then.
        gives_verdict: bool,
    },
    /// A match of iptables.
    Match(Match),
    SetMark {
        from: At,
    },
    /// The mark becomes (mark without `mask`) xor `value`.
    ChangeMark {
        value: u32,
        mask: u32,
    },
    /// Changes nothing for the packet, but something beside it.
    Aside(Aside),
    /// Led on to another address and port, as far as the registers say.
    Lead {
        address: Option<At>,
        port: Option<At>,
    },
    /// The same, as iptables says it.
    LeadTo {
        address: Option<IpAddr>,
        port: Option<u16>,
    },
    Verdict(Verdict),
    /// Changes nothing for the packet.
    Pass(String),
    /// May hold or not.
    Unknown(String),
    /// May do anything, also end the packet's way.
    UnknownVerdict(String),
}

/// A mark that a rule of routing asks for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Asked {
    pub(super) value: u32,
    pub(super) mask: u32,
}

/// What a rule does to marks, and the bits that it does it to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keeping {
    /// The connection's becomes what the rule names.
    Set(u32),
    /// The connection's becomes the packet's.
    Save(u32),
    /// The packet's becomes the connection's.
    Restore(u32),
}

/// What a rule does beside deciding over the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Aside {
    /// The connection's mark becomes what is in the registers.
    SetConnectionMark,
    /// The same, or the other way round, as iptables says it.
    Keep(Keeping),
    /// The packet is kept out of connection tracking.
    Untracked,
    /// It is put into this zone of it, or into one that is not named.
    Zone(Option<u16>),
    /// It is put into the zone that is in the registers.
    SetZone,
}

/// What is loaded into a register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Load {
    Meta(u32),
    Ct {
        key: u32,
        is_reply: bool,
    },
    Payload {
        base: u32,
        offset: usize,
        len: usize,
    },
    Fib {
        result: u32,
        flags: u32,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What becomes of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Reject,
    Jump(String),
    Goto(String),
    Return,
    Continue,
    /// Given to a program, which decides.
    Queue,
}

/// A set, or a map to verdicts or data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Set {
    /// Lengths of the key's fields, each padded to 4 bytes in the key.
    pub(super) fields: Vec<usize>,
    pub(super) elements: Vec<Element>,
    /// What holds for all keys that no element has.
    pub(super) otherwise: Option<Element>,
    /// Whether not all of it was read.
    pub(super) is_partial: bool,
}

/// An element: keys from `low` to `high`, field by field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Element {
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
    pub(super) verdict: Option<Verdict>,
}

// === impl Ruleset ===

impl Ruleset {
    /// The base chains that packets of `family` pass at `hook`, first to last.
    pub(super) fn at(&self, hook: Hook, family: Family) -> Vec<Place<'_>> {
        let mut found: Vec<Place<'_>> = Vec::new();
        for table in self.tables.iter().filter(|table| table.family.has(family)) {
            for (name, chain) in &table.chains {
                if let Some(base) = chain.base.filter(|base| base.hook == hook) {
                    found.push(Place {
                        table,
                        name,
                        chain,
                        base,
                    });
                }
            }
        }
        found.sort_by_key(|place| (place.base.priority, &place.table.name, place.name));
        found
    }
}

/// A base chain, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'r> {
    pub(super) table: &'r Table,
    pub(super) name: &'r str,
    pub(super) chain: &'r Chain,
    pub(super) base: Base,
}

// === impl Keeping ===

impl Keeping {
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::Set(bits) | Self::Save(bits) | Self::Restore(bits) => bits,
        }
    }
}

// === impl Aside ===

impl Aside {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::SetConnectionMark => "ct mark set",
            Self::Keep(_) => "CONNMARK",
            Self::Untracked => "notrack",
            Self::Zone(_) | Self::SetZone => "ct zone set",
        }
    }
}

// === impl Set ===

impl Set {
    /// How many bytes a key has.
    pub(super) fn len(&self) -> usize {
        let padded = |sum: usize, len: &usize| sum.next_multiple_of(4) + len;
        self.fields.iter().fold(0, padded)
    }
}

// === impl TableFamily ===

impl TableFamily {
    pub(super) const fn has(self, family: Family) -> bool {
        match (self, family) {
            (Self::Inet | Self::Netdev, _) | (Self::Ip, Family::V4) | (Self::Ip6, Family::V6) => {
                true
            }
            (Self::Ip, Family::V6) | (Self::Ip6, Family::V4) => false,
        }
    }

    /// The kernel's number (`NFPROTO_*`, linux/netfilter.h).
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Netdev => 5,
            Self::Ip6 => 10,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Netdev => "netdev",
        }
    }
}

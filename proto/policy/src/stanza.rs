//! One rule of access.conf as values.

use std::num::NonZeroU16;
use std::sync::Arc;

use spa::{ExchangePublic, Keys};

use crate::cycle::CycleRule;
use crate::host::{HostFacts, Selector};
use crate::nat::NatRules;
use crate::network::Networks;
use crate::open_pgp::OpenPgpRule;
use crate::os::OsRule;
use crate::ports::PortSet;

/// The prefix of one IPv4 address, and that of one IPv6 address.
pub(crate) const ONE_ADDRESS: u8 = 32;
pub(crate) const ONE_ADDRESS6: u8 = 128;

/// One rule: who (keys, user, source), what (ports, command), how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Its place in the text, counted from 1 as fwknop counts.
    pub number: u32,
    /// NAME: stable, shown in the audit. In compiled text several stanzas may share one.
    pub name: Option<Arc<str>>,
    /// HOSTS: one of these must select the host. Empty means every host.
    pub hosts: Box<[Selector]>,
    /// SOURCE: where the packet may come from.
    pub source: Networks,
    /// DESTINATION: where the packet may go to.
    pub destination: Networks,
    /// SPA_SERVER_PORT: the port that its packets go to, which is then for such stanzas alone. `None`
    /// means every port that no stanza has taken.
    pub spa_server_port: Option<NonZeroU16>,
    /// OPEN_PORTS: everything asked for must be in it. `None` means anything.
    pub open_ports: Option<PortSet>,
    /// RESTRICT_PORTS: no port asked for may be in it.
    pub restrict_ports: PortSet,
    /// OPEN_PREFIX: how long the prefix is of what is opened around an IPv4 address; 32 opens that
    /// address alone.
    pub open_prefix: u8,
    /// OPEN_PREFIX6: the same for IPv6, where 128 is one address.
    pub open_prefix6: u8,
    /// OPEN_PACKET_SOURCE: the source of the packet is let in beside the address that the message
    /// names.
    pub open_packet_source: bool,
    /// Which packets belong to it.
    pub key: StanzaKey,
    /// GPG_*: packets that OpenPGP wraps belong to it, too.
    pub open_pgp: Option<Box<OpenPgpRule>>,
    /// FW_ACCESS_TIMEOUT: how long, when the client names no timeout. 0 opens nothing.
    pub fw_access_timeout_secs: u32,
    /// MAX_FW_TIMEOUT: caps every timeout of this stanza. 0 opens nothing.
    pub max_fw_timeout_secs: u32,
    /// REQUIRE_USERNAME with its groups resolved. Empty means any user.
    pub require_username: Usernames,
    /// REQUIRE_SOURCE_ADDRESS: the message must name an address, so that a packet that is caught on
    /// its way opens nothing for whoever caught it. The default without a static key.
    pub require_source_address: bool,
    /// REQUIRE_OS, REQUIRE_OS_REGEX: what the sender's last SYN must have shown.
    pub os: Option<Box<OsRule>>,
    /// KNOCK_SEQUENCE: it takes sequences of knocks in the place of a packet, too.
    pub knock_sequence: bool,
    /// ACCESS_EXPIRE or ACCESS_EXPIRE_EPOCH: from this moment on nothing is granted, and no hole
    /// outlives it. Seconds since 1970 UTC.
    pub expire_at_secs: Option<u64>,
    /// ENABLE_CMD_EXEC: the commands it allows.
    pub command: Option<Box<CommandRule>>,
    /// CMD_CYCLE_OPEN, CMD_CYCLE_CLOSE, CMD_CYCLE_TIMER: commands that run in place of the firewall.
    pub cycle: Option<Box<CycleRule>>,
    /// FORCE_NAT, FORCE_SNAT, FORCE_MASQUERADE, DISABLE_DNAT, FORWARD_ALL, NAT_ACCESS.
    pub nat: NatRules,
    /// PROTECT: ports that are closed by default on the hosts this stanza selects.
    pub protect: PortSet,
    /// ON_CONTROLLER_LOSS: what happens when a shared message cannot be claimed.
    pub on_controller_loss: OnControllerLoss,
}

/// Which packets a stanza is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StanzaKey {
    /// Keys in the text, as in fwknop; several while a key is being changed. Empty only
    /// beside GPG_*.
    Static(Box<[Keys]>),
    /// No key in the text: every permitted user has her own with every host.
    Pairwise,
    /// One user of a pairwise stanza, in compiled text: `REQUIRE_USERNAME` with
    /// `USER_PUBLIC_KEY`.
    User {
        /// The user; also the only entry of [`Stanza::require_username`].
        user: Box<str>,
        /// Her public key.
        public: ExchangePublic,
    },
}

/// How commands are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandRule {
    /// CMD_EXEC_USER; `None` means root, as in fwknop.
    pub user: Option<Box<str>>,
    /// CMD_EXEC_GROUP; `None` means the group of the user.
    pub group: Option<Box<str>>,
    /// ENABLE_CMD_SUDO_EXEC: sudo runs them.
    pub sudo: Option<SudoRule>,
}

/// As whom sudo runs a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SudoRule {
    /// CMD_SUDO_EXEC_USER; `None` means root.
    pub user: Option<Box<str>>,
    /// CMD_SUDO_EXEC_GROUP; `None` means the group of the user.
    pub group: Option<Box<str>>,
}

/// What happens to a message of a shared key when the controller cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnControllerLoss {
    /// It is refused.
    #[default]
    Deny,
    /// It is granted after the local replay check alone.
    Allow,
}

/// User names, sorted and each once; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usernames(Option<Arc<[Box<str>]>>);

// === impl Stanza ===

impl Stanza {
    /// Whether the stanza is for this host.
    #[must_use]
    pub fn selects(&self, host: &HostFacts) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|line| line.selects(host))
    }

    /// The static keys; none for a pairwise stanza.
    #[must_use]
    pub fn static_keys(&self) -> &[Keys] {
        match &self.key {
            StanzaKey::Static(keys) => keys,
            StanzaKey::Pairwise | StanzaKey::User { .. } => &[],
        }
    }

    pub(crate) fn os_mut(&mut self) -> &mut OsRule {
        self.os.get_or_insert_default()
    }

    /// What people call it: its NAME, or `#` and its number.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("#{}", self.number),
        }
    }
}

// === impl CommandRule ===

impl CommandRule {
    /// As whom it runs, for people: `root`, `nobody:daemon`, `nobody, by sudo as www-data`.
    #[must_use]
    pub fn as_whom(&self) -> String {
        let own = account(self.user.as_deref(), self.group.as_deref());
        match &self.sudo {
            None => own,
            Some(SudoRule { user, group }) => {
                let other = account(user.as_deref(), group.as_deref());
                format!("{own}, by sudo as {other}")
            }
        }
    }
}

fn account(user: Option<&str>, group: Option<&str>) -> String {
    let user = user.unwrap_or("root");
    match group {
        None => user.to_owned(),
        Some(group) => format!("{user}:{group}"),
    }
}

// === impl Usernames ===

impl Usernames {
    /// Whether exactly this name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names()
            .binary_search_by(|own| (**own).cmp(name))
            .is_ok()
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names().iter().map(|name| &**name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names().is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names().len()
    }

    fn names(&self) -> &[Box<str>] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> FromIterator<&'a str> for Usernames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Box::from).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self(None);
        }
        Self(Some(names.into()))
    }
}

/// Whether a user can have this name: what the USER field of a message can carry, and what a
/// policy text can.
#[must_use]
pub fn is_username(name: &str) -> bool {
    const NAME_BYTES_MAX: usize = 48;
    const FORBIDDEN: &[u8] = b"\"/\\[]:;|=,+*?<>#%";

    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.trim() == name
        // What begins so is a group.
        && !name.starts_with('@')
        && name
            .bytes()
            .all(|byte| (0x20..=0x7e).contains(&byte) && !FORBIDDEN.contains(&byte))
}

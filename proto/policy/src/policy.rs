//! A whole policy: what one text says.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::path::PathBuf;

use crate::accounts::Account;
use crate::host::HostFacts;
use crate::keyword::Keyword;
use crate::mistake::{InvalidPolicy, Mistake, Place};
use crate::ports::PortSet;
use crate::problem::Problem;
use crate::stanza::{Stanza, StanzaKey, Usernames};
use crate::test_line::PolicyTest;

/// All stanzas of one text, and what stands around them.
///
/// Two policies are equal when they say the same; where their lines stood, and what was doubtful
/// about them, does not count.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `%group`: users by the name of their group, without `@`.
    pub groups: BTreeMap<String, Usernames>,
    /// The stanzas, in the order of the text.
    pub stanzas: Vec<Stanza>,
    /// `%test`: what must hold, in the order of the text.
    pub tests: Vec<PolicyTest>,
    /// PROTECT before the first stanza: ports that are closed by default on every host.
    pub protect: PortSet,
    /// DATA_COLLECT_MODE of old files: a hint to the program that captures.
    pub collect_mode: Option<CollectMode>,
    /// What is allowed but doubtful.
    pub warnings: Vec<Mistake>,
    /// How values were read that another program or another host may read otherwise: dates. For
    /// whoever moves a file from one to the other.
    pub notes: Vec<Mistake>,
    /// Files that were read besides the first.
    pub included: Vec<PathBuf>,
    /// Where each stanza begins.
    pub(crate) origins: Vec<Place>,
    /// Where each group is defined.
    pub(crate) group_origins: BTreeMap<String, Place>,
    /// Users and groups of the system that commands need.
    pub(crate) accounts: Vec<Account>,
    /// Which groups some stanza or test uses.
    pub(crate) used_groups: BTreeSet<String>,
}

/// How old files say that packets are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectMode {
    /// From an interface.
    Pcap,
    /// From a pcap file that another sniffer keeps writing.
    FilePcap,
    /// From the pcap file that ulogd keeps writing.
    UlogPcap,
}

// === impl CollectMode ===

impl CollectMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pcap, Self::FilePcap, Self::UlogPcap];

    /// The name, as access.conf writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcap => "PCAP",
            Self::FilePcap => "FILE_PCAP",
            Self::UlogPcap => "ULOG_PCAP",
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Finds what no command can run as, since the host has no such user or group.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] with a mistake for each line that names one.
    pub fn require_accounts(
        &self,
        mut exists: impl FnMut(&Account) -> bool,
    ) -> Result<(), InvalidPolicy> {
        let unknown = self.accounts.iter().filter(|account| !exists(account));
        let mistakes: Vec<Mistake> = unknown.map(Account::mistake).collect();
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(InvalidPolicy { mistakes })
        }
    }

    /// Where the stanza at this position of [`stanzas`](Self::stanzas) begins.
    #[must_use]
    pub fn origin(&self, position: usize) -> Option<&Place> {
        self.origins.get(position)
    }

    /// All ports that PROTECT closes: those for every host, and those of the stanzas.
    ///
    /// Meaningful for the policy of one host, where every stanza is for that host.
    #[must_use]
    pub fn protected_ports(&self) -> PortSet {
        self.protect
            .iter()
            .chain(self.stanzas.iter().flat_map(|stanza| stanza.protect.iter()))
            .collect()
    }

    /// The ports that some stanza takes for itself: SPA_SERVER_PORT.
    ///
    /// Meaningful for the policy of one host, where every stanza is for that host.
    #[must_use]
    pub fn spa_server_ports(&self) -> BTreeSet<NonZeroU16> {
        let stanzas = self.stanzas.iter();
        stanzas
            .filter_map(|stanza| stanza.spa_server_port)
            .collect()
    }

    /// The replay domains of static keys that are valid on more than one of these hosts, and on how
    /// many.
    #[must_use]
    pub fn shared_domains(&self, hosts: &[HostFacts]) -> BTreeMap<[u8; 32], usize> {
        let mut stanzas: BTreeMap<[u8; 32], Vec<&Stanza>> = BTreeMap::new();
        for stanza in &self.stanzas {
            for keys in stanza.static_keys() {
                stanzas.entry(keys.domain()).or_default().push(stanza);
            }
        }
        let counted = stanzas.into_iter().filter_map(|(domain, stanzas)| {
            let has_it = |host: &&HostFacts| stanzas.iter().any(|stanza| stanza.selects(host));
            let count = hosts.iter().filter(has_it).count();
            (count > 1).then_some((domain, count))
        });
        counted.collect()
    }

    /// Checks that the policy can be enforced by an agent without a controller: every stanza has
    /// its keys, and none needs the fleet to know which hosts it is for.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] with a mistake for each stanza that needs a controller.
    pub fn require_standalone(&self) -> Result<(), InvalidPolicy> {
        let mut mistakes = Vec::new();
        for (stanza, at) in self.stanzas.iter().zip(&self.origins) {
            if matches!(stanza.key, StanzaKey::Pairwise) {
                let problem = Problem::new("the stanza has no KEY")
                    .hint("without a controller every stanza needs KEY or KEY_BASE64");
                mistakes.push(Mistake::at(at, Some(Keyword::Key.name()), problem));
            }
            if !stanza.hosts.is_empty() {
                let problem = Problem::new("the keyword needs a controller");
                mistakes.push(Mistake::at(at, Some(Keyword::Hosts.name()), problem));
            }
        }
        if mistakes.is_empty() {
            Ok(())
        } else {
            Err(InvalidPolicy { mistakes })
        }
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            groups,
            stanzas,
            tests,
            protect,
            collect_mode,
            warnings: _,
            notes: _,
            included: _,
            origins: _,
            group_origins: _,
            accounts: _,
            used_groups: _,
        } = self;
        *groups == other.groups
            && *stanzas == other.stanzas
            && *tests == other.tests
            && *protect == other.protect
            && *collect_mode == other.collect_mode
    }
}

impl Eq for Policy {}

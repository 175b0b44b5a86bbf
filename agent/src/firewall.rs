//! The only place that changes the host's packet filter: who may come in, and what is hidden.
//!
//! [`open`] is the one constructor: it makes of a [`FirewallConfig`] a [`Backend`], and nobody else
//! needs to know which. The contract that every back end keeps stands in `backend`.
//!
//! | file | what it holds |
//! |---|---|
//! | `adoption` | sessions that are older than what hides their port |
//! | `backend` | the traits [`BaseRules`] and [`Holes`] |
//! | `control` | what is asked of those who look after all this, and what they tell |
//! | `nftables` | a table of our own in nf_tables |
//! | `iptables` | a chain of our own and kernel sets (ipset) |
//! | [`memory`] | a packet filter that only remembers: dry runs and tests |
//! | [`fault`] | one that fails on purpose |
//! | `monitor` | the thread that keeps the base rules as they should be |
//! | `succession` | from one back end to another |
//! | `hook_place` | what keeps them in one ruleset |
//! | `hooks` | lines of ours in the owner's chains |
//! | `changes` | what nf_tables tells of changes |
//! | `owner` | what the host's owner has there, and what it would drop |
//! | `lock` | one agent per chain |
//! | `names` | what is ours, by name |
//! | `numbers` | the kernel's numbers, one file for each subsystem |
//! | `family` | IPv4 and IPv6 |
//! | `rest` | how long to rest after a look at the rules of others |
//! | `stamina` | how often something is done that another program undoes |
//! | `xtables` | the programs of iptables, and what they print |

mod adoption;
mod backend;
mod changes;
mod control;
mod family;
pub mod fault;
mod hook_place;
mod hooks;
mod iptables;
mod lock;
pub mod memory;
mod monitor;
mod names;
mod nftables;
mod numbers;
mod owner;
mod rest;
mod stamina;
mod succession;
mod xtables;

pub use backend::{Backend, BaseRules, Drift, Holes};
pub use control::{Control, Notice};
pub use hooks::Hooks;
pub use monitor::{Kept, Listener, Monitor, MonitorHandle};
pub use owner::{Outlook, OwnerHandle, OwnerWatch, look};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::config::{BackendChoice, FirewallConfig};
use succession::Succession;

/// Why a back end was taken that was not chosen by itself.
const CONFIGURED: &str = "the configuration says so";

/// Gives a message to the readers of rules and of elements, whoever made it ([`crate::hostile`]).
pub(crate) fn read_hostile(message: crate::netlink::Attributes<'_>) {
    owner::read_hostile(message);
    nftables::read_hostile(message);
}

/// Gives a text to the readers of what the programs of iptables and the kernel print, and looks for a
/// way through what was read; whoever printed it ([`crate::hostile`]).
pub(crate) fn read_hostile_text(text: &str) {
    xtables::read_hostile(text);
    owner::read_hostile_text(text);
}

/// Looks at the host and makes ready; changes nothing yet.
///
/// # Errors
///
/// [`FirewallError`] when this host's packet filter cannot be used, or another agent manages the
/// same rules.
pub fn open(config: &FirewallConfig) -> Result<Backend, FirewallError> {
    if config.dry_run {
        tracing::warn!("dry run: the packet filter is not touched, and nothing opens");
        return Ok(memory::MemoryFirewall::default().backend());
    }
    let backend = match config.backend {
        BackendChoice::Auto => choose(config),
        BackendChoice::Iptables => with_iptables(config, CONFIGURED.to_owned()),
        BackendChoice::Nftables => with_nftables(config, CONFIGURED),
    }?;
    tracing::info!(backend = backend.name, why = backend.why, "packet filter");
    Ok(backend)
}

/// The same, where the state remembers another chain: what is laid by that name goes when what is to
/// be hidden is hidden by the new one. What a running agent manages stays.
///
/// # Errors
///
/// As [`open`].
pub fn open_in_place_of(config: &FirewallConfig, former: &str) -> Result<Backend, FirewallError> {
    let mut backend = open(config)?;
    if lock::ChainLock::take(former).is_err() {
        tracing::warn!(
            chain = former,
            "another agent manages the chain that this state remembers: it stays"
        );
        return Ok(backend);
    }
    let was = FirewallConfig {
        chain: former.to_owned(),
        ..config.clone()
    };
    backend.base_rules = Succession::of(backend.base_rules, iptables::remains(&was));
    // Several chains may mean the same table.
    if names::table_name(former) != names::table_name(&config.chain) {
        backend.base_rules = Succession::of(backend.base_rules, nftables::remains(&was));
    }
    Ok(backend)
}

/// nftables where the kernel can hold our table, else iptables.
fn choose(config: &FirewallConfig) -> Result<Backend, FirewallError> {
    match with_nftables(config, "this kernel can hold a table of our own") {
        Err(FirewallError::NoNftables(reason)) => with_iptables(
            config,
            format!("nf_tables cannot hold a table of our own: {reason}"),
        ),
        opened => opened,
    }
}

fn with_nftables(config: &FirewallConfig, why: &str) -> Result<Backend, FirewallError> {
    let opened = nftables::open(config, why.to_owned())?;
    Ok(Backend {
        base_rules: Succession::of(opened.base_rules, iptables::remains(config)),
        ..opened
    })
}

fn with_iptables(config: &FirewallConfig, why: String) -> Result<Backend, FirewallError> {
    let opened = iptables::open(config, why)?;
    Ok(Backend {
        base_rules: Succession::of(opened.base_rules, nftables::remains(config)),
        ..opened
    })
}

/// Opens the nftables back end as it works on kernels before 6.9, where other programs can change
/// our table. For tests: this kernel may be younger.
///
/// # Errors
///
/// As [`open`].
pub fn open_nftables_without_owner(config: &FirewallConfig) -> Result<Backend, FirewallError> {
    nftables::open_unowned(config, CONFIGURED.to_owned())
}

/// Makes the kernel sets that rules of the iptables back end name, so that the owner's saved rules
/// with ours among them can be restored; hides and opens nothing.
///
/// # Errors
///
/// When this kernel has no such sets.
pub fn make_sets(chain: &str) -> Result<(), FirewallError> {
    iptables::make_sets(chain)
}

/// The name of a back end, as its constructor gives it; `None` for any other word.
pub(crate) fn backend_named(name: &str) -> Option<&'static str> {
    let names = [iptables::NAME, memory::NAME, nftables::NAME];
    names.into_iter().find(|known| *known == name)
}

/// Whether saved rules of the back end of this name can be restored only when its sets are there.
#[must_use]
pub fn needs_sets(backend: &str) -> bool {
    backend == iptables::NAME
}

/// Why the host's packet filter did not do as told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum FirewallError {
    /// No answer from the kernel, or none that can be read.
    #[error("cannot talk to the kernel over netlink ({doing}): {reason}")]
    Netlink {
        doing: Cow<'static, str>,
        reason: String,
    },
    /// The kernel said no.
    #[error("the kernel refused to {doing} {set}: {reason}")]
    Set {
        doing: Cow<'static, str>,
        set: String,
        reason: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {reason}")]
    Spawn {
        program: Cow<'static, str>,
        reason: String,
    },
    /// A program said no.
    #[error("{program} failed: {stderr}")]
    Refused {
        program: Cow<'static, str>,
        stderr: String,
    },
    /// Half a protection would be none.
    #[error(
        "IPv6 is on in this kernel but ip6tables cannot be used ({0}); protected ports would be \
         open over IPv6"
    )]
    NoIp6tables(String),
    /// nf_tables was asked for.
    #[error("nf_tables cannot be used: {0}")]
    NoNftables(String),
    /// The kernel's intervals may not overlap, and there are only so many sets of them.
    #[error("too many rules overlap {0}: no set of the kernel is left for it")]
    Overlapping(engine::Rule),
    /// Two agents would undo each other's work.
    #[error("another agent manages chain {chain} in this network namespace")]
    Locked { chain: String },
    /// A mistake of the configuration.
    #[error("`{0}` is no name for a chain: 1 to 24 of A-Z a-z 0-9 _ -")]
    ChainName(String),
    /// The caller did not ask [`Holes::can`] first.
    #[error(transparent)]
    Unsupported(#[from] engine::Unsupported),
    /// Connection tracking is there, and does not tell.
    #[error("the kernel does not say which connections begin: {0}")]
    Connections(String),
    /// The system has no more threads.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// It is in another process, which does not do it for anybody.
    #[error("the process that changes the packet filter refuses: {0}")]
    Denied(String),
    /// It was in another process.
    #[error("the process that changes the packet filter has ended")]
    Lost,
    /// It is in another process, which is stuck or stopped.
    #[error("the process that changes the packet filter does not answer")]
    Silent,
    /// Made by [`fault::Faulty`] only.
    #[error("made to fail")]
    Fault,
}

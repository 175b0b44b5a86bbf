//! What the directory says of a host.

use std::num::NonZeroU16;

use fleet::wire::DirectoryHost;
use policy::PortSet;
use spa::Service;

use super::args::{Access, KnockArgs};
use crate::directory::{Directory, addresses};

/// What the directory says of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listed {
    /// Policy generation of the directory.
    pub(crate) generation: u64,
    /// When the controller signed it, seconds since the Unix epoch.
    pub(crate) at_secs: u64,
    /// What may be asked for there, as text; empty for anything.
    pub(crate) ports: Vec<String>,
    /// The host's exchange key.
    pub(crate) key: Vec<u8>,
    pub(crate) addresses: Vec<String>,
    pub(crate) spa_port: u16,
}

// === impl Listed ===

impl Listed {
    /// What one entry says.
    pub(crate) fn of(directory: &Directory, entry: &DirectoryHost) -> Self {
        Self {
            generation: directory.generation(),
            at_secs: directory.at_secs(),
            ports: entry.ports.clone(),
            key: entry.exchange_key.clone(),
            addresses: addresses(entry),
            spa_port: spa_port(entry),
        }
    }
}

/// Whether the directory lets in all that the command line asks for on this host.
pub(crate) fn lets_in(entries: &[&DirectoryHost], args: &KnockArgs) -> bool {
    let Some(Access(ports)) = &args.request.access else {
        return true;
    };
    let allowed = port_set(entries.iter().flat_map(|entry| &entry.ports));
    entries.iter().any(|entry| entry.ports.is_empty())
        || ports.iter().all(|port| allowed.contains(*port))
}

/// The SPA port of a host of the directory.
pub(crate) fn spa_port(host: &DirectoryHost) -> u16 {
    u16::try_from(host.spa_port)
        .ok()
        .and_then(NonZeroU16::new)
        .map_or(fleet::DEFAULT_SPA_PORT, NonZeroU16::get)
}

/// What the directory lists; what a newer controller lists and nobody here can ask for is left out.
pub(super) fn port_set(texts: impl IntoIterator<Item = impl AsRef<str>>) -> PortSet {
    let ports = texts
        .into_iter()
        .filter_map(|text| text.as_ref().parse::<Service>().ok());
    ports.collect()
}

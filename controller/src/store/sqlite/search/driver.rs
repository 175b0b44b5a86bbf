//! Which index may drive a question.

use ipnet::IpNet;

use super::super::columns::address_range;
use super::super::number::signed;
use super::super::words::{Id, Word};
use super::arm::{
    Arm, at_address, at_addresses, at_port, by_column, by_id, by_request, by_word, in_network,
};
use super::conditions::Conditions;
use super::known::Known;
use crate::store::model::EventFilter;
use crate::store::sql::Value;

/// Hosts that are each read in the order of their index; more are sifted. SQLite takes 500 SELECTs in
/// one, and a port makes two of a host.
const HOSTS_MAX: usize = 200;

/// What narrows a question most.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Driver {
    Digest,
    Grant,
    Request,
    Address(IpNet),
    /// Each of the few addresses of a prefix that the log names.
    Addresses(IpNet),
    /// The table of ports, in its own order.
    HostsPort,
    Port,
    User,
    Key,
    Stanza,
    Actor,
    Reasons(Vec<i64>),
    Host,
    Generation,
    Kind,
    Time,
}

// === impl Driver ===

impl Driver {
    /// All that may drive a question, those first that narrow most where all else is equal, and last what
    /// costs most to count; one at least.
    pub(super) fn candidates(filter: &EventFilter, known: &Known) -> Vec<Self> {
        let has_host = (1..=HOSTS_MAX).contains(&known.hosts.len());
        // An id is of a few events.
        if filter.replay_digest.is_some() {
            return vec![Self::Digest];
        }
        if filter.grant_id.is_some() {
            return vec![Self::Grant];
        }
        if filter.request_id.is_some() {
            return vec![Self::Request];
        }
        let port = filter.port.map(|_| match has_host {
            true => Self::HostsPort,
            false => Self::Port,
        });
        let has_few = known.addresses.is_some();
        let reasons = known.reasons.clone();
        let is_of_hosts = has_host && filter.port.is_none();
        let mut all: Vec<Self> = [
            filter.address.filter(|_| !has_few).map(Self::Address),
            port,
            (!filter.users.is_empty()).then_some(Self::User),
            filter.key.as_ref().map(|_| Self::Key),
            filter.stanza.as_ref().map(|_| Self::Stanza),
            filter.actor.as_ref().map(|_| Self::Actor),
            reasons.map(Self::Reasons),
            is_of_hosts.then_some(Self::Host),
            filter.generation.map(|_| Self::Generation),
            (!filter.kinds.is_empty()).then_some(Self::Kind),
            filter.address.filter(|_| has_few).map(Self::Addresses),
        ]
        .into_iter()
        .flatten()
        .collect();
        if all.iter().all(|driver| !driver.is_in_time_order()) {
            all.push(Self::Time);
        }
        all
    }

    /// Whether its rows come in the order of the answer, so that a part of them can be read.
    pub(super) fn is_in_time_order(&self) -> bool {
        match self {
            // One address has its events in order, a prefix those of each address.
            Self::Address(network) => {
                let (low, high) = address_range(*network);
                low == high
            }
            Self::Digest | Self::Grant | Self::Request => false,
            Self::Addresses(_)
            | Self::HostsPort
            | Self::Port
            | Self::User
            | Self::Key
            | Self::Stanza
            | Self::Actor
            | Self::Reasons(_)
            | Self::Host
            | Self::Generation
            | Self::Kind
            | Self::Time => true,
        }
    }

    /// Whether its rows stand by the addresses of a prefix, and not by time.
    pub(super) fn is_of_addresses(&self) -> bool {
        matches!(self, Self::Address(_)) && !self.is_in_time_order()
    }

    /// Whether several addresses are read one after the other, each in order.
    pub(super) fn is_of_few_addresses(&self) -> bool {
        matches!(self, Self::Addresses(_))
    }

    pub(super) fn is_of_ports(&self) -> bool {
        matches!(self, Self::HostsPort | Self::Port)
    }

    /// The columns of time and place in the index.
    pub(super) fn time(&self) -> [&'static str; 2] {
        match self {
            Self::HostsPort | Self::Port => ["p.at_ms", "p.event"],
            Self::Key | Self::Stanza | Self::Actor | Self::Reasons(_) | Self::Generation => {
                ["w.at_ms", "w.event"]
            }
            Self::Digest
            | Self::Grant
            | Self::Request
            | Self::Address(_)
            | Self::Addresses(_)
            | Self::User
            | Self::Host
            | Self::Kind
            | Self::Time => ["e.at_ms", "e.id"],
        }
    }

    /// One for each value of what drives, and each kind of place where it may be.
    pub(super) fn arms(&self, filter: &EventFilter, known: &Known) -> Vec<Arm> {
        let has_blocks = known.has_blocks;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let word = |what, asked| vec![by_word(what, Value::Text(text(asked)))];
        match self {
            Self::Digest => by_id("replay_digest", Id::Digest, &text(&filter.replay_digest)),
            Self::Grant => by_id("grant_id", Id::Grant, &text(&filter.grant_id)),
            Self::Request => by_request(&text(&filter.request_id)),
            Self::Address(network) => {
                let mut arms = at_address(*network);
                arms.extend(has_blocks.then(|| in_network(*network)));
                arms
            }
            Self::Addresses(network) => {
                let mut arms = at_addresses(*network, known.addresses.as_ref());
                arms.extend(has_blocks.then(|| in_network(*network)));
                arms
            }
            Self::HostsPort => {
                let hosts = known.hosts.iter();
                hosts
                    .flat_map(|host| at_port(Some(*host), filter, has_blocks))
                    .collect()
            }
            Self::Port => at_port(None, filter, has_blocks),
            Self::User => {
                let users = filter.users.iter();
                users
                    .map(|user| by_column("events_by_user", "e.user", user.clone()))
                    .collect()
            }
            Self::Key => word(Word::Key, &filter.key),
            Self::Stanza => word(Word::Stanza, &filter.stanza),
            Self::Actor => word(Word::Actor, &filter.actor),
            Self::Reasons(reasons) => {
                let arm = |reason: &i64| by_word(Word::Reason, Value::Integer(*reason));
                reasons.iter().map(arm).collect()
            }
            Self::Host => {
                let hosts = known.hosts.iter();
                hosts
                    .map(|host| by_column("events_by_host", "e.host", *host))
                    .collect()
            }
            Self::Generation => {
                let generation = signed(filter.generation.unwrap_or_default());
                vec![by_word(Word::Generation, Value::Integer(generation))]
            }
            Self::Kind => {
                let kinds = filter.kinds.iter();
                kinds
                    .map(|kind| by_column("events_by_kind", "e.kind", *kind))
                    .collect()
            }
            Self::Time => vec![Arm::of_events(
                "events_by_time",
                Vec::new(),
                Conditions::default(),
            )],
        }
    }
}

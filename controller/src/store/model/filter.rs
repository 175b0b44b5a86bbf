//! What an auditor asks for.

use std::net::IpAddr;

use fleet::{Event, Role};
use ipnet::IpNet;
use spa::Service;

use super::log::Port;
use super::origin::CONTROLLER;

/// What an auditor asks. Everything that is `Some` must hold, and one of each list that is not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter {
    pub(crate) users: Vec<String>,
    /// Of what is said of the one in `users`, only what is of this member: another role may have the name.
    pub(crate) role: Option<Role>,
    pub(crate) hosts: Vec<String>,
    /// The numbers in the contract, which may be of a later version.
    pub(crate) kinds: Vec<i32>,
    /// Source of the packet or address opened.
    pub(crate) address: Option<IpNet>,
    /// Inclusive.
    pub(crate) since_ms: Option<u64>,
    /// Exclusive.
    pub(crate) until_ms: Option<u64>,
    pub(crate) port: Option<Port>,
    pub(crate) stanza: Option<String>,
    /// Fingerprint.
    pub(crate) key: Option<String>,
    /// Lower-case hexadecimal.
    pub(crate) replay_digest: Option<String>,
    /// Lower-case hexadecimal.
    pub(crate) grant_id: Option<String>,
    /// How the reason begins.
    pub(crate) reason: Option<String>,
    /// Policy generation in force when it happened.
    pub(crate) generation: Option<u64>,
    /// Who did it, where that was not the user.
    pub(crate) actor: Option<String>,
    /// What one packet or one call caused: lower-case hexadecimal.
    pub(crate) request_id: Option<String>,
}

/// Names of users and of hosts, as the log says them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LogNames {
    pub(crate) users: Vec<String>,
    pub(crate) hosts: Vec<String>,
}

// === impl EventFilter ===

impl EventFilter {
    /// Whether it asks for something that is indexed beside the log and not with it.
    pub(crate) fn asks_for_words(&self) -> bool {
        let Self {
            stanza,
            key,
            replay_digest,
            grant_id,
            reason,
            generation,
            actor,
            request_id,
            role,
            users: _,
            hosts: _,
            kinds: _,
            address: _,
            since_ms: _,
            until_ms: _,
            port: _,
        } = self;
        let texts = [
            stanza,
            key,
            replay_digest,
            grant_id,
            reason,
            actor,
            request_id,
        ];
        texts.iter().any(|asked| asked.is_some()) || generation.is_some() || role.is_some()
    }

    /// Who acts under the name that is asked for, and is not meant: members of other roles.
    pub(crate) fn other_actors(&self) -> Vec<String> {
        let (Some(role), [name]) = (self.role, self.users.as_slice()) else {
            return Vec::new();
        };
        let others = Role::ALL.into_iter().filter(|other| *other != role);
        others.map(|other| format!("{other}/{name}")).collect()
    }

    /// Whether what is asked for is in the controller's own journal: nobody but users sends packets.
    pub(crate) fn is_of_the_controller(&self) -> bool {
        self.role.is_some_and(|role| role != Role::User)
    }

    /// Whether an event of `host` is among what is asked for: what the log's indexes answer, said of
    /// one event.
    pub(crate) fn matches(&self, host: &str, event: &Event) -> bool {
        let Self {
            users,
            role: _,
            hosts,
            kinds,
            address,
            since_ms,
            until_ms,
            port,
            stanza,
            key,
            replay_digest,
            grant_id,
            reason,
            generation,
            actor,
            request_id,
        } = self;
        let one_of =
            |asked: &[String], text: &str| asked.is_empty() || asked.iter().any(|one| one == text);
        let same = |asked: &Option<String>, text: &str| asked.as_ref().is_none_or(|it| it == text);
        let is_of_another = || self.other_actors().contains(&event.actor);
        let is_elsewhere = || self.is_of_the_controller() && host != CONTROLLER;
        one_of(users, &event.user)
            && !is_of_another()
            && !is_elsewhere()
            && one_of(hosts, host)
            && (kinds.is_empty() || kinds.contains(&event.kind))
            && since_ms.is_none_or(|since_ms| event.at_ms >= since_ms)
            && until_ms.is_none_or(|until_ms| event.at_ms < until_ms)
            && same(stanza, &event.stanza)
            && same(key, &event.key)
            && same(replay_digest, &event.replay_digest)
            && same(grant_id, &event.grant_id)
            && same(actor, &event.actor)
            && same(request_id, &event.request_id)
            && generation.is_none_or(|generation| event.generation == generation)
            && reason
                .as_ref()
                .is_none_or(|text| event.reason.starts_with(text))
            && address.is_none_or(|network| touches(event, network))
            && port.is_none_or(|port| names(event, port))
    }
}

/// Whether the packet came from an address in `network`, or something in or around it was opened.
fn touches(event: &Event, network: IpNet) -> bool {
    let texts = [&event.source, &event.opened]
        .into_iter()
        .chain(&event.also_opened);
    texts
        .filter_map(|text| network_of(text))
        .any(|own| own.contains(&network) || network.contains(&own))
}

fn network_of(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).ok()
}

fn names(event: &Event, port: Port) -> bool {
    let asked = port.to_string().parse::<Service>().ok();
    let mut named = event
        .ports
        .iter()
        .filter_map(|text| text.parse::<Service>().ok());
    asked.is_some_and(|asked| named.any(|service| service.covers(asked)))
}

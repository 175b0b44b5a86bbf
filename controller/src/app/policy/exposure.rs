//! What a change of policy makes public, and what it hides, host by host.
//!
//! A port that was hidden and is not any more is open to the whole world, on every host at once, and
//! a line that went missing by mistake looks like one that was taken out. So this is said in words,
//! and what becomes public needs an operator's word.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet::Role;
use policy::{Exposure, HostFacts, Policy, PortSet, Stanza, Usernames};
use spa::Service;

use crate::becomes_public::{BecomesPublic, Names};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{HostWord, Member};
use crate::targets::facts;

/// Whether hidden ports may become public.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Public {
    /// Whatever would make one public is refused.
    Refused,
    /// The operator has said that it is meant.
    Allowed,
}

/// What strangers reach on one host after a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostExposure {
    pub(crate) host: String,
    pub(crate) exposure: Exposure,
}

/// A host, and what is known of it besides policy.
#[derive(Debug)]
pub(super) struct Known {
    member: Arc<Member>,
    facts: HostFacts,
    word: HostWord,
}

/// The policy that a change begins with.
#[derive(Debug)]
pub(super) enum Before<'p> {
    /// This one.
    Policy(&'p Arc<Policy>),
    /// This one, and hosts may have a newer one: what they say that they hide counts too.
    Older(&'p Arc<Policy>),
    /// One that this version does not read: what hosts say that they hide counts.
    Unread,
}

/// Every host that is told of policy, with its own word.
pub(super) async fn hosts(context: &Context) -> Result<Vec<Known>, Error> {
    let (_, mut states) = context.store.hosts().await?;
    let hosts = context.roster.active(Role::Host).into_iter();
    let known = hosts.map(|member| Known {
        facts: facts(&member),
        word: states.remove(&member.id).unwrap_or_default().word,
        member,
    });
    Ok(known.collect())
}

/// Hosts on which a change makes a port public or hides one, by name.
///
/// What a host hides by its own configuration stays hidden, whatever policy says.
pub(super) fn between(hosts: &[Known], before: &Before<'_>, new: &Policy) -> Vec<HostExposure> {
    let of = |host: &Known| {
        let own = ports(&host.word.own_protected_ports);
        let hidden = match before {
            Before::Policy(old) => old.hides_on(&host.facts),
            Before::Older(old) => union(
                &old.hides_on(&host.facts),
                &ports(&host.word.protected_ports),
            ),
            Before::Unread => ports(&host.word.protected_ports),
        };
        let exposure = Exposure::between(
            &union(&hidden, &own),
            &union(&new.hides_on(&host.facts), &own),
        );
        (!exposure.is_empty()).then(|| HostExposure {
            host: host.member.name.clone(),
            exposure,
        })
    };
    let mut changes: Vec<_> = hosts.iter().filter_map(of).collect();
    changes.sort_by(|one, other| one.host.cmp(&other.host));
    changes
}

/// Refuses what would make a port public, unless that is said to be meant.
pub(super) fn permit(changes: &[HostExposure], public: Public) -> Result<(), Error> {
    let mut becomes: BTreeMap<Service, Vec<String>> = BTreeMap::new();
    for HostExposure { host, exposure } in changes {
        for port in exposure.becomes_public.iter() {
            becomes.entry(port).or_default().push(host.clone());
        }
    }
    if becomes.is_empty() || public == Public::Allowed {
        return Ok(());
    }
    Err(Error::BecomesPublic(BecomesPublic(becomes)))
}

/// What is doubtful about a policy on these hosts, in words.
pub(super) fn doubts(
    hosts: &[Known],
    changes: &[HostExposure],
    new: &Policy,
    is_user: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut doubts = lock_out(hosts, changes, new, is_user);
    doubts.extend(runs_nothing(hosts, new));
    doubts
}

/// What becomes hidden and can be opened by nobody.
fn lock_out(
    hosts: &[Known],
    changes: &[HostExposure],
    new: &Policy,
    is_user: impl Fn(&str) -> bool,
) -> Vec<String> {
    let has_user = |names: &Usernames| names.iter().any(&is_user);
    let mut closed: BTreeMap<Service, Vec<String>> = BTreeMap::new();
    let hosts = hosts.iter().map(|known| (&*known.member.name, known));
    let hosts: BTreeMap<&str, &Known> = hosts.collect();
    for HostExposure { host, exposure } in changes {
        let Some(known) = hosts.get(&**host) else {
            continue;
        };
        let is_anyone = |names: &Usernames| names.is_empty() || has_user(names);
        if exposure.becomes_hidden.is_empty() {
            continue;
        }
        let opens = new.opens_on(&known.facts, is_anyone);
        for port in exposure.becomes_hidden.without(&opens).iter() {
            closed.entry(port).or_default().push(host.clone());
        }
    }
    let said = closed.into_iter().map(|(port, hosts)| {
        format!(
            "{port} becomes hidden on {}, where no stanza opens it for anybody who has joined",
            Names(&hosts)
        )
    });
    said.collect()
}

/// Stanzas with commands, on hosts that run none.
fn runs_nothing(hosts: &[Known], new: &Policy) -> Vec<String> {
    let runs = |stanza: &&Stanza| stanza.command.is_some() || stanza.cycle.is_some();
    let stanzas = new.stanzas.iter().filter(runs);
    let said = stanzas.filter_map(|stanza| {
        let off = hosts
            .iter()
            .filter(|host| host.word.commands == Some(false) && stanza.selects(&host.facts));
        let names: Vec<String> = off.map(|host| host.member.name.clone()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "stanza {}: no command runs on {}; the configuration of a host that has joined \
                 must say `commands = true`",
                stanza.label(),
                Names(&names)
            )
        })
    });
    said.collect()
}

fn ports(texts: &[String]) -> PortSet {
    let ports = texts.iter().filter_map(|text| text.parse::<Service>().ok());
    ports.collect()
}

fn union(some: &PortSet, others: &PortSet) -> PortSet {
    some.iter().chain(others.iter()).collect()
}

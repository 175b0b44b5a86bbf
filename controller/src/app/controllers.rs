//! The controllers that serve the fleet, each with the hosts that are connected to it.

use std::collections::HashMap;

use fleet::Role;

use crate::access::caller::Caller;
use crate::context::Context;
use crate::store::model::{ControllerFacts, Member};

/// A controller as an operator sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ControllerView {
    pub(crate) facts: ControllerFacts,
    /// Connected to it now: of those that the caller may see.
    pub(crate) hosts: u64,
    /// It has said lately that it serves.
    pub(crate) is_serving: bool,
    /// It is the one that answers.
    pub(crate) is_this: bool,
}

/// Every controller, this one first; `caller` counts the hosts that are its business.
pub(crate) fn list(context: &Context, caller: &Caller) -> Vec<ControllerView> {
    counted(context, |host| caller.may_see(host))
}

/// Every controller, this one first.
pub(crate) fn all(context: &Context) -> Vec<ControllerView> {
    counted(context, |_| true)
}

/// Where members dial the controller to which a host is connected; `None` for no controller, or one of before that
/// does not say.
pub(crate) fn of_host(context: &Context, host: &Member) -> Option<String> {
    if context.sessions.is_connected(&host.name) {
        return Some(context.settings.address.clone());
    }
    let others = context.sessions.others();
    let facts = others.facts(others.at(host.id)?)?;
    (!facts.address.is_empty()).then_some(facts.address)
}

fn counted(context: &Context, is_counted: impl Fn(&Member) -> bool) -> Vec<ControllerView> {
    let others = context.sessions.others();
    let myself = others.myself();
    let (mut here, mut there) = (0, HashMap::<u64, u64>::new());
    for host in context.roster.active(Role::Host) {
        if !is_counted(&host) {
            continue;
        }
        if context.sessions.is_connected(&host.name) {
            here += 1;
        } else if let Some(id) = others.at(host.id) {
            *there.entry(id).or_default() += 1;
        }
    }
    let this = ControllerView {
        facts: context.facts(),
        hosts: here,
        is_serving: true,
        is_this: true,
    };
    let further = others.controllers().into_iter();
    let further = further.filter(|said| Some(said.id) != myself);
    let further = further.map(|said| ControllerView {
        hosts: there.get(&said.id).copied().unwrap_or_default(),
        is_serving: others.lives(said.id),
        facts: said.facts,
        is_this: false,
    });
    std::iter::once(this).chain(further).collect()
}

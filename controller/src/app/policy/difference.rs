//! What another text would change, host by host. Stores nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::Role;
use policy::{AccessChange, Change, Policy, PolicyDiff};

use super::exposure::HostExposure;
use super::plan::{Planned, TestedLine, plan};
use super::text::{Draft, is_in_force, parse, with_keys};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::Member;
use crate::targets::{Target, Targets, facts};
use crate::timestamp::Timestamp;

/// What a text would change.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The generation that it was compared with.
    pub(crate) base_generation: u64,
    pub(crate) hosts: Vec<HostDifference>,
    pub(crate) warnings: Vec<String>,
    /// What would become public and what would become hidden.
    pub(crate) exposure: Vec<HostExposure>,
    /// What people would gain and lose.
    pub(crate) access: Vec<AccessChange>,
    pub(crate) tests: Vec<TestedLine>,
    /// The text is in force already.
    pub(crate) unchanged: bool,
}

/// Stanzas that come to a host, leave it, or change on it.
#[derive(Debug, Default)]
pub(crate) struct HostDifference {
    pub(crate) host: String,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// Which hosts and stanzas another text would change, and for whom, whosever business they are.
pub(super) async fn diff(
    context: &Context,
    draft: Draft,
    now: Timestamp,
) -> Result<Difference, Error> {
    let Draft { text, file } = with_keys(context, draft).await?;
    let new = parse(file, &text).await?;
    let in_force = context.rollout.in_force();
    let current = context.store.current_generation().await?;
    let Planned {
        exposure,
        mut warnings,
        access,
        tests,
    } = plan(context, current, &new, now).await?;
    if let Some(reason) = context.fleet.borrow().set_back.clone() {
        // What hosts have now is not known here: the rest compares with the older copy.
        warnings.insert(0, Error::SetBack { reason }.to_string());
    }
    let targets = context.rollout.targets();
    let then = context.rollout.try_out(Arc::clone(&new)).await?;
    let difference = policy::diff(&in_force.policy, &new);
    let hosts = context.roster.active(Role::Host);
    let changes = hosts
        .iter()
        .filter(|host| is_changed(&targets, &then, &host.name))
        .map(|host| host_difference(host, &in_force.policy, &new, &difference))
        .collect();
    Ok(Difference {
        base_generation: in_force.generation,
        hosts: changes,
        warnings,
        exposure,
        access,
        tests,
        unchanged: is_in_force(context, current, &text).await?,
    })
}

pub(super) fn is_changed(now: &Targets, then: &Targets, host: &str) -> bool {
    let digest = |target: &Target| target.compiled.digest;
    then.get(host).map(digest) != now.get(host).map(digest)
}

/// The stanzas that come to a host, leave it, or change on it.
fn host_difference(
    host: &Member,
    old: &Policy,
    new: &Policy,
    difference: &PolicyDiff,
) -> HostDifference {
    let facts = facts(host);
    let selected = |policy: &Policy| -> BTreeSet<String> {
        let stanzas = policy
            .stanzas
            .iter()
            .filter(|stanza| stanza.selects(&facts));
        stanzas.map(policy::Stanza::label).collect()
    };
    let (before, after) = (selected(old), selected(new));
    let mut change = HostDifference {
        host: host.name.clone(),
        ..HostDifference::default()
    };
    for stanza in &difference.stanzas {
        let name = stanza.stanza.clone();
        let was = before.contains(&name) && stanza.change != Change::Added;
        let is = after.contains(&name) && stanza.change != Change::Removed;
        match (was, is) {
            (false, true) => change.added.push(name),
            (true, false) => change.removed.push(name),
            (true, true) => change.changed.push(name),
            (false, false) => {}
        }
    }
    change
}

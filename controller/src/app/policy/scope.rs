//! What a caller with a scope may do to the policy: change hosts of her scope, and no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::Role;
use policy::{Change, Policy, PolicyTest, Stanza, TestedHosts};

use super::difference::{Difference, diff, is_changed};
use super::text::Draft;
use crate::access::caller::Caller;
use crate::app::tokens::selects_within;
use crate::context::Context;
use crate::error::Error;
use crate::timestamp::Timestamp;

/// What another text would change, as far as it is the caller's business.
pub(crate) async fn diff_for(
    context: &Context,
    caller: &Caller,
    draft: Draft,
    now: Timestamp,
) -> Result<Difference, Error> {
    let mut difference = diff(context, draft, now).await?;
    restrict(context, caller, &mut difference);
    Ok(difference)
}

/// What of a difference is the caller's business. Of the other hosts it is said how many would change, and
/// not which, as when she applies it.
fn restrict(context: &Context, caller: &Caller, difference: &mut Difference) {
    if caller.scope.is_whole() {
        return;
    }
    let members = context.roster.all();
    let hosts = members
        .iter()
        .filter(|member| member.role == Role::Host && caller.may_see(member));
    let hers: BTreeSet<&str> = hosts.map(|host| host.name.as_str()).collect();
    let all = difference.hosts.len();
    let is_hers = |host: &str| hers.contains(host);
    difference.hosts.retain(|change| is_hers(&change.host));
    difference.exposure.retain(|change| is_hers(&change.host));
    difference.access.retain(|change| is_hers(&change.host));
    let others = all.saturating_sub(difference.hosts.len());
    if others > 0 {
        let refusal = caller.out_of_scope(would_have_another(others));
        difference.warnings.insert(0, refusal.to_string());
    }
}

fn would_have_another(others: usize) -> String {
    let hosts = match others {
        1 => "1 other host".to_owned(),
        others => format!("{others} other hosts"),
    };
    format!("{hosts} would have another policy")
}

/// Refuses a policy by which a host that is none of hers would have another text, or would if it
/// joined: also the stanzas that come, go or change must select hosts of hers only.
pub(super) async fn check(
    context: &Context,
    caller: &Caller,
    new: &Arc<Policy>,
) -> Result<(), Error> {
    if caller.scope.is_whole() {
        return Ok(());
    }
    let in_force = context.rollout.in_force();
    let (now, then) = (
        context.rollout.targets(),
        context.rollout.try_out(Arc::clone(new)).await?,
    );
    let hosts = context.roster.active(Role::Host);
    let changed = hosts
        .iter()
        .filter(|host| is_changed(&now, &then, &host.name));
    // How many, and not which: their names are none of her business either.
    let others = changed.filter(|host| !caller.may_see(host)).count();
    if others > 0 {
        return Err(caller.out_of_scope(would_have_another(others)));
    }
    for stanza in policy::diff(&in_force.policy, new).stanzas {
        let named = |policy: &Policy| {
            let mut stanzas = policy.stanzas.iter();
            stanzas.find(|it| it.label() == stanza.stanza).cloned()
        };
        let (old, new) = match stanza.change {
            Change::Added => (None, named(new)),
            Change::Removed => (named(&in_force.policy), None),
            Change::Changed => (named(&in_force.policy), named(new)),
        };
        let is_hers = |stanza: &Stanza| {
            let hosts = &stanza.hosts;
            !hosts.is_empty() && hosts.iter().all(|it| selects_within(context, caller, it))
        };
        if !old.iter().chain(&new).all(is_hers) {
            let label = &stanza.stanza;
            return Err(caller.out_of_scope(format!(
                "the HOSTS lines of stanza {label} would also select others"
            )));
        }
    }
    check_tests(context, caller, (&in_force.policy, new))
}

/// Refuses that a test about hosts that are none of hers comes, goes, or is about other users: it
/// stands there to keep others from doing what she does.
fn check_tests(
    context: &Context,
    caller: &Caller,
    (before, after): (&Policy, &Policy),
) -> Result<(), Error> {
    let is_hers = |test: &PolicyTest| match &test.hosts {
        TestedHosts::Named(name) => {
            let host = context.roster.find(Role::Host, name);
            host.is_some_and(|host| caller.may_see(&host))
        }
        TestedHosts::Selected(selector) => selects_within(context, caller, selector),
    };
    let changed = |one: &Policy, other: &Policy| {
        let mut tests = one.tests.iter();
        let changed = tests.find(|test| !is_hers(test) && !other.tests.contains(test));
        changed.map(ToString::to_string)
    };
    match changed(before, after).or_else(|| changed(after, before)) {
        None => Ok(()),
        Some(test) => Err(caller.out_of_scope(format!(
            "`{test}` is about others, and has to stay as it is"
        ))),
    }
}

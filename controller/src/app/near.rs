//! Names that nobody has, or that are none of the caller's business: what is said of them, and which
//! known name may have been meant.

use std::sync::Arc;

use fleet::Role;

use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Member, Scope};

/// The host of this name.
///
/// # Errors
///
/// As [`no_host`] where there is none, and where it is none of the caller's.
pub(crate) fn host(context: &Context, caller: &Caller, name: &str) -> Result<Arc<Member>, Error> {
    let host = context.roster.find(Role::Host, name);
    host.filter(|host| caller.may_see(host))
        .ok_or_else(|| no_host_of_now(context, &caller.scope, name))
}

/// The member of this role and name.
///
/// # Errors
///
/// As [`host`]; of other roles, that there is none.
pub(crate) fn member(
    context: &Context,
    caller: &Caller,
    (role, name): (Role, &str),
) -> Result<Arc<Member>, Error> {
    match role {
        Role::Host => host(context, caller, name),
        Role::Auditor
        | Role::Helpdesk
        | Role::Operator
        | Role::Owner
        | Role::User
        | Role::Validator => {
            let member = context.roster.find(role, name);
            member.ok_or_else(|| {
                let all = context.roster.all();
                let known = all.iter().filter(|member| member.role == role);
                let near = did_you_mean(name, known.map(|member| member.name.as_str()));
                Error::not_found(format!("{role} is called `{name}`{near}"))
            })
        }
    }
}

/// As [`no_host`], of the hosts of now.
pub(crate) fn no_host_of_now(context: &Context, scope: &Scope, name: &str) -> Error {
    let all = context.roster.all();
    let hosts = all.iter().filter(|it| it.role == Role::Host);
    let hosts = hosts.filter(|host| scope.covers(&host.labels));
    no_host(context, scope, name, hosts.map(|host| host.name.as_str()))
}

/// What is said where no host of the scope has the name. The same is said, whether another host has it
/// or none has: what is outside of a scope is not shown by refusals either. `known` are the names of
/// those in it.
pub(crate) fn no_host(
    context: &Context,
    scope: &Scope,
    name: &str,
    known: impl IntoIterator<Item = impl AsRef<str>>,
) -> Error {
    let all = context.roster.all();
    let of_now = all.iter().find(|member| {
        let mut names = member.keys.iter().flat_map(|key| &key.former_names);
        scope.covers(&member.labels) && names.any(|former| *former == (Role::Host, name.to_owned()))
    });
    let near = match of_now {
        Some(host) => format!("; it is called {} now", host.name),
        None => did_you_mean(name, known),
    };
    if scope.is_whole() {
        return Error::not_found(format!("host is called `{name}`{near}"));
    }
    Error::OutOfScope {
        scope: scope.to_string(),
        problem: format!("none of them is called `{name}`{near}"),
    }
}

/// What goes after a sentence about a name that nobody knows; empty when none is like it.
pub(crate) fn did_you_mean(word: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let slips_max = if word.chars().count() < 4 { 1 } else { 2 };
    let distance = |name: &str| strsim::osa_distance(&word.to_lowercase(), &name.to_lowercase());
    let known = known.into_iter().map(|name| name.as_ref().to_owned());
    let others = known.filter(|name| *name != word);
    let nearest = others.map(|name| (distance(&name), name)).min();
    match nearest {
        Some((slips, name)) if slips <= slips_max => format!("; did you mean {name}?"),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_differs_least_is_meant_and_none_that_differs_much() {
        let known = ["alice", "bob", "web-1"];

        assert_eq!(did_you_mean("alcie", known), "; did you mean alice?");
        assert_eq!(did_you_mean("Web1", known), "; did you mean web-1?");
        assert_eq!(did_you_mean("bo", known), "; did you mean bob?");
        assert_eq!(did_you_mean("mallory", known), "");
        assert_eq!(did_you_mean("alice", [""; 0]), "");
    }
}

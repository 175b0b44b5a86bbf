//! The directory, not older than it need be.
//!
//! A host that moved, or that was set up anew, is met at its new address and under its new key, because
//! the directory is fetched before the knock when it is not of this minute. A controller that does not
//! answer at once changes nothing: the directory of the profile is as good as it was.

use fleet::Role;
use fleet::wire::DirectoryHost;
use member::Membership;

use super::args::KnockArgs;
use super::asker::{Asker, Silence};
use super::listed::{Listed, lets_in, spa_port};
use crate::connection::Connection;
use crate::context::Context;
use crate::directory::Directory;
use crate::error::{CommandError, Result};
use crate::time;

/// Up to this age in seconds a directory is taken as it is: a few knocks in a row ask once.
const FRESH_SECS: u64 = 30;

/// The directory to knock at `host` by.
///
/// # Errors
///
/// Exit code 1 for a member that is no user, 3 when the controller is not reached and there is no
/// directory, or none with this host.
pub(crate) async fn directory(
    context: &Context,
    asker: &mut Asker,
    host: &str,
    args: &KnockArgs,
) -> Result<Directory> {
    let membership = asker.membership().clone();
    require_user(&membership)?;
    let Some(known) = Directory::load(&context.profile, &membership)? else {
        return fetch(context, membership).await;
    };
    let is_known = !known.entries(host).is_empty();
    let is_fresh = is_fresh(known.at_secs(), context.now_secs);
    if is_known && is_fresh && lets_in(&known.entries(host), args) {
        return Ok(known);
    }
    match again(context, asker).await {
        Some(fresh) => {
            let entries = known.entries(host);
            let old = entries.first().map(|entry| Listed::of(&known, entry));
            if let Some(change) = old.and_then(|old| change(host, &old, &fresh)) {
                context.ui.note(format_args!("note: {change}"));
            }
            Ok(fresh)
        }
        None if is_known || known.is_locked(host) => {
            warn(context, asker);
            Ok(known)
        }
        None => fetch(context, membership).await,
    }
}

/// The directory for those who name no host: all of it. It is fetched, however new the known one is:
/// whoever asks what there is may have been told just now that there is more.
///
/// # Errors
///
/// As [`directory`].
pub(crate) async fn whole(context: &Context, asker: &mut Asker) -> Result<Directory> {
    let membership = asker.membership().clone();
    require_user(&membership)?;
    let Some(known) = Directory::load(&context.profile, &membership)? else {
        return fetch(context, membership).await;
    };
    let fresh = again(context, asker).await;
    if fresh.is_none() {
        warn(context, asker);
    }
    Ok(fresh.unwrap_or(known))
}

/// The directory as the controller has it now, if it answers in time.
pub(crate) async fn again(context: &Context, asker: &mut Asker) -> Option<Directory> {
    let profile = context.profile.clone();
    let fetched =
        |connection: Connection| async move { Directory::refresh(&profile, &connection).await };
    asker.ask(fetched).await
}

fn require_user(membership: &Membership) -> Result {
    if membership.role == Role::User {
        return Ok(());
    }
    Err(CommandError::refused(format!(
        "this profile is {} {}, and only users have a directory of hosts",
        membership.role, membership.name
    ))
    .with_hint("name a user's profile with --profile, or static keys with --key-file or -n"))
}

async fn fetch(context: &Context, membership: Membership) -> Result<Directory> {
    let connection = Connection::of(membership).await?;
    Directory::refresh(&context.profile, &connection).await
}

/// A directory from the future says that a clock is wrong, and nothing about its age.
fn is_fresh(at_secs: u64, now_secs: u64) -> bool {
    now_secs
        .checked_sub(at_secs)
        .is_some_and(|age_secs| age_secs < FRESH_SECS)
}

/// A controller that is away is nothing to speak of; one that refuses is.
fn warn(context: &Context, asker: &Asker) {
    match asker.silence() {
        Some(Silence::Failed(error)) if !error.is_unreachable() => {
            context
                .ui
                .warn(format_args!("the directory stays as it was: {error}"));
        }
        Some(Silence::Failed(_) | Silence::Late) if context.verbose > 0 => context
            .ui
            .note("the controller does not answer; the directory stays as it was"),
        Some(Silence::Failed(_) | Silence::Late) | None => {}
    }
}

/// From a directory nobody can tell whether a host has rotated its keys or was set up anew.
fn other_key(host: &str, since: &str) -> String {
    format!(
        "{host} has another key than in the directory of {since}: its keys were rotated, or it has joined anew"
    )
}

/// What became different for whoever knocks at a host, in one sentence.
pub(crate) fn change(host: &str, old: &Listed, new: &Directory) -> Option<String> {
    let entries = new.entries(host);
    let is_there = |entry: &&&DirectoryHost| spa_port(entry) == old.spa_port;
    let entry = entries.iter().find(is_there).or_else(|| entries.first())?;
    let new = Listed::of(new, entry);
    let since = time::short(old.at_secs.saturating_mul(1000));
    if old.key != new.key {
        return Some(other_key(host, &since));
    }
    if old.addresses != new.addresses {
        return Some(format!(
            "{host} has moved since the directory of {since}: from {} to {}",
            old.addresses.join(", "),
            new.addresses.join(", ")
        ));
    }
    (old.spa_port != new.spa_port).then(|| {
        format!(
            "{host} takes packets at port {} and not {}, as in the directory of {since}",
            new.spa_port, old.spa_port
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_fresh_for_half_a_minute_and_never_when_it_is_from_the_future() {
        assert!(is_fresh(1_000, 1_000));
        assert!(is_fresh(1_000, 1_029));
        assert!(!is_fresh(1_000, 1_030));
        assert!(!is_fresh(1_000, 999));
    }

    #[test]
    fn of_a_host_with_another_key_both_is_said_that_it_may_have_done() {
        let said = other_key("web-1", "10:03");
        assert!(
            said.contains("keys were rotated") && said.contains("joined anew"),
            "{said}"
        );
    }
}

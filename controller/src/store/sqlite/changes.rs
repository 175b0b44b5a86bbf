//! Locking, unlocking and removing of members and of their keys, each with its record and with what
//! must go with it: the tokens that the member made, and those that were made for it.

use fleet::{EventKind, Role};

use super::number::signed;
use super::{events, member_changes, members, tokens};
use crate::store::error::StoreError;
use crate::store::model::{Change, ChangeOutcome, Changed, Member, MemberKey};
use crate::store::sql::{Connection, params};

/// The member, or the one of its keys, that a change is about.
enum Found {
    Member(Member),
    Key(Member, Box<MemberKey>),
}

/// See `Store::lock`.
pub(in crate::store) fn lock(
    connection: &Connection,
    change: &Change,
    kind: EventKind,
) -> Result<ChangeOutcome, StoreError> {
    let found = match find(connection, change)? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    if is_last_owner(connection, &found)? {
        return Ok(ChangeOutcome::LastOwner);
    }
    let ((table, is_it), id) = found.rows();
    let sql = format!(
        "UPDATE {table} SET locked_at_ms = ?2, lock_reason = ?3, locked_by = ?4
         WHERE {is_it} AND locked_at_ms IS NULL"
    );
    let locked = connection.prepare_cached(&sql)?.execute(params![
        signed(id),
        signed(change.at_ms),
        change.reason,
        change.origin.actor,
    ])?;
    if locked == 0 {
        return Ok(ChangeOutcome::DoneBefore);
    }
    member_changes::note(connection, found.member().id)?;
    events::append_own(connection, change.event(kind, kind.as_str()))?;
    with_what_goes_along(connection, &found, change)
}

/// See `Store::unlock`.
pub(in crate::store) fn unlock(
    connection: &Connection,
    change: &Change,
) -> Result<ChangeOutcome, StoreError> {
    let found = match find(connection, change)? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    let ((table, is_it), id) = found.rows();
    let sql = format!(
        "UPDATE {table} SET locked_at_ms = NULL, lock_reason = '', locked_by = ''
         WHERE {is_it} AND locked_at_ms IS NOT NULL"
    );
    let unlocked = connection.prepare_cached(&sql)?.execute([signed(id)])?;
    if unlocked == 0 {
        return Ok(ChangeOutcome::DoneBefore);
    }
    member_changes::note(connection, found.member().id)?;
    events::append_own(connection, change.event(EventKind::Unlocked, "unlocked"))?;
    Ok(ChangeOutcome::Done(Changed::default()))
}

/// See `Store::remove`.
pub(in crate::store) fn remove(
    connection: &Connection,
    change: &Change,
) -> Result<ChangeOutcome, StoreError> {
    let found = match find(connection, change)? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    if is_last_owner(connection, &found)? {
        return Ok(ChangeOutcome::LastOwner);
    }
    if let Found::Key(member, _) = &found
        && member.devices().count() == 1
    {
        return Ok(ChangeOutcome::LastKey);
    }
    events::append_own(connection, change.event(EventKind::Removed, "removed"))?;
    match &found {
        Found::Member(member) => {
            members::delete(connection, member.id)?;
            if member.role == Role::User {
                let by = &change.origin.actor;
                members::departed(connection, &member.name, change.at_ms, by)?;
            }
        }
        Found::Key(_, key) => members::delete_key(connection, key.id)?,
    }
    with_what_goes_along(connection, &found, change)
}

/// Revokes what the member could still use to come back, or to let others in.
fn with_what_goes_along(
    connection: &Connection,
    found: &Found,
    change: &Change,
) -> Result<ChangeOutcome, StoreError> {
    let (member, key) = match found {
        Found::Member(member) => (member, None),
        Found::Key(member, key) => (member, Some(key.name.as_str())),
    };
    let revoked_tokens = tokens::revoke_of(connection, (member, key), None, change)?;
    let invited = match key {
        None => tokens::invited_by(connection, member.id, change.at_ms)?,
        Some(_) => Vec::new(),
    };
    Ok(ChangeOutcome::Done(Changed {
        revoked_tokens,
        invited,
    }))
}

fn find(
    connection: &Connection,
    change: &Change,
) -> Result<Result<Found, ChangeOutcome>, StoreError> {
    let whom = &change.whom;
    let Some(member) = members::find(connection, whom.role, &whom.name)? else {
        return Ok(Err(ChangeOutcome::UnknownMember));
    };
    let Some(name) = &whom.key else {
        return Ok(Ok(Found::Member(member)));
    };
    // A key and the one that follows it are one device.
    let named = member.key_named(name);
    let followed = named.and_then(|key| member.key(key.follows?));
    let key = followed.or(named).cloned();
    Ok(key.map_or(Err(ChangeOutcome::UnknownKey), |key| {
        Ok(Found::Key(member, Box::new(key)))
    }))
}

/// Whether nobody could say any more who may do what without this one.
fn is_last_owner(connection: &Connection, found: &Found) -> Result<bool, StoreError> {
    let member = found.member();
    let counts = member.role == Role::Owner && member.is_active();
    Ok(counts && members::other_owners(connection, member.id)? == 0)
}

// === impl Found ===

impl Found {
    const fn member(&self) -> &Member {
        match self {
            Self::Member(member) | Self::Key(member, _) => member,
        }
    }

    /// Its table with the condition for its rows, and the id in that.
    fn rows(&self) -> ((&'static str, &'static str), u64) {
        match self {
            Self::Member(member) => (("members", "id = ?1"), member.id),
            Self::Key(_, key) => (("member_keys", "(id = ?1 OR follows = ?1)"), key.id),
        }
    }
}

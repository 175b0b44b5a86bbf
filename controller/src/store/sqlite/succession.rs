//! Keys that follow others of the same member. A key and the one that follows it are locked and removed
//! together: they are one device.

use fleet::{Event, EventKind};

use super::number::signed;
use super::{events, member_changes, members, rows};
use crate::store::error::StoreError;
use crate::store::model::{Change, ChangeOutcome, Changed, SuccessionOutcome, Successor};
use crate::store::sql::{Connection, OptionalExtension as _, params};

/// What a key is called until the one that it follows has ended. No name that people give has a blank.
const NEXT: &str = " (next)";

/// See `Store::add_successor`.
pub(in crate::store) fn add(
    connection: &Connection,
    new: &Successor,
    event: Event,
) -> Result<SuccessionOutcome, StoreError> {
    let sql = format!(
        "SELECT k.member, k.name, k.authorities, {}, {}
         FROM member_keys k JOIN members m ON m.id = k.member
         WHERE k.id = ?1 AND k.follows IS NULL
           AND k.locked_at_ms IS NULL AND m.locked_at_ms IS NULL",
        rows::KEYS.good(connection, "k"),
        rows::MEMBERS.good(connection, "m")
    );
    let followed = connection
        .prepare_cached(&sql)?
        .query_row([signed(new.follows)], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, bool>(3)? && row.get::<_, bool>(4)?,
            ))
        })
        .optional()?;
    let Some((member, name, authorities, true)) = followed else {
        return Ok(SuccessionOutcome::UnknownKey);
    };
    let of_this_key = connection
        .prepare_cached("SELECT follows FROM member_keys WHERE identity_key = ?1")?
        .query_row([new.identity_key], |row| row.get::<_, Option<u64>>(0))
        .optional()?;
    match of_this_key {
        Some(Some(follows)) if follows == new.follows => return Ok(SuccessionOutcome::Done),
        Some(_) => return Ok(SuccessionOutcome::KeyInUse),
        None => {}
    }
    if !forget_who_never_came(connection, new.follows)? {
        return Ok(SuccessionOutcome::Followed);
    }
    // Its program is the same, so it knows the same authorities.
    let id = connection
        .prepare_cached(
            "INSERT INTO member_keys (member, name, identity_key, exchange_key, joined_at_ms,
                                      renewed_at_ms, authorities, follows)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)",
        )?
        .insert(params![
            member,
            format!("{name}{NEXT}"),
            new.identity_key,
            new.exchange_key,
            signed(new.at_ms),
            authorities,
            signed(new.follows),
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO former_names (key, role, name)
             SELECT ?1, role, name FROM former_names WHERE key = ?2",
        )?
        .execute([id, signed(new.follows)])?;
    connection
        .prepare_cached("UPDATE member_keys SET rotation_asked_ms = NULL WHERE id = ?1")?
        .execute([signed(new.follows)])?;
    member_changes::note_of_key(connection, new.follows)?;
    events::append_own(connection, event)?;
    Ok(SuccessionOutcome::Done)
}

/// Takes away another key that was to follow this one and by which nobody was ever given a certificate:
/// its program has lost it. False where somebody came with it.
fn forget_who_never_came(connection: &Connection, followed: u64) -> Result<bool, StoreError> {
    member_changes::note_of_key(connection, followed)?;
    connection
        .prepare_cached("DELETE FROM member_keys WHERE follows = ?1 AND issuer IS NULL")?
        .execute([signed(followed)])?;
    let others = connection
        .prepare_cached("SELECT 1 FROM member_keys WHERE follows = ?1")?
        .exists([signed(followed)])?;
    Ok(!others)
}

/// See `Store::end_followed`.
pub(in crate::store) fn end_followed(
    connection: &Connection,
    key: u64,
    event: Event,
) -> Result<(), StoreError> {
    let followed = connection
        .prepare_cached(
            "SELECT old.id, old.name FROM member_keys new JOIN member_keys old ON old.id = new.follows
             WHERE new.id = ?1",
        )?
        .query_row([signed(key)], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    let Some((old, name)) = followed else {
        return Ok(());
    };
    // What follows a key goes with it, so this one does not follow it any more before it goes.
    connection
        .prepare_cached("UPDATE member_keys SET follows = NULL WHERE id = ?1")?
        .execute([signed(key)])?;
    members::delete_key(connection, old)?;
    connection
        .prepare_cached("UPDATE member_keys SET name = ?2 WHERE id = ?1")?
        .execute(params![signed(key), name])?;
    member_changes::note_of_key(connection, key)?;
    events::append_own(connection, event)
}

/// See `Store::ask_rotation`.
pub(in crate::store) fn ask(
    connection: &Connection,
    change: &Change,
) -> Result<ChangeOutcome, StoreError> {
    let whom = &change.whom;
    let Some(member) = members::find(connection, whom.role, &whom.name)? else {
        return Ok(ChangeOutcome::UnknownMember);
    };
    if let Some(key) = &whom.key
        && member.key_named(key).is_none()
    {
        return Ok(ChangeOutcome::UnknownKey);
    }
    // Not where the next one is on its way.
    let asked = connection
        .prepare_cached(
            "UPDATE member_keys SET rotation_asked_ms = ?3
             WHERE member = ?1 AND (CAST(?2 AS text) IS NULL OR name = ?2) AND follows IS NULL
               AND rotation_asked_ms IS NULL
               AND id NOT IN (SELECT follows FROM member_keys WHERE follows IS NOT NULL)",
        )?
        .execute(params![signed(member.id), whom.key, signed(change.at_ms)])?;
    if asked == 0 {
        return Ok(ChangeOutcome::DoneBefore);
    }
    member_changes::note(connection, member.id)?;
    let event = change.event(EventKind::Operator, "asked for new keys");
    events::append_own(connection, event)?;
    Ok(ChangeOutcome::Done(Changed::default()))
}

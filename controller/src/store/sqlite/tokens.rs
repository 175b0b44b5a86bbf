//! Invitations. The secret itself is never stored, only its hash.

use std::str::FromStr as _;

use fleet::{Event, Role};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

use super::number::signed;
use super::{events, members};
use crate::store::error::StoreError;
use crate::store::model::{
    EnrollConflict, EnrollOutcome, Invitation, NewMember, Redemption, StoredToken, TokenState,
};

/// See `Store::create_token`.
pub(in crate::store) fn create(
    connection: &Connection,
    secret: &[u8; 32],
    invitation: &Invitation,
    event: Event,
) -> Result<(), StoreError> {
    let Invitation {
        role,
        name,
        labels,
        created_by,
        created_at_ms,
        expires_at_secs,
    } = invitation;
    connection
        .prepare_cached(
            "INSERT INTO tokens (secret_hash, role, name, labels, created_by, created_at_ms,
                                 expires_at_secs)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            hash(secret),
            role.as_str(),
            name,
            members::labels_text(labels),
            created_by,
            signed(*created_at_ms),
            signed(*expires_at_secs),
        ])?;
    events::append_own(connection, event)
}

/// See `Store::enroll`.
///
/// Every conflict is found before the first write. Should two joiners get that far with one token,
/// the conditional update lets one of them through and the other one's writes are undone.
pub(in crate::store) fn enroll(
    connection: &Connection,
    secret: &[u8],
    member: NewMember,
    event: Event,
    now_ms: u64,
) -> Result<EnrollOutcome, StoreError> {
    let refused = |conflict| Ok(EnrollOutcome::Refused(conflict));
    let Some(token) = find(connection, secret)? else {
        return refused(EnrollConflict::TokenUnknown);
    };
    match token.state(&member.identity_key, now_ms) {
        TokenState::Open => {}
        TokenState::Expired => return refused(EnrollConflict::TokenExpired),
        TokenState::Used => return refused(EnrollConflict::TokenUsed),
        TokenState::RedeemedBefore { member } => {
            let member = members::by_id(connection, member)?.filter(|member| !member.banned);
            return match member {
                Some(member) => Ok(EnrollOutcome::EnrolledBefore(member)),
                None => refused(EnrollConflict::TokenUsed),
            };
        }
    }
    if members::is_taken(connection, member.role, &member.name)? {
        return refused(EnrollConflict::NameTaken);
    }
    let id = members::insert(connection, &member)?;
    redeem(connection, secret, &member.identity_key, id, now_ms)?;
    events::append_own(connection, event)?;
    Ok(EnrollOutcome::Enrolled(member.into_member(id)))
}

/// See `Store::token`.
pub(in crate::store) fn find(
    connection: &Connection,
    secret: &[u8],
) -> Result<Option<StoredToken>, StoreError> {
    let token = connection
        .prepare_cached(
            "SELECT role, name, labels, created_by, created_at_ms, expires_at_secs, redeemed_by,
                    member
             FROM tokens WHERE secret_hash = ?1",
        )?
        .query_row([hash(secret)], |row| Ok(read(row)))
        .optional()?;
    token.transpose()
}

fn redeem(
    connection: &Connection,
    secret: &[u8],
    identity_key: &[u8; 32],
    member: u64,
    now_ms: u64,
) -> Result<(), StoreError> {
    let redeemed = connection
        .prepare_cached(
            "UPDATE tokens SET redeemed_at_ms = ?4, redeemed_by = ?2, member = ?3
             WHERE secret_hash = ?1 AND redeemed_at_ms IS NULL",
        )?
        .execute(params![
            hash(secret),
            identity_key,
            signed(member),
            signed(now_ms)
        ])?;
    if redeemed == 1 {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            what: "tokens.redeemed_at_ms",
        })
    }
}

fn read(row: &Row<'_>) -> Result<StoredToken, StoreError> {
    let damaged = |what| StoreError::Damaged { what };
    let role: String = row.get(0)?;
    let labels: String = row.get(2)?;
    let redeemed_by: Option<Vec<u8>> = row.get(6)?;
    let member: Option<u64> = row.get(7)?;
    let redemption = match (redeemed_by, member) {
        (None, None) => None,
        (Some(identity_key), Some(member)) => Some(Redemption {
            identity_key,
            member,
        }),
        (Some(_), None) | (None, Some(_)) => return Err(damaged("tokens.member")),
    };
    Ok(StoredToken {
        invitation: Invitation {
            role: Role::from_str(&role).map_err(|_| damaged("tokens.role"))?,
            name: row.get(1)?,
            labels: serde_json::from_str(&labels).map_err(|_| damaged("tokens.labels"))?,
            created_by: row.get(3)?,
            created_at_ms: row.get(4)?,
            expires_at_secs: row.get(5)?,
        },
        redemption,
    })
}

fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"postern token v1\0")
        .chain_update(secret)
        .finalize()
        .into()
}

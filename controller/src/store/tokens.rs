//! Invitations. The secret itself is never stored, only its hash.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use fleet::Role;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::{StoreError, signed};
use crate::error::{Error, TokenRefused};

/// What a token promises.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Invitation {
    pub(crate) role: Role,
    /// Empty when the joiner proposes its own.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) created_by: String,
    pub(crate) created_at_ms: u64,
    pub(crate) expires_at_secs: u64,
}

/// What redeeming a token came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Redeemed {
    /// This call won it; [`bind`] must say for which member.
    Now(Invitation),
    /// The same identity had won it before, as this member.
    Before { member: u64 },
}

pub(crate) fn insert(
    connection: &Connection,
    secret: &[u8; 32],
    invitation: &Invitation,
) -> Result<(), Error> {
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
            serde_json::to_string(labels).unwrap_or_default(),
            created_by,
            signed(*created_at_ms),
            signed(*expires_at_secs),
        ])?;
    Ok(())
}

/// Redeems a token for `identity_key`: one conditional update, which exactly one caller wins.
///
/// A retry with the same identity within the token's life is answered as before, because the first
/// answer may have been lost on its way.
pub(crate) fn redeem(
    connection: &Connection,
    secret: &[u8],
    identity_key: &[u8; 32],
    now_ms: u64,
) -> Result<Redeemed, Error> {
    let won = connection
        .prepare_cached(
            "UPDATE tokens SET redeemed_at_ms = ?3, redeemed_by = ?2
             WHERE secret_hash = ?1 AND redeemed_at_ms IS NULL AND expires_at_secs > ?3 / 1000
             RETURNING role, name, labels, created_by, created_at_ms, expires_at_secs",
        )?
        .query_row(params![hash(secret), identity_key, signed(now_ms)], |row| {
            Ok((
                (row.get(0)?, row.get(1)?, row.get(2)?),
                (row.get(3)?, row.get(4)?, row.get(5)?),
            ))
        })
        .optional()?;
    match won {
        Some((texts, numbers)) => Ok(Redeemed::Now(invitation(texts, numbers)?)),
        None => redeemed_before(connection, secret, identity_key, now_ms),
    }
}

/// Says whose membership a redeemed token became.
pub(crate) fn bind(connection: &Connection, secret: &[u8], member: u64) -> Result<(), Error> {
    connection
        .prepare_cached("UPDATE tokens SET member = ?2 WHERE secret_hash = ?1")?
        .execute(params![hash(secret), signed(member)])?;
    Ok(())
}

/// Tells apart why nothing was won.
fn redeemed_before(
    connection: &Connection,
    secret: &[u8],
    identity_key: &[u8; 32],
    now_ms: u64,
) -> Result<Redeemed, Error> {
    type Found = (u64, Option<Vec<u8>>, Option<u64>);
    let found: Option<Found> = connection
        .prepare_cached(
            "SELECT expires_at_secs, redeemed_by, member FROM tokens WHERE secret_hash = ?1",
        )?
        .query_row([hash(secret)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((expires_at_secs, redeemed_by, member)) = found else {
        return Err(TokenRefused::Unknown.into());
    };
    if expires_at_secs <= now_ms / 1000 {
        return Err(TokenRefused::Expired.into());
    }
    match member {
        Some(member) if redeemed_by.as_deref() == Some(identity_key.as_slice()) => {
            Ok(Redeemed::Before { member })
        }
        _ => Err(TokenRefused::Used.into()),
    }
}

fn invitation(
    (role, name, labels): (String, String, String),
    (created_by, created_at_ms, expires_at_secs): (String, u64, u64),
) -> Result<Invitation, Error> {
    let damaged = |what| StoreError::Damaged { what };
    Ok(Invitation {
        role: Role::from_str(&role).map_err(|_| damaged("tokens.role"))?,
        name,
        labels: serde_json::from_str(&labels).map_err(|_| damaged("tokens.labels"))?,
        created_by,
        created_at_ms,
        expires_at_secs,
    })
}

fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"postern token v1\0")
        .chain_update(secret)
        .finalize()
        .into()
}

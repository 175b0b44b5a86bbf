//! Invitations. The secret itself is never stored, only its hash.

use std::str::FromStr as _;

use fleet::{Event, EventKind, Role};
use sha2::{Digest as _, Sha256};

use super::number::signed;
use super::{events, members, rows};
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{
    Change, Invitation, Member, NewToken, Redemption, RevokeOutcome, Scope, StoredToken, TokenFate,
};
use crate::store::sql::{Connection, Error, Row, Set, Value, params, params_from_iter, values};

const COLUMNS: &str = "role, name, labels, created_by, created_at_ms, expires_at_secs, redeemed_by, \
                       member, id, key_name, replaces, creator, revoked_at_ms IS NOT NULL, \
                       member_key, redeemed_name, coalesce(redeemed_at_ms, 0), scope";
/// Tokens that are neither open nor made within this are not listed, and whom they admitted is not
/// asked about.
const LISTED_MS: u64 = 30 * 24 * 3600 * 1000;
const OPEN: &str = "redeemed_at_ms IS NULL AND revoked_at_ms IS NULL";

/// See `Store::create_token`. Those that are made at one time are one set.
impl Together for Box<NewToken> {
    type Outcome = ();

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.tokens
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<()>, StoreError> {
        let mut created = Set::default();
        for token in several {
            created.push(params_from_iter(&values_of_new(token)?))?;
        }
        connection
            .prepare_cached(
                "INSERT INTO tokens (secret_hash, role, name, labels, created_by, created_at_ms,
                                     expires_at_secs, id, key_name, replaces, creator, scope)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute_each(&created)?;
        let recorded = several.iter().map(|token| token.event.clone());
        events::append_all_own(connection, recorded)?;
        Ok(vec![(); several.len()])
    }
}

fn values_of_new(token: &NewToken) -> Result<Vec<Value>, Error> {
    let Invitation {
        id,
        role,
        name,
        key_name,
        replaces,
        labels,
        scope,
        created_by,
        creator,
        created_at_ms,
        expires_at_secs,
    } = &token.invitation;
    values(params![
        hash(&token.secret),
        role.as_str(),
        name,
        members::labels_text(labels),
        created_by,
        signed(*created_at_ms),
        signed(*expires_at_secs),
        id,
        key_name,
        replaces,
        creator.map(signed),
        members::labels_text(&scope.0),
    ])
}

/// See `Store::token`.
pub(in crate::store) fn find(
    connection: &Connection,
    secret: &[u8],
) -> Result<Option<StoredToken>, StoreError> {
    Ok(find_all(connection, &[secret])?.pop().flatten())
}

/// The same of several, in their order.
pub(super) fn find_all(
    connection: &Connection,
    secrets: &[&[u8]],
) -> Result<Vec<Option<StoredToken>>, StoreError> {
    let sql = format!("{} WHERE secret_hash = ?1", select(connection));
    let mut asked = Set::default();
    for secret in secrets {
        asked.push([hash(secret)])?;
    }
    let mut found = Vec::new();
    connection
        .prepare_cached(&sql)?
        .query_each(&asked, |number, row| {
            found.push((number, read(row)));
            Ok(())
        })?;
    let mut tokens: Vec<Option<StoredToken>> = secrets.iter().map(|_| None).collect();
    for (number, token) in found {
        if let Some(place) = tokens.get_mut(number) {
            *place = Some(token?);
        }
    }
    Ok(tokens)
}

/// See `Store::tokens`.
pub(in crate::store) fn all(
    connection: &Connection,
    now_ms: u64,
) -> Result<Vec<StoredToken>, StoreError> {
    let sql = format!(
        "{} WHERE created_at_ms >= ?1 OR {OPEN} AND expires_at_secs > ?2
         ORDER BY created_at_ms DESC, id",
        select(connection)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let since = signed(now_ms.saturating_sub(LISTED_MS));
    let tokens = statement.query_map([since, signed(now_ms / 1000)], |row| Ok(read(row)))?;
    tokens.map(|token| token?).collect()
}

/// See `Store::revoke_token`.
pub(in crate::store) fn revoke(
    connection: &Connection,
    id: &str,
    change: impl FnOnce(&Invitation) -> Event,
    by: &str,
    now_ms: u64,
) -> Result<RevokeOutcome, StoreError> {
    let sql = format!(
        "{} WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2",
        select(connection)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let tokens = statement.query_map([id], |row| Ok(read(row)))?;
    let mut tokens: Vec<StoredToken> = tokens
        .map(|token| token?)
        .collect::<Result<_, StoreError>>()?;
    let Some(mut token) = tokens.pop() else {
        return Ok(RevokeOutcome::Unknown);
    };
    if !tokens.is_empty() {
        return Ok(RevokeOutcome::Ambiguous);
    }
    match token.fate(now_ms) {
        TokenFate::Open => {}
        TokenFate::Redeemed | TokenFate::Expired | TokenFate::Revoked => {
            return Ok(RevokeOutcome::NotOpen(token));
        }
    }
    mark_revoked(connection, &token.invitation.id, by, now_ms)?;
    events::append_own(connection, change(&token.invitation))?;
    token.is_revoked = true;
    Ok(RevokeOutcome::Revoked(token))
}

/// Revokes what is open and was made by a member or for it; of one key, what was made for that key;
/// but for the token that is being redeemed. Returns their ids.
pub(super) fn revoke_of(
    connection: &Connection,
    (member, key): (&Member, Option<&str>),
    redeemed: Option<&str>,
    change: &Change,
) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT id FROM tokens
         WHERE {OPEN} AND expires_at_secs > ?1 AND id IS DISTINCT FROM ?5
           AND role = ?2 AND name = ?3 AND (CAST(?4 AS text) IS NULL OR key_name = ?4)
         ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let now_secs = signed(change.at_ms / 1000);
    let made_for = params![now_secs, member.role.as_str(), member.name, key, redeemed];
    let ids = statement.query_map(made_for, |row| row.get(0))?;
    let mut ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    for id in &ids {
        revoke_with(connection, id, change)?;
    }
    if key.is_none() {
        ids.extend(revoke_made_by(connection, member, redeemed, change)?);
    }
    Ok(ids)
}

/// Of invitations to replace, when one is redeemed and there was nobody, or no such key, to replace:
/// revokes the others that are open, which would take the place of whoever comes now.
pub(super) fn revoke_replacing(
    connection: &Connection,
    redeemed: &Invitation,
    change: &Change,
) -> Result<(), StoreError> {
    if !redeemed.replaces {
        return Ok(());
    }
    let sql = format!(
        "SELECT id FROM tokens
         WHERE {OPEN} AND expires_at_secs > ?1 AND id <> ?2
           AND role = ?3 AND name = ?4 AND key_name = ?5 AND replaces <> 0
         ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let ids = statement.query_map(
        params![
            signed(change.at_ms / 1000),
            redeemed.id,
            redeemed.role.as_str(),
            change.whom.name,
            redeemed.key_name,
        ],
        |row| row.get(0),
    )?;
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    ids.iter()
        .try_for_each(|id| revoke_with(connection, id, change))
}

/// Revokes what is open and was made by a member, but for the token that is being redeemed. Returns
/// their ids.
fn revoke_made_by(
    connection: &Connection,
    member: &Member,
    redeemed: Option<&str>,
    change: &Change,
) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT id FROM tokens
         WHERE {OPEN} AND expires_at_secs > ?1 AND creator = ?2 AND id IS DISTINCT FROM ?3 ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let made_by = params![signed(change.at_ms / 1000), signed(member.id), redeemed];
    let ids = statement.query_map(made_by, |row| row.get(0))?;
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    for id in &ids {
        revoke_with(connection, id, change)?;
    }
    Ok(ids)
}

fn revoke_with(connection: &Connection, id: &str, change: &Change) -> Result<(), StoreError> {
    mark_revoked(connection, id, &change.origin.actor, change.at_ms)?;
    let reason = format!("token {id} revoked with {}", change.whom);
    events::append_own(connection, change.note(EventKind::Operator, reason))
}

/// Who joined lately by tokens of this member, each as `user eve`.
pub(super) fn invited_by(
    connection: &Connection,
    creator: u64,
    now_ms: u64,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT tokens.role || ' ' || members.name
         FROM tokens JOIN members ON members.id = tokens.member
         WHERE creator = ?1 AND redeemed_at_ms >= ?2 ORDER BY 1",
    )?;
    let since = signed(now_ms.saturating_sub(LISTED_MS));
    let names = statement.query_map([signed(creator), since], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn mark_revoked(
    connection: &Connection,
    id: &str,
    by: &str,
    now_ms: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE tokens SET revoked_at_ms = ?2, revoked_by = ?3 WHERE id = ?1")?
        .execute(params![id, signed(now_ms), by])?;
    Ok(())
}

/// Marks a token as redeemed; the condition is what makes it good once only.
pub(super) fn redeem(
    connection: &Connection,
    secret: &[u8],
    redemption: &Redemption,
) -> Result<(), StoreError> {
    let values = values_of(secret, redemption)?;
    let redeemed = connection
        .prepare_cached(&redeeming())?
        .execute(params_from_iter(&values))?;
    if redeemed == 1 {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            what: "tokens.redeemed_at_ms",
        })
    }
}

/// The same of several that were found open in the same transaction, no two the same.
pub(super) fn redeem_all(
    connection: &Connection,
    redemptions: &[(&[u8], Redemption)],
) -> Result<(), StoreError> {
    let mut redeemed = Set::default();
    for (secret, redemption) in redemptions {
        redeemed.push(params_from_iter(&values_of(secret, redemption)?))?;
    }
    connection
        .prepare_cached(&redeeming())?
        .execute_each(&redeemed)?;
    Ok(())
}

fn redeeming() -> String {
    format!(
        "UPDATE tokens SET redeemed_at_ms = ?2, redeemed_by = ?3, member = ?4, member_key = ?5,
                           redeemed_name = ?6
         WHERE secret_hash = ?1 AND {OPEN}"
    )
}

/// Values of [`redeeming`].
fn values_of(secret: &[u8], redemption: &Redemption) -> Result<Vec<Value>, Error> {
    let Redemption {
        identity_key,
        member,
        key,
        name,
        at_ms,
    } = redemption;
    values(params![
        hash(secret),
        signed(*at_ms),
        identity_key,
        signed(*member),
        signed(*key),
        name,
    ])
}

/// The columns of tokens, and whether each row is ours.
fn select(connection: &Connection) -> String {
    let good = rows::TOKENS.good(connection, "tokens");
    format!("SELECT {COLUMNS}, {good} FROM tokens")
}

fn read(row: &Row<'_>) -> Result<StoredToken, StoreError> {
    let damaged = |what| StoreError::Damaged { what };
    let role: String = row.get(0)?;
    let (labels, scope): (String, String) = (row.get(2)?, row.get(16)?);
    let redeemed_by: Option<Vec<u8>> = row.get(6)?;
    let member: Option<u64> = row.get(7)?;
    let key: Option<u64> = row.get(13)?;
    let redemption = match (redeemed_by, member, key) {
        (None, None, None) => None,
        (Some(identity_key), Some(member), Some(key)) => Some(Redemption {
            identity_key,
            member,
            key,
            name: row.get(14)?,
            at_ms: row.get(15)?,
        }),
        (Some(_) | None, _, _) => return Err(damaged("tokens.member")),
    };
    Ok(StoredToken {
        invitation: Invitation {
            id: row.get(8)?,
            role: Role::from_str(&role).map_err(|_| damaged("tokens.role"))?,
            name: row.get(1)?,
            key_name: row.get(9)?,
            replaces: row.get(10)?,
            labels: serde_json::from_str(&labels).map_err(|_| damaged("tokens.labels"))?,
            scope: Scope(serde_json::from_str(&scope).map_err(|_| damaged("tokens.scope"))?),
            created_by: row.get(3)?,
            creator: row.get(11)?,
            created_at_ms: row.get(4)?,
            expires_at_secs: row.get(5)?,
        },
        redemption,
        // Nobody joins by what something else has written.
        is_revoked: row.get::<_, bool>(12)? || !row.get::<_, bool>(17)?,
    })
}

fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"postern token v1\0")
        .chain_update(secret)
        .finalize()
        .into()
}

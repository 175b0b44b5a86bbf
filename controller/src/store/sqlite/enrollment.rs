//! Redeeming a token: in one transaction the token is spent, and whoever redeems it is a member, has
//! one more key, or stands in the place of somebody else.

use std::collections::{HashMap, HashSet};

use fleet::{Event, EventKind, Role};

use super::{events, members, tokens};
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{
    Change, EnrollConflict, EnrollOutcome, Enrolment, Invitation, Joining, Member, NewMember,
    Origin, Redemption, StoredToken, TokenState, Whom,
};
use crate::store::sql::{Connection, Set, params};

/// What is to be done with what stands under the name already.
enum Place {
    Free,
    /// The member goes.
    OfMember(Member),
    /// The user gets one more key.
    BesideKeysOf(Member),
    /// The key with this id goes; the user stays.
    OfKey(Member, u64),
}

/// Who joins at one time joins as one set: hosts that are new, which is most of all who join. All others join one by one.
impl Together for Box<Joining> {
    type Outcome = EnrollOutcome;

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.joining
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<EnrollOutcome>, StoreError> {
        let secrets: Vec<&[u8]> = several.iter().map(|it| it.secret.as_slice()).collect();
        let tokens = tokens::find_all(connection, &secrets)?;
        let mut plain = Vec::new();
        let (mut seen, mut names, mut named) = (HashSet::new(), HashSet::new(), Set::default());
        for (number, (joining, token)) in several.iter().zip(tokens).enumerate() {
            let joining: &Joining = joining;
            let member = &joining.member;
            // Whoever comes with the same token or name a second time sees that the first has it.
            let is_first = seen.insert(&joining.secret) && names.insert(&member.name);
            let token = token.filter(|token| is_first && is_plain(token, joining));
            if let Some(token) = token {
                named.push(params![member.role.as_str(), member.name])?;
                plain.push((number, joining, token));
            }
        }
        let taken = members::named_so(connection, &named)?;
        let taken: HashSet<&str> = taken.iter().map(|member| member.name.as_str()).collect();
        plain.retain(|(_, joining, _)| !taken.contains(joining.member.name.as_str()));
        let mut joined: HashMap<usize, Enrolment> = join_hosts(connection, &plain)?;
        let mut outcomes = Vec::with_capacity(several.len());
        for (number, joining) in several.iter().enumerate() {
            outcomes.push(match joined.remove(&number) {
                Some(enrolment) => EnrollOutcome::Enrolled(enrolment),
                None => enroll(connection, joining)?,
            });
        }
        Ok(outcomes)
    }
}

/// Whether it is a host that takes nobody's place, by a token that is good.
fn is_plain(token: &StoredToken, joining: &Joining) -> bool {
    let invitation = &token.invitation;
    joining.member.role == Role::Host
        && invitation.key_name.is_empty()
        && !invitation.replaces
        && token.state(&joining.member.identity_key, joining.now_ms) == TokenState::Open
}

/// Hosts whose tokens are good and whose names are nobody's, by their numbers.
fn join_hosts(
    connection: &Connection,
    plain: &[(usize, &Joining, StoredToken)],
) -> Result<HashMap<usize, Enrolment>, StoreError> {
    if plain.is_empty() {
        return Ok(HashMap::new());
    }
    let hosts = plain.iter();
    let hosts = hosts.map(|(_, joining, token)| (&joining.member, token.invitation.key()));
    let members = members::insert_hosts(connection, &hosts.collect::<Vec<_>>())?;
    let mut joined = HashMap::new();
    let mut redemptions = Vec::with_capacity(plain.len());
    for ((number, joining, _), member) in plain.iter().zip(members) {
        let key = member.keys.first().map(|key| key.id);
        let key = key.ok_or(StoreError::Damaged {
            what: "member_keys.id",
        })?;
        let redemption = redemption(joining, (member.id, key));
        redemptions.push((joining.secret.as_slice(), redemption));
        joined.insert(*number, Enrolment { member, key });
    }
    tokens::redeem_all(connection, &redemptions)?;
    let events = plain.iter().map(|(_, joining, _)| joining.event.clone());
    events::append_all_own(connection, events)?;
    Ok(joined)
}

fn redemption(joining: &Joining, (member, key): (u64, u64)) -> Redemption {
    Redemption {
        identity_key: joining.member.identity_key.to_vec(),
        member,
        key,
        name: joining.member.name.clone(),
        at_ms: joining.now_ms,
    }
}

/// See `Store::enroll`.
///
/// Every conflict is found before the first write. Should two joiners get that far with one token,
/// the conditional update lets one of them through and the other one's writes are undone.
fn enroll(connection: &Connection, joining: &Joining) -> Result<EnrollOutcome, StoreError> {
    let Joining {
        secret,
        member,
        event,
        now_ms,
    } = joining;
    let refused = |conflict| Ok(EnrollOutcome::Refused(conflict));
    let Some(token) = tokens::find(connection, secret)? else {
        return refused(EnrollConflict::TokenUnknown);
    };
    match token.state(&member.identity_key, *now_ms) {
        TokenState::Open => {}
        TokenState::Expired => return refused(EnrollConflict::TokenExpired),
        TokenState::Revoked => return refused(EnrollConflict::TokenRevoked),
        TokenState::Used => return refused(EnrollConflict::TokenUsed),
        TokenState::RedeemedBefore { member, key } => {
            return Ok(match before(connection, member, key)? {
                Some(enrolment) => EnrollOutcome::EnrolledBefore(enrolment),
                None => EnrollOutcome::Refused(EnrollConflict::TokenUsed),
            });
        }
    }
    let place = match place(connection, &token.invitation, member)? {
        Ok(place) => place,
        Err(conflict) => return refused(conflict),
    };
    let (id, key) = take(connection, place, &token, (member, event))?;
    tokens::redeem(connection, secret, &redemption(joining, (id, key)))?;
    events::append_own(connection, event.clone())?;
    match members::by_id(connection, id)? {
        Some(member) => Ok(EnrollOutcome::Enrolled(Enrolment { member, key })),
        None => Err(StoreError::Damaged { what: "members.id" }),
    }
}

/// What a token's redeemer has become, as long as it may do anything.
pub(in crate::store) fn before(
    connection: &Connection,
    member: u64,
    key: u64,
) -> Result<Option<Enrolment>, StoreError> {
    let member = members::by_id(connection, member)?;
    let member = member.filter(|member| member.active_keys().any(|own| own.id == key));
    Ok(member.map(|member| Enrolment { member, key }))
}

fn place(
    connection: &Connection,
    invitation: &Invitation,
    new: &NewMember,
) -> Result<Result<Place, EnrollConflict>, StoreError> {
    let Some(member) = members::find(connection, new.role, &new.name)? else {
        return Ok(Ok(Place::Free));
    };
    let replaces = invitation.replaces;
    if invitation.key_name.is_empty() {
        return Ok(if replaces {
            Ok(Place::OfMember(member))
        } else {
            Err(EnrollConflict::NameTaken)
        });
    }
    if member.lock.is_some() {
        return Ok(Err(EnrollConflict::MemberLocked));
    }
    let key = member.key_named(&invitation.key_name).map(|key| key.id);
    Ok(match key {
        None => Ok(Place::BesideKeysOf(member)),
        Some(key) if replaces => Ok(Place::OfKey(member, key)),
        Some(_) => Err(EnrollConflict::KeyTaken),
    })
}

/// Who made the token, as events name an actor; only the name where that one is gone.
fn maker(connection: &Connection, invitation: &Invitation) -> Result<String, StoreError> {
    let maker = invitation.creator.map(|id| members::by_id(connection, id));
    let maker = maker.transpose()?.flatten();
    Ok(maker.map_or_else(
        || invitation.created_by.clone(),
        |maker| format!("{}/{}", maker.role, maker.name),
    ))
}

/// Makes the member or the key, and ends what stood in its place. Returns the ids of both.
fn take(
    connection: &Connection,
    place: Place,
    token: &StoredToken,
    (new, event): (&NewMember, &Event),
) -> Result<(u64, u64), StoreError> {
    let name = token.invitation.key();
    // Not the one who comes, by the name of the one who goes, but whoever made the token.
    let actor = maker(connection, &token.invitation)?;
    let replaced = |key: Option<&str>| Change {
        whom: Whom {
            role: new.role,
            name: new.name.clone(),
            key: key.map(str::to_owned),
        },
        reason: format!(
            "by token {} of {}",
            token.invitation.id, token.invitation.created_by
        ),
        origin: Origin {
            actor: actor.clone(),
            request_id: event.request_id.clone(),
        },
        at_ms: new.joined_at_ms,
    };
    let redeemed = Some(token.invitation.id.as_str());
    let id = match place {
        Place::Free => {
            tokens::revoke_replacing(connection, &token.invitation, &replaced(None))?;
            members::insert(connection, new)?
        }
        Place::BesideKeysOf(member) => {
            tokens::revoke_replacing(connection, &token.invitation, &replaced(Some(name)))?;
            member.id
        }
        Place::OfMember(member) => {
            let change = replaced(None);
            events::append_own(connection, change.event(EventKind::Removed, "replaced"))?;
            // An operator may replace herself: the token that she made for that is good.
            tokens::revoke_of(connection, (&member, None), redeemed, &change)?;
            members::delete(connection, member.id)?;
            let id = members::insert(connection, new)?;
            members::keep_addresses(connection, id, (&member, new))?;
            id
        }
        Place::OfKey(member, key) => {
            let change = replaced(Some(name));
            events::append_own(connection, change.event(EventKind::Removed, "replaced"))?;
            tokens::revoke_of(connection, (&member, Some(name)), redeemed, &change)?;
            members::delete_key(connection, key)?;
            member.id
        }
    };
    let key = members::insert_key(connection, id, name, new)?;
    Ok((id, key))
}

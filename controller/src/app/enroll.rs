//! Joining with a token, and staying with a renewed certificate.

use ed25519_dalek::{Signature, VerifyingKey};
use fleet::{DEFAULT_SPA_PORT, Event, EventKind, Role};
use rcgen::CertificateSigningRequestParams;
use rustls_pki_types::CertificateSigningRequestDer;

use std::net::IpAddr;

use super::{check, identity_age, members, tokens, trust};
use crate::access::caller::{Call, RequestId};
use crate::ca::{Authority, Subject};
use crate::context::Context;
use crate::error::{Error, RenewalRefused, TokenRefused};
use crate::store::model::{
    EnrollConflict, EnrollOutcome, Enrolment, Invitation, KnownAuthorities, Member, MemberKey,
    NewMember, Origin, TokenState,
};
use crate::timestamp::Timestamp;

/// A renewal is signed at most this long ago, or ahead.
const RENEWAL_AGE_MAX_SECS: u64 = 300;
const ADDRESS_BYTES_MAX: usize = 253;

/// What a joiner says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Joiner {
    pub(crate) token_secret: Vec<u8>,
    pub(crate) csr_der: Vec<u8>,
    /// Ed25519 public key.
    pub(crate) identity_key: [u8; 32],
    /// X25519 public key; hosts and users need one.
    pub(crate) exchange_key: Option<[u8; 32]>,
    /// Counts when the token carries no name.
    pub(crate) requested_name: String,
    /// Hosts: where users send SPA packets; empty for where the request came from.
    pub(crate) address: String,
    /// Hosts: the port for them; 0 for the usual one.
    pub(crate) spa_port: u16,
    /// Its program keeps a set of authorities, and takes a certificate of any of them.
    pub(crate) keeps_set: bool,
}

/// A member's wish for a fresh certificate, signed with its identity key.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) csr_der: Vec<u8>,
    pub(crate) signed_at_secs: u64,
    pub(crate) signature: Vec<u8>,
    /// The key that signs; `None` from those who do not say.
    pub(crate) identity_key: Option<[u8; 32]>,
    /// It knows what it is to be locked: a host may then come to be told that it is.
    pub(crate) knows_locks: bool,
    /// As of a [`Joiner`].
    pub(crate) keeps_set: bool,
    /// SHA-256 of each authority that it keeps.
    pub(crate) known: Vec<[u8; 32]>,
}

/// A certificate, and the CA's that issued it; DER.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) certificate_der: Vec<u8>,
    pub(crate) ca_der: Vec<u8>,
}

/// A member, the name of the key that it joined with, and its certificate, DER.
#[derive(Clone, Debug)]
pub(crate) struct Enrolled {
    pub(crate) member: Member,
    pub(crate) key_name: String,
    pub(crate) certified: Certified,
}

/// Redeems a token: the joiner is a member from then on.
pub(crate) async fn redeem(
    context: &Context,
    call: Call,
    joiner: Joiner,
    now: Timestamp,
) -> Result<Enrolled, Error> {
    let csr_der = joiner.csr_der.clone();
    let keeps_set = joiner.keeps_set;
    let joiner = joiner.checked(call.peer)?;
    let in_force = context.authorities.get();
    let kept = if keeps_set {
        in_force.fingerprints()
    } else {
        Vec::new()
    };
    let issuer = Some(in_force.current().fingerprint());
    let knows = KnownAuthorities { kept, issuer };
    let Enrolment { mut member, key } = join(context, call, (joiner, knows.clone()), now).await?;
    welcome(context, &member).await?;
    let (role, name) = (member.role, member.name.clone());
    let named = (role, name.as_str());
    let certified = certify(context, in_force.current(), (named, key), (&csr_der, now))?;
    if let Some(own) = member.keys.iter_mut().find(|own| own.id == key)
        && own.knows != knows
    {
        // It had joined before, and that answer was lost on its way.
        context.store.renewed(key, knows.clone(), now.ms()).await?;
        let renewed = (knows.clone(), now.ms());
        context.roster.renewed(named, key, renewed);
        own.knows = knows;
    }
    let key_name = member
        .key(key)
        .map_or_else(String::new, |key| key.name.clone());
    tracing::info!(role = %member.role, name = member.name, key_name, "enrolled");
    Ok(Enrolled {
        member,
        key_name,
        certified,
    })
}

/// Gives a member a fresh certificate.
pub(crate) async fn renew(
    context: &Context,
    renewal: Renewal,
    now: Timestamp,
) -> Result<Certified, Error> {
    let members = context.roster.by_any_name(renewal.role, &renewal.name);
    let mut signed = members
        .iter()
        .filter_map(|it| Some((it, renewal.signer(it)?)));
    let (member, key) = signed.next().ok_or(RenewalRefused::Signature)?;
    let Renewal {
        role,
        name,
        csr_der,
        signed_at_secs,
        knows_locks,
        keeps_set,
        known,
        ..
    } = renewal;
    if now.secs().abs_diff(signed_at_secs) > RENEWAL_AGE_MAX_SECS {
        return Err(RenewalRefused::Clock.into());
    }
    let is_told = knows_locks && role == Role::Host;
    if !is_told && !member.active_keys().any(|active| active.id == key.id) {
        return Err(Error::locked(member, &key.name));
    }
    check_csr(&csr_der)?;
    let news = identity_age::on_renewal(&context.settings.identity, (member, key), now)?;
    // By the name that it knows itself by, which may be a former one.
    let in_force = context.authorities.get();
    let issuer = in_force.for_member(keeps_set, key.knows.issuer.as_ref());
    let certified = certify(context, issuer, ((role, &name), key.id), (&csr_der, now))?;
    let knows = KnownAuthorities {
        kept: known,
        issuer: Some(issuer.fingerprint()),
    };
    context
        .store
        .renewed(key.id, knows.clone(), now.ms())
        .await?;
    let whose = (member.role, member.name.as_str());
    context.roster.renewed(whose, key.id, (knows, now.ms()));
    if let Some(what) = news {
        tracing::warn!(what, "certificate renewed");
        let origin = Origin::member(member.role, &member.name, RequestId::new()?.to_string());
        let event = identity_age::event(origin, what, (member, now));
        context.store.record(event).await?;
    }
    tracing::info!(%role, name, "certificate renewed");
    Ok(certified)
}

/// Redeems the token and adds the member, or finds the one that this joiner has become already.
async fn join(
    context: &Context,
    Call { id: request, peer }: Call,
    (joiner, knows): (Joiner, KnownAuthorities),
    now: Timestamp,
) -> Result<Enrolment, Error> {
    let store = &context.store;
    let secret = joiner.token_secret.clone();
    let token = store.token(secret.clone()).await?;
    let token = token.ok_or(TokenRefused::Unknown)?;
    match token.state(&joiner.identity_key, now.ms()) {
        TokenState::Open => {}
        TokenState::Expired => return Err(TokenRefused::Expired.into()),
        TokenState::Used => return Err(TokenRefused::Used.into()),
        TokenState::Revoked => return Err(TokenRefused::Revoked.into()),
        TokenState::RedeemedBefore { member, key } => {
            let enrolment = store.enrolment(member, key).await?;
            return enrolment.ok_or_else(|| TokenRefused::Used.into());
        }
    }
    let Invitation { key_name, .. } = token.invitation.clone();
    let member = joiner.become_member(&token.invitation, knows, now)?;
    let (role, name) = (member.role, member.name.clone());
    let policy = &context.rollout.in_force().policy;
    if token.invitation.name.is_empty() && trust::is_trusted(policy, role, &name) {
        return Err(Error::NameTrusted { role, name });
    }
    let event = enrolled(&token.invitation, &member, (request, peer));
    let takes_place = role == Role::Host && token.invitation.replaces;
    if takes_place && let Some(before) = context.roster.find(role, &name) {
        tokens::check_takes_place(context, &token.invitation, &before)?;
        // Policy may hide more by the old labels than when the token was made.
        tokens::refuse_public(store, &before, &member.labels).await?;
    }
    tokens::check_still_hers(context, &token.invitation, (&name, request))?;
    if takes_place {
        members::tell_before_replacement(context, &name).await;
    }
    let enrolled = store.enroll(secret, member, event, now.ms()).await;
    if takes_place {
        // Of whoever had the name; it hears in its next session what it is now.
        context.sessions.end(&name);
    }
    match enrolled? {
        EnrollOutcome::Enrolled(enrolment) | EnrollOutcome::EnrolledBefore(enrolment) => {
            Ok(enrolment)
        }
        EnrollOutcome::Refused(conflict) => Err(match conflict {
            EnrollConflict::TokenUnknown => TokenRefused::Unknown.into(),
            EnrollConflict::TokenExpired => TokenRefused::Expired.into(),
            EnrollConflict::TokenUsed => TokenRefused::Used.into(),
            EnrollConflict::TokenRevoked => TokenRefused::Revoked.into(),
            EnrollConflict::NameTaken => Error::NameTaken { role, name },
            EnrollConflict::KeyTaken => Error::KeyTaken {
                name,
                key: key_name,
            },
            EnrollConflict::MemberLocked => TokenRefused::Locked.into(),
        }),
    }
}

/// Tells everyone who must know of a new member.
async fn welcome(context: &Context, member: &Member) -> Result<(), Error> {
    let before = context.roster.find(member.role, &member.name);
    context
        .roster
        .refresh(&context.store, member.role, &member.name)
        .await?;
    match member.role {
        Role::Host => {
            if before.is_some_and(|before| before.id != member.id) {
                // Somebody else had the name, and its session.
                context.sessions.end(&member.name);
            }
            context.rollout.publish_hosts(&[&member.name]).await
        }
        Role::User => context.rollout.publish(None).await,
        Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator => Ok(()),
    }
}

fn certify(
    context: &Context,
    issuer: &Authority,
    ((role, name), key): ((Role, &str), u64),
    (csr_der, now): (&[u8], Timestamp),
) -> Result<Certified, Error> {
    let subject = Subject {
        key,
        fleet: &context.settings.fleet,
        role,
        name,
    };
    let life = context.settings.certificate_life;
    Ok(Certified {
        certificate_der: issuer.member(subject, csr_der, now.secs(), life)?,
        ca_der: issuer.ca_der().to_vec(),
    })
}

// === impl Joiner ===

impl Joiner {
    /// Refuses what would be refused with any token; fills in what was left out.
    fn checked(self, peer: Option<IpAddr>) -> Result<Self, Error> {
        if VerifyingKey::from_bytes(&self.identity_key).is_err() {
            return Err(Error::invalid("identity_key", "not an Ed25519 public key"));
        }
        let address = match self.address.as_str() {
            "" => peer.map_or_else(String::new, |peer| peer.to_string()),
            named => checked_address(named)?,
        };
        let spa_port = match self.spa_port {
            0 => DEFAULT_SPA_PORT,
            port => port,
        };
        check_csr(&self.csr_der)?;
        Ok(Self {
            address,
            spa_port,
            ..self
        })
    }

    /// The member it becomes by this invitation.
    fn become_member(
        self,
        invitation: &Invitation,
        knows: KnownAuthorities,
        now: Timestamp,
    ) -> Result<NewMember, Error> {
        let role = invitation.role;
        let name = if invitation.name.is_empty() {
            self.requested_name
        } else {
            invitation.name.clone()
        };
        if name.is_empty() {
            let problem = "the token carries none, so the joiner must propose one";
            return Err(Error::invalid("requested_name", problem));
        }
        check::member_name(role, &name)?;
        let exchange_key = match (role, self.exchange_key) {
            (Role::Host | Role::User, None) => {
                return Err(Error::invalid("exchange_key", "hosts and users need one"));
            }
            (Role::Host | Role::User, key) => key,
            (
                Role::Auditor | Role::Helpdesk | Role::Owner | Role::Validator | Role::Operator,
                _,
            ) => None,
        };
        let host = role == Role::Host;
        Ok(NewMember {
            role,
            name,
            identity_key: self.identity_key,
            exchange_key,
            address: if host { self.address } else { String::new() },
            spa_port: if host { self.spa_port } else { 0 },
            labels: invitation.labels.clone(),
            scope: invitation.scope.clone(),
            joined_at_ms: now.ms(),
            knows,
        })
    }
}

/// Where the joiner came from is what the connection shows, whatever address it says it has.
fn enrolled(
    invitation: &Invitation,
    member: &NewMember,
    (request, peer): (RequestId, Option<IpAddr>),
) -> Event {
    let origin = Origin::member(member.role, &member.name, request.to_string());
    let mut event = origin.done(EventKind::Enrolled, member.joined_at_ms);
    event.user.clone_from(&invitation.created_by);
    event.reason = format!("{} {} joined", member.role, member.name);
    if !invitation.key_name.is_empty() {
        event.reason += &format!(" with key {}", invitation.key_name);
    }
    event.reason += &format!(" (token {})", invitation.id);
    event.source = match peer {
        Some(peer) => peer.to_string(),
        None => member.address.clone(),
    };
    event
}

// === impl Renewal ===

impl Renewal {
    /// The key of the member that has signed this.
    fn signer<'a>(&self, member: &'a Member) -> Option<&'a MemberKey> {
        let signed =
            fleet::renewal_message(self.role, &self.name, &self.csr_der, self.signed_at_secs);
        let signature = Signature::from_slice(&self.signature).ok()?;
        let is_meant = |key: &&MemberKey| self.identity_key.is_none_or(|it| it == key.identity_key);
        let mut keys = member.keys.iter().filter(is_meant);
        keys.find(|key| {
            let public = VerifyingKey::from_bytes(&key.identity_key);
            public.is_ok_and(|public| public.verify_strict(&signed, &signature).is_ok())
        })
    }
}

/// Refuses a certificate request that would only fail after the token is spent.
fn check_csr(der: &[u8]) -> Result<(), Error> {
    let request = CertificateSigningRequestDer::from(der);
    CertificateSigningRequestParams::from_der(&request)
        .map(drop)
        .map_err(|error| Error::invalid("csr_der", error.to_string()))
}

/// An address, or a name as DNS has them.
pub(super) fn checked_address(address: &str) -> Result<String, Error> {
    check::at_most("address", address, ADDRESS_BYTES_MAX)?;
    let is_host_name = address
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    // No zone of DNS is a number, so this is an address with a slip in it.
    let last = address.trim_end_matches('.').rsplit('.').next();
    let ends_in_number = last.is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if address.parse::<IpAddr>().is_err() && (!is_host_name || ends_in_number) {
        let problem = format!("`{address}` is not an address or a host name");
        return Err(Error::invalid("address", problem));
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests;

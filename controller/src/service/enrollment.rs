//! Joining and staying: the only service without a client certificate.

use std::net::IpAddr;
use std::sync::Arc;

use ed25519_dalek::{Signature, VerifyingKey};
use fleet::wire::enrollment_server::Enrollment;
use fleet::wire::{RedeemRequest, RedeemResponse, RenewRequest, RenewResponse};
use fleet::{DEFAULT_SPA_PORT, Event, EventKind, Role};
use rcgen::CertificateSigningRequestParams;
use rustls_pki_types::CertificateSigningRequestDer;
use tonic::{Request, Response, Status};

use super::{at_most, fixed};
use crate::authorize::PeerAddress;
use crate::ca::Subject;
use crate::clock;
use crate::context::Context;
use crate::error::{Error, RenewalRefused, TokenRefused};
use crate::invite::check_name;
use crate::store::Store;
use crate::store::model::{
    EnrollConflict, EnrollOutcome, Invitation, Member, NewMember, TokenState,
};

/// A renewal is signed at most this long ago, or ahead.
const RENEWAL_AGE_MAX_SECS: u64 = 300;
const ADDRESS_BYTES_MAX: usize = 253;

#[derive(Debug)]
pub(crate) struct EnrollmentService {
    context: Arc<Context>,
}

/// What a joiner says of itself, checked as far as that is possible without its token.
struct Joiner {
    secret: Vec<u8>,
    identity_key: [u8; 32],
    exchange_key: Option<[u8; 32]>,
    requested_name: String,
    address: String,
    spa_port: u16,
}

// === impl EnrollmentService ===

impl EnrollmentService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Tells everyone who must know of a new member.
    async fn welcome(&self, member: &Member) -> Result<(), Error> {
        let context = &self.context;
        context
            .roster
            .refresh(&context.store, member.role, &member.name)
            .await?;
        match member.role {
            Role::Host | Role::User => context.publisher.publish(None).await,
            Role::Auditor | Role::Operator => Ok(()),
        }
    }

    fn certify(&self, member: &Member, csr_der: &[u8]) -> Result<Vec<u8>, Error> {
        let subject = Subject {
            id: member.id,
            fleet: &self.context.settings.fleet,
            role: member.role,
            name: &member.name,
        };
        let life = self.context.settings.certificate_life;
        let certificate =
            self.context
                .authority
                .member(subject, csr_der, clock::now_secs(), life)?;
        Ok(certificate)
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn redeem(
        &self,
        request: Request<RedeemRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let peer = request
            .extensions()
            .get()
            .and_then(|PeerAddress(peer)| *peer);
        let (joiner, csr_der) = Joiner::read(request.into_inner(), peer)?;
        check_csr(&csr_der)?;

        let now_ms = clock::now_ms();
        let member = redeem(&self.context.store, joiner, now_ms).await?;
        self.welcome(&member).await?;
        let certificate_der = self.certify(&member, &csr_der)?;

        tracing::info!(role = %member.role, name = member.name, "enrolled");
        Ok(Response::new(RedeemResponse {
            role: fleet::wire::Role::from(member.role).into(),
            name: member.name,
            fleet: self.context.settings.fleet.clone(),
            certificate_der,
            ca_der: self.context.authority.ca_der().to_vec(),
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let RenewRequest {
            role,
            name,
            csr_der,
            signed_at_secs,
            signature,
        } = request.into_inner();
        let role = Role::try_from(role).map_err(Error::from)?;
        let member = self.context.roster.find(role, &name);
        let member = member.ok_or(Error::Renewal(RenewalRefused::Signature))?;

        let signed = fleet::renewal_message(role, &name, &csr_der, signed_at_secs);
        verify(&member, &signed, &signature).map_err(Error::from)?;
        if clock::now_secs().abs_diff(signed_at_secs) > RENEWAL_AGE_MAX_SECS {
            return Err(Error::Renewal(RenewalRefused::Clock).into());
        }
        if member.banned {
            return Err(Error::Banned { role, name }.into());
        }
        check_csr(&csr_der)?;
        let certificate_der = self.certify(&member, &csr_der)?;

        tracing::info!(%role, name, "certificate renewed");
        Ok(Response::new(RenewResponse {
            certificate_der,
            ca_der: self.context.authority.ca_der().to_vec(),
        }))
    }
}

// === impl Joiner ===

impl Joiner {
    fn read(request: RedeemRequest, peer: Option<IpAddr>) -> Result<(Self, Vec<u8>), Error> {
        let RedeemRequest {
            token_secret,
            csr_der,
            identity_key,
            exchange_key,
            requested_name,
            address,
            spa_port,
        } = request;
        let identity_key = fixed("identity_key", &identity_key)?;
        if VerifyingKey::from_bytes(&identity_key).is_err() {
            return Err(Error::invalid("identity_key", "not an Ed25519 public key"));
        }
        let exchange_key = match exchange_key.as_slice() {
            [] => None,
            bytes => Some(fixed("exchange_key", bytes)?),
        };
        let spa_port = match u16::try_from(spa_port) {
            Ok(0) => DEFAULT_SPA_PORT,
            Ok(port) => port,
            Err(_) => return Err(Error::invalid("spa_port", "above 65535")),
        };
        let address = match address.as_str() {
            "" => peer.map_or_else(String::new, |peer| peer.to_string()),
            named => checked_address(named)?,
        };
        let joiner = Self {
            secret: token_secret,
            identity_key,
            exchange_key,
            requested_name,
            address,
            spa_port,
        };
        Ok((joiner, csr_der))
    }

    /// The member it becomes by this invitation.
    fn become_member(self, invitation: &Invitation, now_ms: u64) -> Result<NewMember, Error> {
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
        check_name(role, &name)?;
        let exchange_key = match (role, self.exchange_key) {
            (Role::Host | Role::User, None) => {
                return Err(Error::invalid("exchange_key", "hosts and users need one"));
            }
            (Role::Host | Role::User, key) => key,
            (Role::Auditor | Role::Operator, _) => None,
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
            joined_at_ms: now_ms,
        })
    }
}

/// Redeems the token and adds the member, or finds the one that this joiner has become already.
async fn redeem(store: &Store, joiner: Joiner, now_ms: u64) -> Result<Member, Error> {
    let secret = joiner.secret.clone();
    let token = store.token(secret.clone()).await?;
    let token = token.ok_or(TokenRefused::Unknown)?;
    match token.state(&joiner.identity_key, now_ms) {
        TokenState::Open => {}
        TokenState::Expired => return Err(TokenRefused::Expired.into()),
        TokenState::Used => return Err(TokenRefused::Used.into()),
        TokenState::RedeemedBefore { member } => {
            let member = store.member(member).await?;
            let member = member.filter(|member| !member.banned);
            return member.ok_or_else(|| TokenRefused::Used.into());
        }
    }
    let member = joiner.become_member(&token.invitation, now_ms)?;
    let (role, name) = (member.role, member.name.clone());
    let event = enrolled(&token.invitation, &member, now_ms);
    match store.enroll(secret, member, event, now_ms).await? {
        EnrollOutcome::Enrolled(member) | EnrollOutcome::EnrolledBefore(member) => Ok(member),
        EnrollOutcome::Refused(conflict) => Err(match conflict {
            EnrollConflict::TokenUnknown => TokenRefused::Unknown.into(),
            EnrollConflict::TokenExpired => TokenRefused::Expired.into(),
            EnrollConflict::TokenUsed => TokenRefused::Used.into(),
            EnrollConflict::NameTaken => Error::NameTaken { role, name },
        }),
    }
}

fn enrolled(invitation: &Invitation, member: &NewMember, now_ms: u64) -> Event {
    let mut event = Event::new(EventKind::Enrolled, now_ms);
    event.user.clone_from(&invitation.created_by);
    event.reason = format!("{} {} joined", member.role, member.name);
    event.source.clone_from(&member.address);
    event
}

fn verify(member: &Member, signed: &[u8], signature: &[u8]) -> Result<(), RenewalRefused> {
    let refused = |_| RenewalRefused::Signature;
    let key = VerifyingKey::from_bytes(&member.identity_key).map_err(refused)?;
    let signature = Signature::from_slice(signature).map_err(refused)?;
    key.verify_strict(signed, &signature).map_err(refused)
}

/// Refuses a certificate request that would only fail after the token is spent.
fn check_csr(der: &[u8]) -> Result<(), Error> {
    let request = CertificateSigningRequestDer::from(der);
    CertificateSigningRequestParams::from_der(&request)
        .map(drop)
        .map_err(|error| Error::invalid("csr_der", error.to_string()))
}

/// An address, or a name as DNS has them.
fn checked_address(address: &str) -> Result<String, Error> {
    at_most("address", address, ADDRESS_BYTES_MAX)?;
    let is_host_name = address
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if address.parse::<IpAddr>().is_err() && !is_host_name {
        return Err(Error::invalid("address", "not an address or a host name"));
    }
    Ok(address.to_owned())
}

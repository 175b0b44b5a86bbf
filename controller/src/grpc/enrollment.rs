//! Joining and staying: the only service without a client certificate.

use std::sync::Arc;

use fleet::wire::enrollment_server::Enrollment;
use fleet::wire::{
    self, RedeemRequest, RedeemResponse, RenewRequest, RenewResponse, RotateRequest,
    RotateResponse, TrustSet,
};
use fleet::{Capability, Role};
use tonic::{Request, Response, Status};

use super::status::with_time;
use super::{call, contract};
use crate::app::check::fixed;
use crate::app::enroll::{self, Certified, Enrolled, Joiner, Renewal};
use crate::app::key_rotation::{self, Rotation, Stand};
use crate::clock;
use crate::context::Context;
use crate::error::{Error, RenewalRefused, TokenRefused};
use crate::timestamp::Timestamp;

/// Authorities that a member says it keeps, at most.
const KNOWN_MAX: usize = 32;

#[derive(Debug)]
pub(crate) struct EnrollmentService {
    context: Arc<Context>,
}

// === impl EnrollmentService ===

impl EnrollmentService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn redeem(
        &self,
        request: Request<RedeemRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let call = call(&request)?;
        let keeps_set = contract(&request).can(Capability::TrustSet);
        let joiner = joiner(request.into_inner(), keeps_set)?;
        let now = clock::now();
        let redeemed = enroll::redeem(&self.context, call, joiner, now).await;
        let Enrolled {
            member,
            key_name,
            certified,
        } = redeemed.map_err(|error| of_time(error, now))?;
        Ok(Response::new(RedeemResponse {
            role: wire::Role::from(member.role).into(),
            name: member.name,
            fleet: self.context.settings.fleet.clone(),
            certificate_der: certified.certificate_der,
            ca_der: certified.ca_der,
            key_name,
            trust: Some(trust(&self.context)),
            controllers: self.context.settings.controllers.clone(),
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let contract = contract(&request);
        let knows_locks = contract.can(Capability::SessionPass);
        let RenewRequest {
            role,
            name,
            csr_der,
            signed_at_secs,
            signature,
            identity_key,
            known_authorities,
        } = request.into_inner();
        let renewal = Renewal {
            role: Role::try_from(role).map_err(Error::from)?,
            name,
            csr_der,
            signed_at_secs,
            signature,
            identity_key: key("identity_key", &identity_key)?,
            knows_locks,
            keeps_set: contract.can(Capability::TrustSet),
            known: known(&known_authorities)?,
        };
        let now = clock::now();
        let renewed = enroll::renew(&self.context, renewal, now).await;
        let Certified {
            certificate_der,
            ca_der,
        } = renewed.map_err(|error| of_time(error, now))?;
        Ok(Response::new(RenewResponse {
            certificate_der,
            ca_der,
            trust: Some(trust(&self.context)),
            controllers: self.context.settings.controllers.clone(),
        }))
    }

    async fn rotate(
        &self,
        request: Request<RotateRequest>,
    ) -> Result<Response<RotateResponse>, Status> {
        let call = call(&request)?;
        let wish = rotation(request.into_inner())?;
        let now = clock::now();
        let rotated = key_rotation::rotate(&self.context, call, wish, now).await;
        let Stand {
            waits_for,
            old_ended,
        } = rotated.map_err(|error| of_time(error, now))?;
        Ok(Response::new(RotateResponse {
            waits_for,
            old_ended,
        }))
    }
}

fn rotation(request: RotateRequest) -> Result<Rotation, Error> {
    let RotateRequest {
        role,
        name,
        identity_key,
        new_identity_key,
        new_exchange_key,
        signed_at_secs,
        end_old,
        new_signature,
        signature,
    } = request;
    Ok(Rotation {
        role: Role::try_from(role)?,
        name,
        old: fixed("identity_key", &identity_key)?,
        new: fixed("new_identity_key", &new_identity_key)?,
        new_exchange: key("new_exchange_key", &new_exchange_key)?,
        signed_at_secs,
        end_old,
        new_signature,
        signature,
    })
}

/// What members are told of authorities.
fn trust(context: &Context) -> TrustSet {
    let in_force = context.authorities.get();
    let told = in_force.told();
    TrustSet {
        authorities: told.authorities.clone(),
        directory_keys: told.directory_keys.iter().map(|key| key.to_vec()).collect(),
    }
}

/// A refusal that is about time says what time it is here: whoever asked knows another one then, for
/// who joins has looked at the token's time before.
fn of_time(error: Error, now: Timestamp) -> Status {
    let is_of_time = matches!(
        error,
        Error::Renewal(RenewalRefused::Clock) | Error::Token(TokenRefused::Expired)
    );
    let status = Status::from(error);
    if is_of_time {
        with_time(status, now.secs())
    } else {
        status
    }
}

/// Authorities that a member keeps.
fn known(named: &[Vec<u8>]) -> Result<Vec<[u8; 32]>, Error> {
    if named.len() > KNOWN_MAX {
        let problem = format!("more than {KNOWN_MAX}");
        return Err(Error::invalid("known_authorities", problem));
    }
    let named = named.iter();
    named
        .map(|named| fixed("known_authorities", named))
        .collect()
}

fn joiner(request: RedeemRequest, keeps_set: bool) -> Result<Joiner, Error> {
    let RedeemRequest {
        token_secret,
        csr_der,
        identity_key,
        exchange_key,
        requested_name,
        address,
        spa_port,
    } = request;
    Ok(Joiner {
        token_secret,
        csr_der,
        identity_key: fixed("identity_key", &identity_key)?,
        exchange_key: key("exchange_key", &exchange_key)?,
        requested_name,
        address,
        spa_port: u16::try_from(spa_port).map_err(|_| Error::invalid("spa_port", "above 65535"))?,
        keeps_set,
    })
}

/// A key that may be left out.
fn key(field: &'static str, bytes: &[u8]) -> Result<Option<[u8; 32]>, Error> {
    match bytes {
        [] => Ok(None),
        bytes => fixed(field, bytes).map(Some),
    }
}

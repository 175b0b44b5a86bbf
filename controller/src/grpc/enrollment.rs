//! Joining and staying: the only service without a client certificate.

use std::sync::Arc;

use fleet::wire::enrollment_server::Enrollment;
use fleet::wire::{self, RedeemRequest, RedeemResponse, RenewRequest, RenewResponse};
use fleet::{Capability, Role};
use tonic::{Request, Response, Status};

use super::status::with_time;
use super::{call, contract};
use crate::app::check::fixed;
use crate::app::enroll::{self, Enrolled, Joiner, Renewal};
use crate::clock;
use crate::context::Context;
use crate::error::{Error, RenewalRefused, TokenRefused};
use crate::timestamp::Timestamp;

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
        let joiner = joiner(request.into_inner())?;
        let now = clock::now();
        let redeemed = enroll::redeem(&self.context, call, joiner, now).await;
        let Enrolled {
            member,
            key_name,
            certificate_der,
        } = redeemed.map_err(|error| of_time(error, now))?;
        Ok(Response::new(RedeemResponse {
            role: wire::Role::from(member.role).into(),
            name: member.name,
            fleet: self.context.settings.fleet.clone(),
            certificate_der,
            ca_der: self.context.authority.ca_der().to_vec(),
            key_name,
        }))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let knows_locks = contract(&request).can(Capability::SessionPass);
        let RenewRequest {
            role,
            name,
            csr_der,
            signed_at_secs,
            signature,
            identity_key,
        } = request.into_inner();
        let renewal = Renewal {
            role: Role::try_from(role).map_err(Error::from)?,
            name,
            csr_der,
            signed_at_secs,
            signature,
            identity_key: key("identity_key", &identity_key)?,
            knows_locks,
        };
        let now = clock::now();
        let renewed = enroll::renew(&self.context, renewal, now).await;
        let certificate_der = renewed.map_err(|error| of_time(error, now))?;
        Ok(Response::new(RenewResponse {
            certificate_der,
            ca_der: self.context.authority.ca_der().to_vec(),
        }))
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

fn joiner(request: RedeemRequest) -> Result<Joiner, Error> {
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
    })
}

/// A key that may be left out.
fn key(field: &'static str, bytes: &[u8]) -> Result<Option<[u8; 32]>, Error> {
    match bytes {
        [] => Ok(None),
        bytes => fixed(field, bytes).map(Some),
    }
}

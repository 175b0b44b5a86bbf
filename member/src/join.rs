//! From a token to a membership.

use std::path::Path;
use std::sync::Arc;

use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{RedeemRequest, RedeemResponse};
use fleet::{Role, Token};
use tonic::{Code, Status};

use crate::certificate::Facts;
use crate::controllers::Told;
use crate::error::{ConnectError, FilesError, JoinError};
use crate::files::{self, FormerFile, MembershipFile};
use crate::held::{Held, Publics};
use crate::joining::{self, Joining};
use crate::keyring::Keyring;
use crate::keys::{self, TlsKey};
use crate::membership::Membership;
use crate::renew::{Renewal, Renewed};
use crate::tls::{self, Trust};
use crate::trust::{Believed, Shared};
use crate::{certificate, clock, rotation};

/// What the joiner may say about itself. Every part may be left out.
#[derive(Clone, Debug, Default)]
pub struct JoinOptions {
    /// The name it would like; used only when the token carries none.
    pub requested_name: Option<String>,
    /// Hosts: the address users send SPA packets to; else the one the controller sees.
    pub address: Option<String>,
    /// Hosts: the SPA port; else 62201.
    pub spa_port: Option<u16>,
    /// Dial the controller here (`host:port`) instead of where the token says, and remember it.
    pub controller: Option<String>,
    /// Replace a membership that is there already.
    pub force: bool,
    /// The keyring that may have the keys: of a join that goes on, or of the membership in the directory.
    pub keyring: Option<Arc<dyn Keyring>>,
    /// Put new keys there, and never on the disk.
    pub into_keyring: bool,
}

/// Redeems `token`: makes keys, has them certified, and writes the membership into `dir`.
///
/// Everything that can fail here is tried before the token is spent. A person waits for this, so
/// a controller that does not answer is not waited for. A join that was broken off, at whatever
/// moment, goes on when it is begun again with the same token, also when that has expired since it was
/// redeemed, or the member was given another name; one that came to its end answers with what it came to.
///
/// # Errors
///
/// [`JoinError`], by who can act.
pub async fn join(
    token: &Token,
    dir: &Path,
    options: JoinOptions,
) -> Result<Membership, JoinError> {
    let keyring = options.keyring.as_ref();
    if let Some(member) = joining::came_of(dir, token, keyring)? {
        return Ok(member);
    }
    let now_secs = clock::now_secs();
    if now_secs >= token.expires_at_secs && !joining::has_begun(dir, token)? {
        let ago_secs = now_secs - token.expires_at_secs;
        return Err(JoinError::TokenExpired { ago_secs });
    }
    if !options.force {
        refuse_if_member(dir)?;
    }
    files::prepare(dir)?;

    let joining = Joining::begin(dir, token, (keyring, options.into_keyring))?;
    let Admitted {
        member,
        certificate_der,
        tls_key,
    } = admitted(&joining, token, dir, &options).await?;
    member
        .present(&certificate_der, &tls_key.pkcs8_der)
        .map_err(ConnectError::Answer)?;

    let before = Membership::load_with(dir, options.keyring.clone()).ok();
    member.save_certificate(&certificate_der, &tls_key.pkcs8_der)?;
    // A host that joins anew in its own place has nothing in common with the one before.
    files::remove::<FormerFile>(dir)?;
    member.save_all()?;
    joining.end()?;
    rotation::forget_stale(&member, options.keyring.as_ref())?;
    if let Some(before) = before {
        member.forget_keys_of(&before);
    }
    Ok(member)
}

/// What the controller has made of a joiner.
struct Admitted {
    member: Membership,
    certificate_der: Vec<u8>,
    tls_key: TlsKey,
}

/// Redeems the token, or finds out what was made of these keys when it was redeemed before.
async fn admitted(
    joining: &Joining<'_>,
    token: &Token,
    dir: &Path,
    options: &JoinOptions,
) -> Result<Admitted, JoinError> {
    let address = options.controller.as_ref().unwrap_or(&token.address);
    let now_secs = clock::now_secs();
    let refused = if now_secs >= token.expires_at_secs {
        let ago_secs = now_secs - token.expires_at_secs;
        JoinError::TokenExpired { ago_secs }
    } else {
        match redeemed(token, (dir, address), &joining.keys, options).await {
            Ok(admitted) => return Ok(admitted),
            Err(refused) => refused,
        }
    };
    let may_have_been = matches!(
        refused,
        JoinError::TokenExpired { .. }
            | JoinError::TokenRefused { .. }
            | JoinError::Connect(ConnectError::Answer(_))
    );
    if !joining.was_begun || !may_have_been {
        return Err(refused);
    }
    match by_identity(token, (dir, address), &joining.keys, options).await {
        Ok(admitted) => Ok(admitted),
        // It knows no such key: what it said of the token counts.
        Err(ConnectError::Refused {
            code: Code::Unauthenticated | Code::NotFound | Code::InvalidArgument,
            ..
        }) => Err(refused),
        Err(error) => Err(error.into()),
    }
}

/// Redeems the token.
async fn redeemed(
    token: &Token,
    (dir, address): (&Path, &str),
    keys: &Held,
    options: &JoinOptions,
) -> Result<Admitted, JoinError> {
    let tls_key = TlsKey::generate()?;
    let request = request(token, options, keys.publics(), &tls_key);
    let answer = redeem(token, address, request).await?;
    let member = accept(token, dir, address, keys.clone(), &answer)?;
    // Verified by our own clock: if that is wrong, it should be said now and not tomorrow.
    let ca = std::slice::from_ref(&member.ca);
    certificate::verify(&answer.certificate_der, ca, clock::now_secs())?;
    Ok(Admitted {
        member,
        certificate_der: answer.certificate_der,
        tls_key,
    })
}

/// Finds out what was made of these keys, whatever has become of the token and of the name since: a member
/// proves itself by its identity key, and so nobody else gets anything for an old token.
async fn by_identity(
    token: &Token,
    (dir, address): (&Path, &str),
    keys: &Held,
    options: &JoinOptions,
) -> Result<Admitted, ConnectError> {
    let name = match token.name.as_str() {
        "" => options.requested_name.clone().unwrap_or_default(),
        name => name.to_owned(),
    };
    let renewal = Renewal {
        role: token.role,
        name: &name,
        keys: keys.get()?,
        trust: Trust::Fingerprint(token.ca_fingerprint),
        known: Vec::new(),
    };
    let Renewed {
        certificate_der,
        ca,
        believed,
        controllers,
        key,
    } = renewal.ask(address, clock::now_secs()).await?;
    let facts = Facts::read(&certificate_der).map_err(ConnectError::Answer)?;
    Ok(Admitted {
        member: Membership {
            role: token.role,
            name,
            fleet: facts.fleet,
            address: address.to_owned(),
            dir: dir.to_owned(),
            trust: Shared::new(believed.unwrap_or_else(|| Believed::only(ca.clone()))),
            told: Told::new(&controllers),
            ca,
            keys: keys.clone(),
            key_name: String::new(),
            presented: Arc::default(),
            facts: Arc::default(),
        },
        certificate_der,
        tls_key: key,
    })
}

fn refuse_if_member(dir: &Path) -> Result<(), JoinError> {
    let member = match files::load::<MembershipFile>(dir) {
        Ok(None) => return Ok(()),
        Ok(Some(MembershipFile {
            role, name, fleet, ..
        })) => format!("{role} {name} of fleet {fleet}"),
        // Something is there, and only a person can say that it is of no worth.
        Err(error @ (FilesError::Damaged { .. } | FilesError::Exposed { .. })) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    Err(JoinError::AlreadyMember {
        dir: dir.to_owned(),
        member,
    })
}

fn request(
    token: &Token,
    options: &JoinOptions,
    keys: &Publics,
    tls_key: &TlsKey,
) -> RedeemRequest {
    RedeemRequest {
        token_secret: token.secret.to_vec(),
        csr_der: tls_key.csr_der.clone(),
        identity_key: keys.identity.to_vec(),
        exchange_key: keys.exchange.map_or_else(Vec::new, |key| key.0.to_vec()),
        requested_name: options.requested_name.clone().unwrap_or_default(),
        address: options.address.clone().unwrap_or_default(),
        spa_port: options.spa_port.unwrap_or(0).into(),
    }
}

/// Redeems, and asks once more when the connection broke before the answer came: the controller
/// knows a joiner again by its identity key, so a token is not lost with an answer.
async fn redeem(
    token: &Token,
    address: &str,
    request: RedeemRequest,
) -> Result<RedeemResponse, JoinError> {
    let trust = Trust::Fingerprint(token.ca_fingerprint);
    let channel = tls::channel(address, &trust, None).await?;
    let first = EnrollmentClient::new(channel).redeem(request.clone()).await;
    let status = match first {
        Ok(answer) => return Ok(answer.into_inner()),
        Err(status) => status,
    };
    let refused = refusal(address, status);
    if !matches!(
        refused,
        JoinError::Connect(ConnectError::Unreachable { .. })
    ) {
        return Err(refused);
    }
    let channel = tls::channel(address, &trust, None).await?;
    EnrollmentClient::new(channel)
        .redeem(request)
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| refusal(address, status))
}

/// A refusal of the token itself is told apart from everything else that may go wrong.
fn refusal(address: &str, status: Status) -> JoinError {
    let of_token = matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::InvalidArgument
    );
    match ConnectError::from_status(address, status) {
        ConnectError::Refused { message, .. } if of_token => JoinError::TokenRefused { message },
        error @ (ConnectError::Unreachable { .. }
        | ConnectError::NotTheController { .. }
        | ConnectError::Clock { .. }
        | ConnectError::Refused { .. }
        | ConnectError::Answer(_)
        | ConnectError::Files(_)
        | ConnectError::Keys(_)) => JoinError::Connect(error),
    }
}

/// Checks the controller's answer against the token and makes the membership of it.
fn accept(
    token: &Token,
    dir: &Path,
    address: &str,
    keys: Held,
    answer: &RedeemResponse,
) -> Result<Membership, ConnectError> {
    let RedeemResponse {
        role,
        name,
        fleet,
        certificate_der: _,
        ca_der,
        key_name,
        trust,
        controllers,
    } = answer;
    let believed = trust.as_ref().map(Believed::told).transpose()?;
    let ca = keys::certificate(ca_der);
    // The controller has proven to be the token's, and may name one that followed.
    let is_named = believed
        .as_ref()
        .is_some_and(|it| it.authorities.contains(&ca));
    if !is_named && tls::fingerprint(ca_der) != token.ca_fingerprint {
        return Err(ConnectError::Answer("its CA is not the one in the token"));
    }
    if Role::try_from(*role) != Ok(token.role) {
        return Err(ConnectError::Answer("its role is not the one in the token"));
    }
    if !token.name.is_empty() && *name != token.name {
        return Err(ConnectError::Answer("its name is not the one in the token"));
    }
    Ok(Membership {
        role: token.role,
        name: name.clone(),
        fleet: fleet.clone(),
        address: address.to_owned(),
        dir: dir.to_owned(),
        trust: Shared::new(believed.unwrap_or_else(|| Believed::only(ca.clone()))),
        told: Told::new(controllers),
        ca,
        keys,
        key_name: key_name.clone(),
        presented: Arc::default(),
        facts: Arc::default(),
    })
}

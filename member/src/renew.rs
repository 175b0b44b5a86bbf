//! A fresh certificate for a member that proves its identity key.

use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{RenewRequest, RenewResponse, Role as WireRole};

use crate::certificate;
use crate::error::ConnectError;
use crate::files::{self, CertificateFile};
use crate::keys::TlsKey;
use crate::membership::Membership;
use crate::tls;

/// Asks for a certificate over a new TLS key, verifies the answer, uses it and saves it.
///
/// The request is made without a client certificate, because the old one may have run out: the
/// signature is the proof. The controller is proven as always.
pub(crate) async fn renew(
    member: &Membership,
    address: &str,
    now_secs: u64,
) -> Result<(), ConnectError> {
    let key = TlsKey::generate()?;
    let message = fleet::renewal_message(member.role, &member.name, &key.csr_der, now_secs);
    let request = RenewRequest {
        role: WireRole::from(member.role).into(),
        name: member.name.clone(),
        csr_der: key.csr_der,
        signed_at_secs: now_secs,
        signature: member.keys.sign(&message).to_vec(),
    };

    let channel = tls::channel(address, &member.trust(), None).await?;
    let RenewResponse {
        certificate_der,
        ca_der,
    } = EnrollmentClient::new(channel)
        .renew(request)
        .await
        .map_err(|status| ConnectError::from_status(address, status))?
        .into_inner();

    if ca_der != member.ca_der() {
        return Err(ConnectError::Answer("it names another CA than ours"));
    }
    certificate::verify(&certificate_der, &member.ca, now_secs)?;
    member
        .present(&certificate_der, &key.pkcs8_der)
        .map_err(ConnectError::Answer)?;
    let file = CertificateFile::new(&certificate_der, &key.pkcs8_der);
    if let Err(error) = files::save(&member.dir, &file) {
        // The next program has to renew again; this one can go on.
        let error = program::one_line(&error);
        tracing::warn!(%error, "the renewed certificate is not saved");
    }
    tracing::debug!(name = member.name, "certificate renewed");
    Ok(())
}

//! A fresh certificate for a member that proves its identity key.

use fleet::Role;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{RenewRequest, RenewResponse, Role as WireRole};
use rustls_pki_types::CertificateDer;

use crate::certificate;
use crate::error::ConnectError;
use crate::keys::{self, Keys, TlsKey};
use crate::tls::{self, Trust};
use crate::trust::Believed;

/// Who asks, and what the answer must prove.
#[derive(Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) role: Role,
    pub(crate) name: &'a str,
    pub(crate) keys: &'a Keys,
    /// How the controller is known.
    pub(crate) trust: Trust,
    /// SHA-256 of each authority that is kept, durably.
    pub(crate) known: Vec<Vec<u8>>,
}

/// A certificate with the TLS key that it is for.
pub(crate) struct Renewed {
    pub(crate) certificate_der: Vec<u8>,
    /// The CA certificate of the authority that issued it.
    pub(crate) ca: CertificateDer<'static>,
    /// Whose word counts from now on; `None` where the controller does not say.
    pub(crate) believed: Option<Believed>,
    /// Where controllers are reached, as it is said; empty where the controller does not say.
    pub(crate) controllers: Vec<String>,
    pub(crate) key: TlsKey,
}

// === impl Renewal ===

impl Renewal<'_> {
    /// Asks for a certificate over a new TLS key, and verifies the answer.
    ///
    /// The request is made without a client certificate, because the old one may have run out: the
    /// signature is the proof. The controller is proven as always.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], by who can act.
    pub(crate) async fn ask(self, address: &str, now_secs: u64) -> Result<Renewed, ConnectError> {
        let key = TlsKey::generate()?;
        let message = fleet::renewal_message(self.role, self.name, &key.csr_der, now_secs);
        let request = RenewRequest {
            role: WireRole::from(self.role).into(),
            name: self.name.to_owned(),
            csr_der: key.csr_der.clone(),
            signed_at_secs: now_secs,
            signature: self.keys.sign(&message).to_vec(),
            identity_key: self.keys.identity_public().to_vec(),
            known_authorities: self.known,
        };

        let channel = tls::channel(address, &self.trust, None).await?;
        let RenewResponse {
            certificate_der,
            ca_der,
            trust,
            controllers,
        } = EnrollmentClient::new(channel)
            .renew(request)
            .await
            .map_err(|status| ConnectError::from_status(address, status))?
            .into_inner();

        let believed = trust.as_ref().map(Believed::told).transpose()?;
        let ca = keys::certificate(&ca_der);
        // Whoever answers has proven to be the controller, and may name those who follow.
        let is_ours = match (&believed, &self.trust) {
            (Some(believed), _) => believed.authorities.contains(&ca),
            (None, Trust::Authorities(cas)) => cas.contains(&ca),
            (None, Trust::Fingerprint(fingerprint)) => tls::fingerprint(&ca) == *fingerprint,
        };
        if !is_ours {
            return Err(ConnectError::Answer("it names another CA than ours"));
        }
        certificate::verify(&certificate_der, std::slice::from_ref(&ca), now_secs)?;
        Ok(Renewed {
            certificate_der,
            ca,
            believed,
            controllers,
            key,
        })
    }
}

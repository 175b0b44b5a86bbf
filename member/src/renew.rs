//! A fresh certificate for a member that proves its identity key.

use fleet::Role;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{RenewRequest, RenewResponse, Role as WireRole};
use rustls_pki_types::CertificateDer;

use crate::certificate;
use crate::error::ConnectError;
use crate::keys::{self, Keys, TlsKey};
use crate::tls::{self, Trust};

/// Who asks, and what the answer must prove.
#[derive(Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) role: Role,
    pub(crate) name: &'a str,
    pub(crate) keys: &'a Keys,
    /// How the controller is known.
    pub(crate) trust: Trust,
}

/// A certificate with the TLS key that it is for.
pub(crate) struct Renewed {
    pub(crate) certificate_der: Vec<u8>,
    /// The fleet's CA certificate.
    pub(crate) ca: CertificateDer<'static>,
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
        };

        let channel = tls::channel(address, &self.trust, None).await?;
        let RenewResponse {
            certificate_der,
            ca_der,
        } = EnrollmentClient::new(channel)
            .renew(request)
            .await
            .map_err(|status| ConnectError::from_status(address, status))?
            .into_inner();

        let is_ours = match &self.trust {
            Trust::Ca(ca) => ca_der == **ca,
            Trust::Fingerprint(fingerprint) => tls::fingerprint(&ca_der) == *fingerprint,
        };
        if !is_ours {
            return Err(ConnectError::Answer("it names another CA than ours"));
        }
        let ca = keys::certificate(&ca_der);
        certificate::verify(&certificate_der, &ca, now_secs)?;
        Ok(Renewed {
            certificate_der,
            ca,
            key,
        })
    }
}

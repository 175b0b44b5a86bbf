//! What a member's certificate says: whose it is, and until when it should be used.

use fleet::Role;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::error::ConnectError;
use crate::skew::Skew;
use crate::{keys, tls};

/// Names and times of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Facts {
    pub(crate) fleet: String,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Seconds since the Unix epoch.
    pub(crate) not_before_secs: u64,
    /// Seconds since the Unix epoch.
    pub(crate) not_after_secs: u64,
}

/// Where in its life a certificate is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Age {
    /// Before its beginning, by this machine's clock: that is behind, or the controller's was ahead.
    Early,
    /// Before half of its life.
    Fresh,
    /// Usable, and time to renew.
    Ripe,
    /// Nobody accepts it any more.
    Expired,
}

// === impl Facts ===

impl Facts {
    /// Reads them from DER. This proves nothing; [`verify`] does.
    pub(crate) fn read(der: &[u8]) -> Result<Self, &'static str> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "the certificate is not X.509")?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| "the certificate's names cannot be read")?
            .ok_or("the certificate names nobody")?;
        let (fleet, role, name) = names
            .value
            .general_names
            .iter()
            .find_map(|name| {
                let GeneralName::URI(uri) = name else {
                    return None;
                };
                fleet::parse_member_uri(uri).ok()
            })
            .ok_or("the certificate names no member")?;
        let validity = certificate.validity();
        Ok(Self {
            fleet,
            role,
            name,
            not_before_secs: u64::try_from(validity.not_before.timestamp()).unwrap_or(0),
            not_after_secs: u64::try_from(validity.not_after.timestamp()).unwrap_or(0),
        })
    }

    /// Where in its life the certificate is at `now_secs`.
    pub(crate) fn age(&self, now_secs: u64) -> Age {
        if now_secs < self.not_before_secs {
            Age::Early
        } else if now_secs >= self.not_after_secs {
            Age::Expired
        } else if now_secs >= self.half_life_secs() {
            Age::Ripe
        } else {
            Age::Fresh
        }
    }

    /// When half of its life is over, seconds since the Unix epoch.
    pub(crate) fn half_life_secs(&self) -> u64 {
        let life = self.not_after_secs.saturating_sub(self.not_before_secs);
        self.not_before_secs.saturating_add(life / 2)
    }
}

/// Proves that `certificate` is one of these authorities and fit for a member, at `now_secs`.
pub(crate) fn verify(
    certificate: &[u8],
    cas: &[CertificateDer<'static>],
    now_secs: u64,
) -> Result<Facts, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |_| ConnectError::Answer("its CA certificate is not one");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(tls::roots(cas).map_err(unusable)?, provider)
            .build()
            .map_err(|_| ConnectError::Answer("its CA certificate is not one"))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_secs));
    verifier
        .verify_client_cert(&keys::certificate(certificate), &[], now)
        .map_err(|cause| {
            // It was made just now, by the controller's clock.
            if let rustls::Error::InvalidCertificate(error) = &cause
                && let Some(skew) = Skew::of_certificate(error)
            {
                let cause = cause.into();
                return ConnectError::Clock { skew, cause };
            }
            ConnectError::Answer("our new certificate does not verify against its CA")
        })?;
    Facts::read(certificate).map_err(ConnectError::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            fleet: "prod".to_owned(),
            role: Role::Host,
            name: "web-1".to_owned(),
            not_before_secs: 1_000,
            not_after_secs: 2_000,
        }
    }

    #[test]
    fn a_certificate_ripens_at_half_life_and_expires_at_its_end() {
        assert_eq!(facts().age(999), Age::Early);
        assert_eq!(facts().age(1_000), Age::Fresh);
        assert_eq!(facts().age(1_499), Age::Fresh);
        assert_eq!(facts().age(1_500), Age::Ripe);
        assert_eq!(facts().age(1_999), Age::Ripe);
        assert_eq!(facts().age(2_000), Age::Expired);
    }
}

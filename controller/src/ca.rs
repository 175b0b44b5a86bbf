//! The fleet's certificate authority: ECDSA P-256, made once by `init`, kept beside the database.
//!
//! It signs the controller's own TLS certificate, the short certificates of members, and the
//! directories that users take away. Names in a certificate come from the caller, which takes them
//! from the store, never from the certificate request: only the public key of a request is used.

use std::fmt;
use std::time::Duration;

use fleet::Role;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber, SigningKey as _,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How long the CA and the controller's own certificate are good for.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates are dated back by this, for members whose clock is slow.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// The fleet's CA with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
    ca_pem: String,
}

/// A certificate and its key, both PEM. The certificate is followed by the CA's.
pub(crate) struct Credentials {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

/// Whom a member's certificate names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// `MemberKey::id`; the certificate's serial number begins with it.
    pub(crate) key: u64,
    pub(crate) fleet: &'a str,
    pub(crate) role: Role,
    pub(crate) name: &'a str,
}

// === impl Credentials ===

impl Credentials {
    /// When the certificate expires, seconds since the Unix epoch; `None` for what is none.
    pub(crate) fn expires_secs(&self) -> Option<u64> {
        self.life_secs().map(|(_, end)| end)
    }

    /// When the certificate begins, seconds since the Unix epoch; `None` for what is none.
    pub(crate) fn begins_secs(&self) -> Option<u64> {
        self.life_secs().map(|(begin, _)| begin)
    }

    fn life_secs(&self) -> Option<(u64, u64)> {
        let der = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let secs = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).ok();
        let validity = certificate.validity();
        Some((secs(validity.not_before)?, secs(validity.not_after)?))
    }
}

// === impl Authority ===

impl Authority {
    /// Makes a new CA; the result holds its certificate and key for [`open`](Self::open).
    pub(crate) fn create(fleet: &str, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        let mut params = params(now_secs, AUTHORITY_LIFE)?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Postern CA of fleet {fleet}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Credentials {
            certificate_pem: params.self_signed(&key)?.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Whether the key is that of the certificate.
    pub(crate) fn holds_its_key(&self) -> bool {
        X509Certificate::from_der(&self.ca).is_ok_and(|(_, certificate)| {
            let public: &[u8] = &certificate.public_key().subject_public_key.data;
            public == self.issuer.key().public_key_raw()
        })
    }

    pub(crate) fn open(identity: &Credentials) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(&identity.key_pem)?;
        let ca = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())
            .map_err(|error| rcgen::Error::PemError(error.to_string()))?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&ca, key)?,
            ca,
            ca_pem: identity.certificate_pem.clone(),
        })
    }

    pub(crate) fn ca_der(&self) -> &[u8] {
        &self.ca
    }

    /// SHA-256 of the CA certificate's DER: what a token pins.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.ca).into()
    }

    /// A TLS certificate for the controller. It lives as long as the CA beside which its key lies.
    pub(crate) fn server(&self, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        let mut params = params(now_secs, AUTHORITY_LIFE)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Postern controller");
        params.subject_alt_names = vec![SanType::DnsName(fleet::SERVER_NAME.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials {
            certificate_pem: certificate.pem() + &self.ca_pem,
            key_pem: key.serialize_pem(),
        })
    }

    /// A member's certificate, DER, for the public key of `csr_der`, whose signature is verified.
    pub(crate) fn member(
        &self,
        subject: Subject<'_>,
        csr_der: &[u8],
        now_secs: u64,
        life: Duration,
    ) -> Result<Vec<u8>, rcgen::Error> {
        let request = CertificateSigningRequestParams::from_der(
            &CertificateSigningRequestDer::from(csr_der),
        )?;
        let uri = fleet::member_uri(subject.fleet, subject.role, subject.name);
        let mut params = params(now_secs, life)?;
        params
            .distinguished_name
            .push(DnType::CommonName, subject.name);
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(serial(subject.key)?);
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(certificate.der().to_vec())
    }

    /// Signs a directory: ECDSA P-256 over SHA-256 of `body`, DER form, by the CA's key. Verify it
    /// with the public key of the CA certificate.
    pub(crate) fn sign(&self, body: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.issuer.key().sign(body)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

fn params(now_secs: u64, life: Duration) -> Result<CertificateParams, rcgen::Error> {
    let now = i64::try_from(now_secs)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .ok_or(rcgen::Error::Time)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - CLOCK_TOLERANCE;
    params.not_after = now + life;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 8 bytes of the key's id, 8 random bytes.
fn serial(id: u64) -> Result<SerialNumber, rcgen::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| rcgen::Error::RingUnspecified)?;
    // DER drops leading zero bytes of a number, so a 1 stands before the id.
    let bytes: Vec<u8> = [&[1], &id.to_be_bytes()[..], &random].concat();
    Ok(SerialNumber::from_slice(&bytes))
}

/// The id of the key in a certificate's serial number, when it is one of ours.
pub(crate) fn key_id(serial: &[u8]) -> Option<u64> {
    let [1, id @ ..] = serial else { return None };
    let (id, random) = id.split_first_chunk::<8>()?;
    (random.len() == 8).then(|| u64::from_be_bytes(*id))
}

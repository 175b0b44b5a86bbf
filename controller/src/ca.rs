//! The fleet's certificate authority: ECDSA P-256, made by `init`, kept beside the database.
//!
//! It signs the controller's own TLS certificate, the short certificates of members, and, for clients
//! of before, the directories that users take away. Names in a certificate come from the caller, which
//! takes them from the store, never from the certificate request: only the public key of a request is
//! used.
//!
//! | file | what |
//! |---|---|
//! | `kept` | what stands in `authority.json`: every authority that counts, and the directory's key |
//! | `rotation` | how one authority follows another: stages as changes of what is kept |
//! | `authorities` | the same at work: who issues, who is believed, what members are told |

pub(crate) mod authorities;
pub(crate) mod kept;
pub(crate) mod rotation;

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

/// How long a CA is good for.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// How long the controller's own certificate is good for from now on. It is renewed when a third of
/// that is left.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// The same certificate is dated back by this: it is made anew every two months, and a member whose
/// clock is slow must not lose the controller by that.
const SERVER_TOLERANCE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates are dated back by this, for members whose clock is slow.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// The fleet's CA with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
    ca_pem: String,
}

/// A certificate and its key, both PEM. The certificate is followed by the CA's.
#[derive(Clone)]
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

    /// Whether the key is that of the first certificate.
    pub(crate) fn holds_its_key(&self) -> bool {
        let (Some(leaf), Ok(key)) = (self.leaf_der(), KeyPair::from_pem(&self.key_pem)) else {
            return false;
        };
        is_key_of(&key, &leaf)
    }

    /// The first certificate alone, PEM.
    pub(crate) fn leaf_pem(&self) -> String {
        const END: &str = "-----END CERTIFICATE-----";
        match self.certificate_pem.split_once(END) {
            Some((leaf, _)) => format!("{leaf}{END}\n"),
            None => self.certificate_pem.clone(),
        }
    }

    /// The same, DER; `None` for what is none.
    pub(crate) fn leaf_der(&self) -> Option<Vec<u8>> {
        authorities::der(&self.certificate_pem).ok()
    }

    /// Whether the controller's certificate is to be made anew: a third of its life is left, or it was made
    /// for the life of the authority, as once all were.
    pub(crate) fn is_due(&self, now_secs: u64) -> bool {
        let life = SERVER_LIFE.as_secs();
        self.expires_secs().is_none_or(|end| {
            let left = end.saturating_sub(now_secs);
            left < life / 3 || left > 2 * life
        })
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
        let params = of_authority(fleet, now_secs, AUTHORITY_LIFE)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Credentials {
            certificate_pem: params.self_signed(&key)?.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Whether the key is that of the certificate.
    pub(crate) fn holds_its_key(&self) -> bool {
        is_key_of(self.issuer.key(), &self.ca)
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

    /// A certificate, PEM, by which whoever knows only this CA believes `successor`, too: the same name and
    /// key as in its own certificate, signed here (RFC 5280, 3.2: a self-issued certificate). It ends with
    /// this CA.
    pub(crate) fn vouch_for(
        &self,
        successor: &Self,
        fleet: &str,
        now_secs: u64,
    ) -> Result<String, rcgen::Error> {
        let life = self.expires_secs().saturating_sub(now_secs);
        let mut params = of_authority(fleet, now_secs, Duration::from_secs(life))?;
        // Those who followed later stand below it. They bear one name, so that no limit counts them by the
        // book (RFC 5280, 4.2.1.9); webpki counts them.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.signed_by(successor.issuer.key(), &self.issuer)?;
        Ok(certificate.pem())
    }

    /// When it ends, seconds since the Unix epoch; 0 for what cannot be read.
    fn expires_secs(&self) -> u64 {
        let Ok((_, certificate)) = X509Certificate::from_der(&self.ca) else {
            return 0;
        };
        u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0)
    }

    /// Whether it has signed this certificate, DER.
    pub(crate) fn has_signed(&self, certificate: &[u8]) -> bool {
        has_signed(&self.ca, certificate)
    }

    /// The first TLS certificate for the controller, with this CA's behind it. There are no members yet whose
    /// clocks might be slow, and one that is made by a clock ahead is told by its date.
    pub(crate) fn first_server(&self, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        self.server_since(now_secs, Duration::ZERO)
    }

    /// Every later one.
    pub(crate) fn server(&self, now_secs: u64) -> Result<Credentials, rcgen::Error> {
        self.server_since(now_secs, SERVER_TOLERANCE)
    }

    fn server_since(&self, now_secs: u64, before: Duration) -> Result<Credentials, rcgen::Error> {
        let mut params = params(now_secs, SERVER_LIFE)?;
        params.not_before -= before;
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

/// Whether the key is that of the certificate, DER.
fn is_key_of(key: &KeyPair, certificate: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        let public: &[u8] = &certificate.public_key().subject_public_key.data;
        public == key.public_key_raw()
    })
}

/// Whether the authority with the first certificate has signed the second, both DER.
pub(crate) fn has_signed(authority: &[u8], certificate: &[u8]) -> bool {
    let parsed = X509Certificate::from_der(certificate);
    let (Ok((_, certificate)), Ok((_, ca))) = (parsed, X509Certificate::from_der(authority)) else {
        return false;
    };
    certificate.verify_signature(Some(ca.public_key())).is_ok()
}

/// What every certificate of an authority says, whoever signs it.
fn of_authority(
    fleet: &str,
    now_secs: u64,
    life: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(now_secs, life)?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Postern CA of fleet {fleet}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
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

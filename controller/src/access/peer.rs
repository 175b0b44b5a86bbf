//! Who is at the other end of a connection, as far as the connection itself shows it; in the
//! extensions of each of its requests.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fleet::Role;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::ca;
use crate::timestamp::Timestamp;

/// Requests of one stranger's connection in work at one time: there is nothing that a stranger
/// may do more than a few of.
const STRANGER_IN_WORK: usize = 8;

/// The other end of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) presented: Presented,
    /// Ends when the authority that has signed the certificate counts no more.
    pub(crate) authority: CancellationToken,
    /// Room for requests of those who are not members.
    pub(crate) in_work: Arc<Semaphore>,
}

/// The client certificate of a connection, which the fleet's CA has signed.
#[derive(Clone, Debug)]
pub(crate) enum Presented {
    Nothing,
    Valid(Arc<MemberCertificate>),
    /// Its time was not when the connection was made. Said in words to whoever calls, because the
    /// cause is a clock, here or there.
    OutOfTime(CertificateTime),
    /// Another authority has signed it, or one that counts no more. It proves nothing.
    Foreign,
}

/// A certificate whose signature and time are verified, read once for all requests of its connection.
#[derive(Debug)]
pub(crate) struct MemberCertificate {
    pub(crate) der: Box<[u8]>,
    /// `None` when it names nobody as the fleet's certificates do.
    pub(crate) subject: Option<Subject>,
}

/// Whom a certificate of the fleet names, and the key that it was issued for.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) fleet: Box<str>,
    pub(crate) role: Role,
    pub(crate) name: Box<str>,
    /// `Key::id`.
    pub(crate) key: u64,
}

/// When a certificate is valid, and what the clock said; seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CertificateTime {
    pub(crate) not_before_secs: u64,
    pub(crate) not_after_secs: u64,
    pub(crate) now_secs: u64,
}

// === impl Peer ===

impl Peer {
    pub(crate) fn new(address: IpAddr, presented: Presented) -> Self {
        Self {
            address: address.to_canonical(),
            presented,
            authority: CancellationToken::new(),
            in_work: Arc::new(Semaphore::new(STRANGER_IN_WORK)),
        }
    }

    /// The same, whose certificate is good for as long as this authority counts.
    pub(crate) fn while_counts(self, authority: CancellationToken) -> Self {
        Self { authority, ..self }
    }
}

// === impl Presented ===

impl Presented {
    /// Looks at the time of a certificate whose signature is verified.
    pub(crate) fn at(der: &[u8], now: Timestamp) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            return Self::Nothing;
        };
        let secs = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let validity = CertificateTime {
            not_before_secs: secs(certificate.validity().not_before),
            not_after_secs: secs(certificate.validity().not_after),
            now_secs: now.secs(),
        };
        if validity.holds() {
            Self::Valid(Arc::new(MemberCertificate {
                der: der.into(),
                subject: Subject::of(&certificate),
            }))
        } else {
            Self::OutOfTime(validity)
        }
    }
}

// === impl Subject ===

impl Subject {
    fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let (fleet, role, name) = fleet::parse_member_uri(only_uri(certificate)?).ok()?;
        Some(Self {
            fleet: fleet.into(),
            role,
            name: name.into(),
            key: ca::key_id(certificate.raw_serial())?,
        })
    }
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Some(uri),
        _ => None,
    }
}

// === impl CertificateTime ===

impl CertificateTime {
    fn holds(self) -> bool {
        (self.not_before_secs..=self.not_after_secs).contains(&self.now_secs)
    }
}

impl fmt::Display for CertificateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |secs| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs));
        write!(
            f,
            "the certificate is valid from {} until {}, and the controller's clock says {}",
            time(self.not_before_secs),
            time(self.not_after_secs),
            time(self.now_secs)
        )
    }
}

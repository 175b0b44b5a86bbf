//! What a receiver said, and why something was not delivered.

use std::io;
use std::path::PathBuf;

/// What a receiver said who took records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer(pub(crate) String);

/// Why records were not delivered. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A file of the sink.
    #[error("cannot use {path}")]
    File {
        /// Of the file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A secret that is none.
    #[error("{path} may be read by everybody on this machine (mode {mode:o}): chmod 0600")]
    Exposed {
        /// Of the file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file that is not what it should be.
    #[error("{path} holds no {what}")]
    Malformed {
        /// Of the file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// No certificate could be believed.
    #[error("this machine trusts no authority: name one with `ca`")]
    NoAuthorities,
    /// They do not belong together, or are none.
    #[error("the certificates and keys of this sink cannot be used")]
    Tls(#[source] rustls::Error),
    /// No connection, or no TLS.
    #[error("cannot reach {place}")]
    Connect {
        /// `host:port`
        place: String,
        /// Why.
        source: io::Error,
    },
    /// It may have a part.
    #[error("the connection to {place} broke before everything was taken")]
    Broken {
        /// `host:port`
        place: String,
        /// Why.
        source: io::Error,
    },
    /// No answer came.
    #[error("the request failed")]
    Http(#[source] Box<ureq::Error>),
    /// A status that is no success.
    #[error("the receiver answered {status}{said}")]
    Refused {
        /// Of HTTP.
        status: u16,
        /// The beginning of the answer, behind a colon.
        said: String,
    },
    /// No connection.
    #[error("cannot reach the collector")]
    Grpc(#[source] tonic::transport::Error),
    /// A status that is no success.
    #[error("the collector answered {code}: {said}")]
    GrpcRefused {
        /// Of gRPC.
        code: tonic::Code,
        /// Its message.
        said: String,
    },
    /// In the time of the sink.
    #[error("no answer in time")]
    Timeout,
}

// === impl DeliveryError ===

impl DeliveryError {
    /// The receiver was reached, and did not want what it was sent.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::GrpcRefused { .. })
    }
}

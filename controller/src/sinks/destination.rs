//! The types of sinks, and why something was not delivered.

use std::io;
use std::path::PathBuf;

use fleet::export::Record;

use super::file::FileSink;
use super::otlp::Otlp;
use super::syslog::Syslog;
use super::webhook::Webhook;
use crate::settings::{SinkSettings, Target};

/// Where records are sent; it keeps what it can keep between two batches.
#[derive(Debug)]
pub(crate) enum Destination {
    File(FileSink),
    Otlp(Box<Otlp>),
    Syslog(Box<Syslog>),
    Webhook(Box<Webhook>),
}

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

// === impl Destination ===

impl Destination {
    /// Nothing is opened or read yet.
    pub(crate) fn new(settings: &SinkSettings) -> Self {
        match settings.target.clone() {
            Target::File { path, format } => Self::File(FileSink { path, format }),
            Target::Otlp { url, access } => Self::Otlp(Box::new(Otlp::new(url, access))),
            Target::Syslog {
                address,
                transport,
                format,
                access,
            } => Self::Syslog(Box::new(Syslog {
                address,
                transport,
                format,
                access,
            })),
            Target::Webhook {
                url,
                format,
                body,
                access,
            } => Self::Webhook(Box::new(Webhook {
                sink: settings.name.clone(),
                url,
                format,
                body,
                access,
                timeout: settings.timeout,
                agent: None,
            })),
        }
    }

    /// Sends all records, and says what came back once the receiver has them.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`]; then all of them are to be sent again.
    pub(crate) async fn send(&mut self, records: &[Record]) -> Result<Answer, DeliveryError> {
        match self {
            Self::File(file) => file.send(records).await,
            Self::Otlp(otlp) => otlp.send(records).await,
            Self::Syslog(syslog) => syslog.send(records).await,
            Self::Webhook(webhook) => webhook.send(records).await,
        }
    }
}

//! The types of sinks.

use fleet::export::Record;

use super::error::{Answer, DeliveryError};
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

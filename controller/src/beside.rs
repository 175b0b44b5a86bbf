//! What whoever may read the controller's directory asks of its sinks, beside a running controller or
//! without one.

use std::path::Path;

use policy::nearest_of;
use tokio::time::timeout;

use crate::clock;
use crate::settings::SinkSettings;
use crate::sinks;
use crate::sinks::destination::Destination;
use crate::sinks::error::DeliveryError;
use crate::start::{self, StartError};

/// What came of a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkTested {
    /// The type of the sink.
    pub type_name: &'static str,
    /// Where the record was sent.
    pub place: String,
    /// What the receiver said.
    pub said: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// A sink of the settings, and how far the store says that it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// The type of the sink.
    pub type_name: &'static str,
    /// Where records go.
    pub place: String,
    /// Everything up to this record is delivered; `None` before it began.
    pub delivered_id: Option<u64>,
    /// When that was, milliseconds since the Unix epoch; 0 for never.
    pub delivered_at_ms: u64,
    /// The newest record of the log.
    pub newest_id: u64,
    /// Age of the oldest record that is not delivered, milliseconds; 0 when all are.
    pub lag_ms: u64,
    /// Since when it is an alarm that it lags, milliseconds since the Unix epoch; 0 when it is none.
    pub alarm_since_ms: u64,
}

/// Why a sink was not tested, or did not take the record.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The directory or the settings.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No sink has this name.
    #[error("there is no sink `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The one that may have been meant, or all there are.
        hint: String,
    },
    /// It was not delivered.
    #[error("sink {name} did not take the record")]
    NotDelivered {
        /// Of the sink.
        name: String,
        /// Why.
        source: DeliveryError,
    },
}

/// Sends one record that says it is a test to a sink, and gives what came back.
///
/// # Errors
///
/// [`SinkError`].
pub async fn test_sink(data: &Path, name: &str) -> Result<SinkTested, SinkError> {
    let settings = start::settings_of(data)?;
    let sink = find(&settings.sinks, name)?;
    let mut destination = Destination::new(sink);
    let record = sinks::test_record(name, clock::now().ms());
    let began = clock::instant();
    let sent = timeout(sink.timeout, destination.send(&[record])).await;
    let answer = sent.unwrap_or(Err(DeliveryError::Timeout));
    let answer = answer.map_err(|source| SinkError::NotDelivered {
        name: name.to_owned(),
        source,
    })?;
    Ok(SinkTested {
        type_name: sink.target.type_name(),
        place: sink.target.place(),
        said: answer.0,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Every sink of the settings, in their order.
///
/// # Errors
///
/// [`StartError`].
pub async fn list_sinks(data: &Path) -> Result<Vec<SinkRow>, StartError> {
    let settings = start::settings_of(data)?;
    let store = start::open_beside(data)?;
    let now_ms = clock::now().ms();
    let newest_id = store.newest_record().await?;
    let mut rows = Vec::new();
    for sink in &settings.sinks {
        let cursor = store.sink_cursor(sink.name.clone()).await?;
        let pending = match &cursor {
            Some(cursor) => store.records_after(cursor.delivered_id, 1).await?,
            None => Vec::new(),
        };
        let pending = pending.first();
        let known = cursor.unwrap_or_default();
        rows.push(SinkRow {
            name: sink.name.clone(),
            type_name: sink.target.type_name(),
            place: sink.target.place(),
            delivered_id: cursor.map(|cursor| cursor.delivered_id),
            delivered_at_ms: known.delivered_at_ms,
            newest_id,
            lag_ms: pending.map_or(0, |row| now_ms.saturating_sub(row.stored_at_ms)),
            alarm_since_ms: known.alarm_since_ms.unwrap_or(0),
        });
    }
    store.close().await;
    Ok(rows)
}

fn find<'s>(all: &'s [SinkSettings], name: &str) -> Result<&'s SinkSettings, SinkError> {
    if let Some(sink) = all.iter().find(|sink| sink.name == name) {
        return Ok(sink);
    }
    let names = || all.iter().map(|sink| sink.name.as_str());
    let hint = match nearest_of(name, names()) {
        Some(near) => format!("did you mean {near}?"),
        None if all.is_empty() => {
            "controller.toml has no `[[sink]]`; see `postern-controller sink --help`".to_owned()
        }
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(SinkError::Unknown {
        name: name.to_owned(),
        hint,
    })
}

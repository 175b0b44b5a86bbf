//! What whoever may read the controller's directory asks of its sinks, beside a running controller or
//! without one.

use std::path::Path;

use fleet::export::Record;
use fleet::{EventKind, Outcome};
use policy::nearest_of;
use tokio::time::timeout;

use crate::access::caller::RequestId;
use crate::clock;
use crate::settings::SinkSettings;
use crate::sinks;
use crate::sinks::destination::Destination;
use crate::sinks::error::DeliveryError;
use crate::start::directory;
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::Origin;

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

/// A record that a sink will not be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkSkipped {
    /// Its position in the log.
    pub id: u64,
    /// The host that it is of, or `controller`.
    pub host: String,
    /// The host's journal.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
    /// What it is of.
    pub kind: String,
}

/// Records that are looked at together for the next one.
const LOOK: u16 = 500;

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
    /// It never began, or it has everything.
    #[error("sink {name} has nothing to skip: no record waits for it")]
    NothingWaits {
        /// Of the sink.
        name: String,
    },
    /// It delivers.
    #[error("sink {name} has gone on meanwhile: nothing was skipped")]
    GoesOn {
        /// Of the sink.
        name: String,
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
    let settings = directory::settings_of(data)?;
    let sink = find(&settings.sinks, name)?;
    if let Some(warning) = sink.warning() {
        program::note(format_args!("warning: {warning}"));
    }
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
    let settings = directory::settings_of(data)?;
    let store = directory::open_beside(data)?;
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

/// Has a sink go on after the record that it would send next, and records that. A running controller
/// notices when it tries again.
///
/// # Errors
///
/// [`SinkError`].
pub async fn skip_record(data: &Path, name: &str) -> Result<SinkSkipped, SinkError> {
    let settings = directory::settings_of(data)?;
    let sink = find(&settings.sinks, name)?;
    let store = directory::open_beside(data)?;
    let skipped = skip(&store, sink).await;
    store.close().await;
    skipped
}

async fn skip(store: &Store, sink: &SinkSettings) -> Result<SinkSkipped, SinkError> {
    let name = &sink.name;
    let cursor = store.sink_cursor(name.clone()).await;
    let from = cursor.map_err(StartError::from)?;
    let from = from.map(|cursor| cursor.delivered_id);
    let next = match from {
        Some(from) => next(store, sink, from).await.map_err(StartError::from)?,
        None => None,
    };
    let (Some(from), Some(record)) = (from, next) else {
        return Err(SinkError::NothingWaits { name: name.clone() });
    };
    let skipped = SinkSkipped {
        id: record.id,
        kind: record.kind_name().into_owned(),
        seq: record.event.seq,
        host: record.host,
        epoch: record.epoch,
    };
    let request = RequestId::new().map_err(StartError::from)?;
    let mut event =
        Origin::controller(request.to_string()).done(EventKind::Sink, clock::now().ms());
    event.set_outcome(Outcome::Failure);
    let SinkSkipped {
        id,
        host,
        epoch,
        seq,
        kind,
    } = &skipped;
    event.reason = format!(
        "sink {name} is not sent record {id} ({kind}, event {seq} of journal {epoch} of {host}): \
         skipped by whoever may read the controller's directory"
    );
    let moved = store.sink_skipped(name.clone(), (from, *id), event).await;
    if !moved.map_err(StartError::from)? {
        return Err(SinkError::GoesOn { name: name.clone() });
    }
    Ok(skipped)
}

/// The first record after `from` that is for this sink.
async fn next(
    store: &Store,
    sink: &SinkSettings,
    mut from: u64,
) -> Result<Option<Record>, StoreError> {
    loop {
        let rows = store.records_after(from, LOOK).await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            return Ok(None);
        };
        let mut records = rows.into_iter().map(sinks::record);
        if let Some(record) = records.find(|record| sink.wants(record.kind())) {
            return Ok(Some(record));
        }
        from = last;
    }
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

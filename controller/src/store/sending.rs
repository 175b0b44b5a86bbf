//! What goes out of the store: records for sinks, numbers for Prometheus, copies for backups.

use std::path::Path;

use fleet::Event;
use prometheus_client::metrics::histogram::Histogram;

use super::alone::Alone;
use super::error::StoreError;
use super::model::{Examined, LogRow, OfKind, Resealed, SinkCursor, Whose};
use super::seal::{KEY_LEN, SealKey};
use super::snapshot::Snapshot;
use super::sql::Connection;
pub(crate) use super::sqlite::schema::SCHEMA;
use super::sqlite::{backup, meta, resealing, sinks};
use super::{Place, Store, authorities, postgres, whole};

/// Records, and how far they are sent on.
impl Store {
    /// Where a sink stands. One that is not there yet is made, and begins after `begin`, or after the
    /// newest record.
    pub(crate) async fn sink(
        &self,
        name: String,
        begin: Option<u64>,
    ) -> Result<SinkCursor, StoreError> {
        self.engine
            .write(move |connection| sinks::find_or_make(connection, &name, begin))
            .await
    }

    /// Where a sink stands, if it ever began.
    pub(crate) async fn sink_cursor(&self, name: String) -> Result<Option<SinkCursor>, StoreError> {
        self.engine
            .read(move |connection| sinks::find(connection, &name))
            .await
    }

    /// All events up to `id` are delivered to a sink, by the one who sends to it where there are several.
    pub(crate) async fn sink_delivered(
        &self,
        (name, sender): (String, Option<u64>),
        id: u64,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| sinks::delivered(connection, (&name, sender), id, now_ms))
            .await
    }

    /// Who sends to a sink is `to` from now on. False when it is another than `from` by now.
    pub(crate) async fn take_sink(
        &self,
        name: String,
        (from, to): (Option<u64>, u64),
    ) -> Result<bool, StoreError> {
        self.engine
            .write(move |connection| sinks::take(connection, &name, (from, to)))
            .await
    }

    /// A sink that stands at `from` is to go on after `to`, and `event` says so. False, and nothing is
    /// recorded, when it stands elsewhere by now.
    pub(crate) async fn sink_skipped(
        &self,
        name: String,
        (from, to): (u64, u64),
        event: Event,
    ) -> Result<bool, StoreError> {
        self.engine
            .write(move |connection| sinks::skipped(connection, &name, (from, to), event))
            .await
    }

    /// That a sink lags begins or ends to be an alarm, and `event` says so. False, and nothing is
    /// recorded, when that was so already.
    pub(crate) async fn sink_alarm(
        &self,
        name: String,
        since_ms: Option<u64>,
        event: Event,
    ) -> Result<bool, StoreError> {
        self.engine
            .write(move |connection| sinks::alarm(connection, &name, since_ms, event))
            .await
    }

    /// [`LogRow::id`] of the newest record; 0 before the first.
    pub(crate) async fn newest_record(&self) -> Result<u64, StoreError> {
        self.engine.read_to_send(sinks::newest).await
    }

    /// At most `limit` rows after record `id`, in the order of the log.
    pub(crate) async fn records_after(
        &self,
        id: u64,
        limit: u16,
    ) -> Result<Vec<LogRow>, StoreError> {
        self.engine
            .read_to_send(move |connection| sinks::after(connection, id, limit))
            .await
    }
}

/// How it does, for whoever measures.
impl Store {
    /// Why the database takes no writes now; `None` while it does. Tried every few seconds.
    pub(crate) fn fault(&self) -> Option<String> {
        self.engine.fault()
    }

    /// How long commits take, seconds.
    pub(crate) fn commit_seconds(&self) -> Histogram {
        self.engine.commits()
    }

    /// What there is of each kind after record `from`, up to `to`.
    pub(crate) async fn newest_of_kinds(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<OfKind>, StoreError> {
        self.engine
            .read(move |connection| sinks::newest_of_kinds(connection, from, to))
            .await
    }

    /// How many records of each kind came after record `from`, up to `to`; by the number of the kind
    /// in the contract.
    pub(crate) async fn kinds_between(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<(i32, u64)>, StoreError> {
        self.engine
            .read_to_send(move |connection| sinks::kinds_between(connection, from, to))
            .await
    }
}

impl Store {
    /// How large the database is, bytes, where its server says so; `None` of a file.
    pub(crate) async fn bytes_at_server(&self) -> Result<Option<u64>, StoreError> {
        if !self.is_shared() {
            return Ok(None);
        }
        self.engine.read(postgres::bytes).await.map(Some)
    }
}

/// How large the database at a server is, bytes; `None` of a file. Not in a task.
pub(crate) fn bytes_at_server(place: &Place, seal: &SealKey) -> Result<Option<u64>, StoreError> {
    match place {
        Place::File(_) => Ok(None),
        Place::Postgres(_) => postgres::bytes(Snapshot::begin(place, seal)?.sql()).map(Some),
    }
}

/// Copies the database at `from`, whether it is in use or not, into a new file (mode 0600), and
/// gives the number of its schema.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<u32, StoreError> {
    backup::copy_file(from, to)
}

/// Reads the whole database, whether it is in use or not. Nothing is changed. `progress` hears
/// how many records were read, of how many. Not in a task.
pub(crate) fn examine(
    place: &Place,
    seal: &SealKey,
    whose: Whose<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Examined, StoreError> {
    match place {
        Place::File(path) => backup::examine(path, seal, whose, progress),
        Place::Postgres(_) => whole::examine_at_server(place, seal, whose, progress),
    }
}

/// Whether the database at a server is one of this fleet, under this key. Not in a task.
pub(crate) fn knows(place: &Place, seal: &SealKey, fleet: &str) -> Result<bool, StoreError> {
    let snapshot = Snapshot::begin(place, seal)?;
    if snapshot.schema()? == 0 {
        return Ok(false);
    }
    match authorities::shared(snapshot.sql(), seal) {
        Ok(shared) => Ok(shared.is_some_and(|shared| shared.fleet == fleet)),
        Err(StoreError::Seal(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes anew what records are searched by, and gives how many records there are. Nobody else may use
/// the database. Not in a task.
pub(crate) fn rebuild_searches(
    place: &Place,
    seal: &SealKey,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, StoreError> {
    whole::rebuild_all(&Alone::open(place, seal)?, progress)
}

/// Seals everything in the database that is sealed under the key `old` under `new`, in one transaction of which
/// `event` is the record; `controller` is the name of this one among several. Nobody else may use the database. Not in
/// a task.
pub(crate) fn reseal(
    place: &Place,
    (old, new): (&[u8; KEY_LEN], &[u8; KEY_LEN]),
    (event, controller): (Event, Option<&str>),
) -> Result<Resealed, StoreError> {
    match place {
        Place::File(path) => resealing::reseal(path, (old, new), event),
        Place::Postgres(_) => {
            let database = Alone::open(place, &SealKey::new(old))?;
            let run_key = meta::run_key(controller);
            whole::reseal_shared(&database, (old, new), (event, &run_key))
        }
    }
}

/// Whether the database says that what is sealed in it was sealed again under this key.
pub(crate) fn is_sealed_under(place: &Place, key: &[u8; KEY_LEN]) -> Result<bool, StoreError> {
    look(place, key, resealing::is_sealed_under)
}

/// Whether this is the key of the database.
pub(crate) fn is_key_of(place: &Place, key: &[u8; KEY_LEN]) -> Result<bool, StoreError> {
    look(place, key, resealing::is_key_of)
}

/// Asks a database something of a key that need not be its.
fn look(
    place: &Place,
    key: &[u8; KEY_LEN],
    ask: fn(&Connection, &SealKey) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let (place, key) = (place.clone(), SealKey::new(key));
    // The driver of a server is a runtime of its own, which cannot be in another's thread.
    let asking = std::thread::spawn(move || {
        let snapshot = Snapshot::begin(&place, &key)?;
        ask(snapshot.sql(), &key)
    });
    asking.join().map_err(|_| StoreError::Panicked)?
}

/// Refuses a schema that this program does not know.
pub(crate) fn is_known(examined: &Examined) -> Result<(), StoreError> {
    let schema = examined.schema;
    if schema <= SCHEMA {
        return Ok(());
    }
    Err(StoreError::Newer {
        found: schema,
        known: SCHEMA,
        written_by: examined.written_by.clone(),
    })
}

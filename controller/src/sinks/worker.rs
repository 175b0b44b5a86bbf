//! One sink at work: reads on where it stands, sends, and notes how far it came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet::export::Record;
use fleet::{EventKind, Outcome};
use tokio::time::{sleep, timeout};

use super::destination::Destination;
use super::error::DeliveryError;
use super::lag::{Backoff, Change, change};
use super::state::SinkState;
use crate::access::caller::RequestId;
use crate::clock;
use crate::context::Context;
use crate::settings::{Begin, SinkSettings};
use crate::store::error::StoreError;
use crate::store::model::{Origin, SinkCursor};

/// How often a sink that has everything looks for more: what comes in between is one batch.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a moving cursor is stored: after a crash, what was sent since is sent again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Bodies of one batch together, in bytes, unless a single one is longer.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
pub(super) struct Worker {
    context: Arc<Context>,
    settings: SinkSettings,
    state: Arc<SinkState>,
    destination: Destination,
    backoff: Backoff,
    /// Everything up to here is delivered, or is not for this sink.
    cursor: u64,
    /// So many records are sent one by one: the receiver refused a batch, and it may be only one of
    /// them that it does not take.
    one_by_one: u16,
    saved: u64,
    saved_at: Instant,
    alarm_since_ms: Option<u64>,
    /// This controller sends, and not another of the fleet.
    is_ours: bool,
}

/// What came of one look at the log.
enum Turn {
    /// There may be more.
    Delivered,
    /// All is delivered.
    Idle,
    Failed(DeliveryError),
    /// Another controller sends.
    Anothers,
}

// === impl Worker ===

impl Worker {
    pub(super) fn new(
        context: &Arc<Context>,
        settings: &SinkSettings,
        state: Arc<SinkState>,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            destination: Destination::new(settings),
            settings: settings.clone(),
            state,
            backoff: Backoff::default(),
            cursor: 0,
            one_by_one: 0,
            saved: 0,
            saved_at: clock::instant(),
            alarm_since_ms: None,
            is_ours: false,
        }
    }

    /// Sends until the controller stops.
    pub(super) async fn run(mut self) {
        let context = Arc::clone(&self.context);
        tokio::select! {
            () = context.stopping.cancelled() => {}
            () = self.send_on() => {}
        }
        if let Err(error) = self.save().await {
            tracing::debug!(error = %program::one_line(&error), "a cursor was not stored");
        }
    }

    async fn send_on(&mut self) {
        while let Err(error) = self.begin().await {
            self.not_read(&error);
            sleep(self.backoff.failed()).await;
        }
        loop {
            let pause = match self.turn().await {
                Ok(Turn::Delivered) => Duration::ZERO,
                Ok(Turn::Idle) => LOOK_INTERVAL,
                Ok(Turn::Failed(error)) => self.failed(&error),
                Ok(Turn::Anothers) => {
                    sleep(LOOK_INTERVAL).await;
                    continue;
                }
                Err(error) => {
                    self.not_read(&error);
                    self.backoff.failed()
                }
            };
            let is_due = pause > Duration::ZERO || self.saved_at.elapsed() >= SAVE_INTERVAL;
            if is_due && let Err(error) = self.save().await {
                tracing::debug!(error = %program::one_line(&error), "a cursor was not stored");
            }
            self.watch_lag().await;
            sleep(pause).await;
        }
    }

    async fn begin(&mut self) -> Result<(), StoreError> {
        let begin = match self.settings.from {
            Begin::Beginning => Some(0),
            Begin::Now => None,
        };
        let name = self.settings.name.clone();
        let cursor = self.context.store.sink(name, begin).await?;
        self.stand(&cursor);
        Ok(())
    }

    /// Goes on from where the sink stands.
    fn stand(&mut self, cursor: &SinkCursor) {
        self.cursor = cursor.delivered_id;
        self.saved = cursor.delivered_id;
        self.alarm_since_ms = cursor.alarm_since_ms;
        self.state.change(|standing| {
            standing.delivered_id = cursor.delivered_id;
            standing.delivered_at_ms = cursor.delivered_at_ms;
        });
    }

    /// Whether this controller sends. Of several over one database one does for as long as it lives; when it does no
    /// more, another goes on from where it was.
    async fn is_ours(&mut self) -> Result<bool, StoreError> {
        let Context {
            store, sessions, ..
        } = &*self.context;
        if !store.is_shared() {
            return Ok(true);
        }
        let Some(myself) = sessions.others().myself() else {
            return Ok(false);
        };
        let name = &self.settings.name;
        let Some(cursor) = store.sink_cursor(name.clone()).await? else {
            return Ok(false);
        };
        let sends = match cursor.sender {
            Some(sender) if sender == myself => true,
            Some(sender) if sessions.others().lives(sender) => false,
            // Whoever it was stored all of its cursor before this.
            sender => store.take_sink(name.clone(), (sender, myself)).await?,
        };
        if sends && self.is_ours {
            return Ok(true);
        }
        let cursor = store.sink_cursor(name.clone()).await?.unwrap_or(cursor);
        if sends {
            tracing::info!(sink = name, "this controller sends to this sink");
        } else {
            self.follow_other(&cursor).await?;
        }
        self.is_ours = sends;
        self.stand(&cursor);
        Ok(sends)
    }

    /// What is to be seen here of a sink to which another controller sends.
    async fn follow_other(&self, cursor: &SinkCursor) -> Result<(), StoreError> {
        let after = cursor.delivered_id;
        let next = self.context.store.records_after(after, 1).await?;
        let pending_since_ms = next.first().map(|row| row.stored_at_ms);
        self.state.change(|standing| {
            standing.pending_since_ms = pending_since_ms;
            standing.error.clear();
        });
        Ok(())
    }

    /// Reads and sends one batch.
    async fn turn(&mut self) -> Result<Turn, StoreError> {
        if !self.is_ours().await? {
            return Ok(Turn::Anothers);
        }
        if self.backoff.failures() > 0 {
            self.follow_skip().await?;
        }
        let limit = match self.one_by_one {
            0 => self.settings.batch,
            _ => 1,
        };
        let rows = self.context.store.records_after(self.cursor, limit).await?;
        let Some(newest) = rows.last().map(|row| row.id) else {
            self.state
                .change(|standing| standing.pending_since_ms = None);
            return Ok(Turn::Idle);
        };
        let mut is_all = rows.len() < usize::from(limit);
        let (mut end, mut bytes) = (newest, 0);
        let mut records: Vec<Record> = Vec::new();
        for row in rows {
            let (id, length) = (row.id, row.event.body.len());
            let record = super::record(row);
            if !self.settings.wants(record.kind()) {
                continue;
            }
            if !records.is_empty() && bytes + length > BATCH_BYTES_MAX {
                is_all = false;
                end = id - 1;
                break;
            }
            bytes += length;
            records.push(record);
        }
        let Some(first) = records.first() else {
            self.passed(end);
            return Ok(Turn::Delivered);
        };
        // What is not for this sink is not what it lags behind.
        self.passed(first.id - 1);
        let stored_at_ms = first.stored_at_ms;
        self.state
            .change(|standing| standing.pending_since_ms = Some(stored_at_ms));
        let sent = timeout(self.settings.timeout, self.destination.send(&records));
        match sent.await.unwrap_or(Err(DeliveryError::Timeout)) {
            Ok(_) => self.delivered(end, records.len()),
            Err(error) => return Ok(Turn::Failed(error)),
        }
        Ok(if is_all { Turn::Idle } else { Turn::Delivered })
    }

    /// Somebody may have said that what is refused shall not be sent.
    async fn follow_skip(&mut self) -> Result<(), StoreError> {
        let name = self.settings.name.clone();
        let stored = self.context.store.sink_cursor(name).await?;
        let skipped = stored.map_or(0, |cursor| cursor.delivered_id);
        if skipped > self.cursor {
            self.passed(skipped);
            self.saved = skipped;
        }
        Ok(())
    }

    /// Everything up to here is delivered or is not for this sink.
    fn passed(&mut self, id: u64) {
        self.cursor = self.cursor.max(id);
        let cursor = self.cursor;
        self.state.change(|standing| standing.delivered_id = cursor);
    }

    fn delivered(&mut self, end: u64, records: usize) {
        self.passed(end);
        self.one_by_one = self.one_by_one.saturating_sub(1);
        let failures = self.backoff.failures();
        self.backoff.worked();
        let now_ms = clock::now().ms();
        self.state.change(|standing| {
            standing.delivered_at_ms = now_ms;
            standing.pending_since_ms = None;
            standing.error.clear();
            standing.records += records as u64;
        });
        if failures > 0 {
            tracing::info!(
                sink = self.settings.name,
                failures,
                "events reach this sink again"
            );
        }
    }

    /// The pause before the next attempt.
    fn failed(&mut self, error: &DeliveryError) -> Duration {
        if error.is_refusal() {
            self.one_by_one = self.settings.batch;
        }
        let is_first = self.backoff.failures() == 0;
        let pause = self.backoff.failed();
        let text = program::one_line(error).to_string();
        if is_first {
            tracing::warn!(
                sink = self.settings.name,
                error = text,
                "events do not reach this sink; they are kept and sent later"
            );
        } else {
            tracing::debug!(sink = self.settings.name, error = text, "not delivered");
        }
        self.state.change(|standing| {
            standing.error = text;
            standing.failures += 1;
        });
        pause
    }

    fn not_read(&self, error: &StoreError) {
        let text = program::one_line(error).to_string();
        tracing::debug!(
            sink = self.settings.name,
            error = text,
            "the log cannot be read"
        );
        self.state.change(|standing| standing.error = text);
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        if self.cursor == self.saved {
            return Ok(());
        }
        let cursor = self.cursor;
        let sender = self.context.sessions.others().myself();
        let whose = (self.settings.name.clone(), sender);
        let now_ms = clock::now().ms();
        self.context
            .store
            .sink_delivered(whose, cursor, now_ms)
            .await?;
        self.saved = cursor;
        self.saved_at = clock::instant();
        Ok(())
    }

    /// Records that it becomes an alarm that this sink lags, or no longer is.
    async fn watch_lag(&mut self) {
        let now = clock::now();
        let standing = self.state.standing();
        let lag = Duration::from_millis(standing.lag_ms(now));
        let is_alarm = self.alarm_since_ms.is_some();
        let Some(change) = change(is_alarm, lag, self.settings.alarm_after) else {
            return;
        };
        let Ok(request) = RequestId::new() else {
            return;
        };
        let mut event = Origin::controller(request.to_string()).done(EventKind::Sink, now.ms());
        let name = &self.settings.name;
        let since_ms = match change {
            Change::Begins => {
                event.set_outcome(Outcome::Failure);
                let lag = humantime::format_duration(Duration::from_secs(lag.as_secs()));
                event.reason = format!(
                    "sink {name} has not taken what is {lag} old: {}",
                    standing.error
                );
                Some(now.ms())
            }
            Change::Ends => {
                event.reason = format!("sink {name} takes events again");
                None
            }
        };
        let recorded = self
            .context
            .store
            .sink_alarm(name.clone(), since_ms, event)
            .await;
        match recorded {
            Ok(_) => self.alarm_since_ms = since_ms,
            Err(error) => {
                tracing::debug!(error = %program::one_line(&error), "an alarm was not recorded");
            }
        }
    }
}

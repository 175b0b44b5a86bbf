//! Audit events: from the journal's spool to the controller.
//!
//! The journal is the truth. An event is pushed until the controller says that it has committed it;
//! pushing one twice does no harm, because the controller knows it by (host, epoch, seq).

use std::path::PathBuf;
use std::sync::Arc;

use fleet::wire::agent_client::AgentClient;
use fleet::wire::{JournalEnd, PushEventsRequest, PushEventsResponse};
use fleet::{Capability, EventRecord};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Request;

use super::backoff::Backoff;
use super::{Connection, Peer, Trouble, deliver, up};
use crate::journal::{JournalError, JournalReader};
use crate::orders::{Order, OrderSender};
use crate::policies::PolicyText;

/// Events in one push, and their bytes: far below gRPC's 4 MiB.
const BATCH: u32 = 512;
const BATCH_BYTES: usize = 1024 * 1024;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Whoever holds it knows that no events are on their way.
pub(super) type Quiet = Arc<tokio::sync::Mutex<()>>;

/// The journal, read off the async threads.
#[derive(Clone, Debug)]
pub(super) struct Spool(Arc<Mutex<JournalReader>>);

// === impl Spool ===

impl Spool {
    pub(super) fn new(reader: JournalReader) -> Self {
        Self(Arc::new(Mutex::new(reader)))
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&JournalReader) -> Result<T, JournalError> + Send + 'static,
    ) -> Option<T> {
        let journal = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let mut journal = journal.lock();
            journal.follow()?;
            read(&journal)
        });
        match task.await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::error!(error = %program::one_line(&error), "the journal cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    /// The policy that was last adopted.
    pub(super) async fn policy(&self) -> Option<PolicyText> {
        self.read(JournalReader::policy).await.flatten()
    }

    /// Where the journal ends; the state directory does not change while an agent runs.
    pub(super) async fn end(&self) -> Option<JournalEnd> {
        self.read(JournalReader::end).await
    }

    /// How many grants are open at this moment; `None` where the journal cannot be read.
    pub(super) async fn grants_open(&self, now_ms: u64) -> Option<u32> {
        self.read(move |journal| journal.open_grants_count(now_ms))
            .await
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.lock().dir().to_owned()
    }

    /// What one push may hold of the events after this place; of a journal that has another name by
    /// now, what comes after the last that was acknowledged.
    async fn batch(&self, after: Place) -> Option<Batch> {
        let read = move |journal: &JournalReader| {
            loop {
                let epoch = journal.end()?.epoch;
                let seq = if epoch == after.epoch {
                    after.seq
                } else {
                    journal.acknowledged()?
                };
                let records = journal.events_after(seq, BATCH)?;
                // A journal that began anew in between is read again.
                if journal.end()?.epoch == epoch {
                    let place = Place { epoch, seq };
                    return Ok(Batch { place, records });
                }
            }
        };
        let mut batch = self.read(read).await?;
        let mut bytes = 0;
        let mut fits = |record: &EventRecord| {
            bytes += record.body.len();
            bytes <= BATCH_BYTES
        };
        // One that is longer by itself goes alone.
        let records = &mut batch.records;
        let count = records.iter().take_while(|record| fits(record)).count();
        records.truncate(count.max(1));
        Some(batch)
    }
}

/// How far the events of a journal have been pushed.
#[derive(Clone, Debug, Default)]
struct Place {
    epoch: String,
    seq: u64,
}

/// Events to push, and what they come after.
#[derive(Debug)]
struct Batch {
    place: Place,
    records: Vec<EventRecord>,
}

/// Takes events from the spool to the controller.
pub(super) struct Push {
    pub(super) spool: Spool,
    /// Held while events are on their way.
    pub(super) quiet: Quiet,
    pub(super) orders: OrderSender,
    /// Up to which event the controller has all.
    pub(super) pushed: watch::Sender<u64>,
    /// Why the controller does not take them; empty when it does.
    pub(super) audit_fault: watch::Sender<String>,
}

// === impl Push ===

impl Push {
    /// Pushes for as long as the link lives.
    pub(super) async fn run(
        self,
        mut committed: watch::Receiver<u64>,
        mut connection: watch::Receiver<Connection>,
    ) {
        let mut backoff = Backoff::new();
        let mut place = Place::default();
        while let Some(peer) = up(&mut connection).await {
            // Noted before the spool is read: what is committed meanwhile is a change to wake up for.
            let upto = *committed.borrow_and_update();
            // Nobody begins a new journal between what is read here and what is said of it.
            let quiet = Arc::clone(&self.quiet);
            let pushing = quiet.lock().await;
            let Some(batch) = self.spool.batch(place.clone()).await else {
                drop(pushing);
                tokio::time::sleep(backoff.next()).await;
                continue;
            };
            place = batch.place;
            if batch.records.is_empty() {
                drop(pushing);
                self.pushed.send_replace(upto);
                if committed.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let went = tokio::select! {
                // First, so that nothing is pushed that was read after a session has ended: the next
                // one says where the journal ends.
                biased;
                () = down(&mut connection) => Went::Nowhere,
                went = self.push(peer, &place, batch.records) => went,
            };
            drop(pushing);
            match went {
                Went::Through(seq) => {
                    place.seq = seq;
                    backoff.reset();
                }
                Went::Nowhere => {}
                Went::Failed => tokio::time::sleep(backoff.next()).await,
            }
        }
    }

    /// One push, and what is to be done about its answer.
    async fn push(&self, peer: Peer, place: &Place, records: Vec<EventRecord>) -> Went {
        let chains: Vec<_> = records.iter().map(|r| (r.seq, r.chain.clone())).collect();
        let last = chains.last().map_or(0, |(seq, _)| *seq);
        let answer = push_batch(peer, &place.epoch, records).await;
        let (acknowledged, chain) = match answer {
            Ok(answer) => (answer.acknowledged_seq, answer.acknowledged_chain),
            Err(status) => {
                match Trouble::of(&status) {
                    Trouble::Refused | Trouble::Broken => self.fault(status.message()),
                    Trouble::Passing => {
                        tracing::debug!(error = %program::one_line(&status), "events are not pushed");
                    }
                }
                return Went::Failed;
            }
        };
        // Never beyond what was sent: a controller cannot make us forget what it has not seen.
        let seq = acknowledged.min(last);
        let same = |(at, own): &(u64, Vec<u8>)| *at != acknowledged || *own == chain;
        if seq <= place.seq {
            self.fault(&format!(
                "of the events up to {last} it keeps those up to {acknowledged}"
            ));
            return Went::Failed;
        }
        if !chain.is_empty() && !chains.iter().all(same) {
            self.fault(&format!(
                "it has another event {acknowledged} than this host"
            ));
            return Went::Failed;
        }
        self.acknowledged(&place.epoch, seq).await;
        Went::Through(seq)
    }

    async fn acknowledged(&self, epoch: &str, seq: u64) {
        let order = Order::EventsAcknowledged {
            epoch: epoch.to_owned(),
            seq,
        };
        // A gate that has stopped does not note it, and the next start pushes these again, which
        // does no harm; the rest is pushed all the same.
        let _ = deliver(&self.orders, order).await;
        self.pushed.send_replace(seq);
        let mended = self.audit_fault.send_if_modified(|fault| {
            let was = !fault.is_empty();
            fault.clear();
            was
        });
        if mended {
            tracing::info!("the controller takes our events again");
        }
    }

    /// Nothing after a refused event gets to the controller either, so a person must hear of it: here,
    /// once for each reason, and at the controller with the next acknowledgement.
    fn fault(&self, reason: &str) {
        let is_news = self.audit_fault.send_if_modified(|fault| {
            let changed = fault != reason;
            reason.clone_into(fault);
            changed
        });
        if is_news {
            tracing::error!(reason, "the controller refuses the events of this host");
        } else {
            tracing::debug!(
                reason,
                "the controller still refuses the events of this host"
            );
        }
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug)]
enum Went {
    /// The controller has all up to this one.
    Through(u64),
    /// The session ended before there was an answer.
    Nowhere,
    Failed,
}

/// Waits until the connection is not up any more; for ever when the link is over.
async fn down(connection: &mut watch::Receiver<Connection>) {
    let is_down = |connection: &Connection| !matches!(connection, Connection::Up(_));
    if connection.wait_for(is_down).await.is_err() {
        std::future::pending().await
    }
}

async fn push_batch(
    peer: Peer,
    epoch: &str,
    records: Vec<EventRecord>,
) -> Result<PushEventsResponse, tonic::Status> {
    let mut push = PushEventsRequest {
        epoch: epoch.to_owned(),
        events: Vec::new(),
        records,
    };
    if !peer.contract.can(Capability::EventRecords) {
        let records = std::mem::take(&mut push.records).into_iter();
        // Ours can be read; one that could not would be damage, and shows as a gap.
        push.events = records.flat_map(EventRecord::into_version_1).collect();
    }
    let mut request = Request::new(push);
    request.set_timeout(TIMEOUT);
    let answer = AgentClient::new(peer.channel).push_events(request).await?;
    Ok(answer.into_inner())
}

//! Audit events: from the journal's spool to the controller.
//!
//! The journal is the truth. An event is pushed until the controller says that it has committed it;
//! pushing one twice does no harm, because the controller knows it by (host, epoch, seq).

use std::sync::Arc;

use fleet::wire::agent_client::AgentClient;
use fleet::wire::{PushEventsRequest, PushEventsResponse};
use fleet::{Capability, EventRecord};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::{Code, Request};

use super::backoff::Backoff;
use super::{Connection, Peer, deliver, up};
use crate::journal::{JournalError, JournalReader};
use crate::orders::{Order, OrderSender};
use crate::policies::PolicyText;

/// Events in one push, and their bytes: far below gRPC's 4 MiB.
const BATCH: u32 = 512;
const BATCH_BYTES: usize = 1024 * 1024;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

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

    /// What one push may hold of the events after `seq`.
    async fn after(&self, seq: u64) -> Option<Vec<EventRecord>> {
        let read = move |journal: &JournalReader| journal.events_after(seq, BATCH);
        let mut records = self.read(read).await?;
        let mut bytes = 0;
        let mut fits = |record: &EventRecord| {
            bytes += record.body.len();
            bytes <= BATCH_BYTES
        };
        // One that is longer by itself goes alone.
        let count = records.iter().take_while(|record| fits(record)).count();
        records.truncate(count.max(1));
        Some(records)
    }

    async fn acknowledged(&self) -> Option<u64> {
        self.read(JournalReader::acknowledged).await
    }

    fn epoch(&self) -> String {
        self.0.lock().epoch().to_owned()
    }
}

/// Takes events from the spool to the controller.
pub(super) struct Push {
    pub(super) spool: Spool,
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
        let epoch = self.spool.epoch();
        let mut backoff = Backoff::new();
        // Without an answer from the journal: from the beginning, which is only more work.
        let mut seq = self.spool.acknowledged().await.unwrap_or(0);
        while let Some(peer) = up(&mut connection).await {
            // Noted before the spool is read: what is committed meanwhile is a change to wake up for.
            let upto = *committed.borrow_and_update();
            let Some(batch) = self.spool.after(seq).await else {
                tokio::time::sleep(backoff.next()).await;
                continue;
            };
            let Some(last) = batch.last().map(|record| record.seq) else {
                self.pushed.send_replace(upto);
                if committed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match push_batch(peer, &epoch, batch).await {
                // Never beyond what was sent: a controller cannot make us forget what it has not
                // seen.
                Ok(acknowledged) if acknowledged.min(last) > seq => {
                    seq = acknowledged.min(last);
                    backoff.reset();
                    self.acknowledged(&epoch, seq).await;
                }
                Ok(acknowledged) => {
                    self.fault(&format!(
                        "of the events up to {last} it keeps those up to {acknowledged}"
                    ));
                    tokio::time::sleep(backoff.next()).await;
                }
                Err(status) => {
                    if is_refusal(&status) {
                        self.fault(status.message());
                    } else {
                        tracing::debug!(error = %program::one_line(&status), "events are not pushed");
                    }
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
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

    /// Nothing after a refused event gets to the controller either, so a person must hear of it:
    /// here, and at the controller with the next acknowledgement.
    fn fault(&self, reason: &str) {
        tracing::error!(reason, "the controller refuses the events of this host");
        self.audit_fault.send_if_modified(|fault| {
            let changed = fault != reason;
            reason.clone_into(fault);
            changed
        });
    }
}

async fn push_batch(
    peer: Peer,
    epoch: &str,
    records: Vec<EventRecord>,
) -> Result<u64, tonic::Status> {
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
    let PushEventsResponse {
        acknowledged_seq,
        acknowledged_chain: _,
    } = AgentClient::new(peer.channel)
        .push_events(request)
        .await?
        .into_inner();
    Ok(acknowledged_seq)
}

/// A controller that cannot be reached, or is busy, is the network's matter and passes; one that
/// does not want our events needs a person.
pub(super) fn is_refusal(status: &tonic::Status) -> bool {
    !matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

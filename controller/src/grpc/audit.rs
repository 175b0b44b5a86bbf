//! The auditor's question: who opened what.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet::wire::audit_server::Audit;
use fleet::wire::{
    self, AccessReviewRequest, AuditRecord, ListEventsRequest, ListSinksRequest, ListSinksResponse,
};
use fleet::{Capability, Contract, Event};
use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{access_review, caller, contract, reads, sinks};
use crate::app;
use crate::app::audit::{FIRST_PAGE, Listing};
use crate::app::reads::Question;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{EventFilter, InvalidPort, LogRow};

/// How long an answer waits for its listener to take the next event.
const LISTENER_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct AuditService {
    context: Arc<Context>,
}

// === impl AuditService ===

impl AuditService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Audit for AuditService {
    type AccessReviewStream = access_review::Rows;
    type ListEventsStream = ReceiverStream<Result<AuditRecord, Status>>;

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        let caller = caller(&request)?;
        let contract = contract(&request);
        let question = reads::audit(request.get_ref());
        app::reads::note(&self.context, &caller, question, clock::now()).await?;
        let listing = listing(request.into_inner())?;
        let open = self.context.limits.questions.open(caller.id).await?;

        let (records, stream) = mpsc::channel(FIRST_PAGE);
        // Room for one last word, however full the queue is: an answer that breaks off must never
        // look like a whole one.
        let last_word = records.clone().reserve_owned().await;
        let last_word = last_word.map_err(|_| Error::Stopping)?;
        let context = Arc::clone(&self.context);
        self.context.tasks.spawn(async move {
            let _open = open;
            let answered = tokio::select! {
                () = context.stopping.cancelled() => Err(Error::Stopping),
                // Whoever goes away takes the question along.
                () = records.closed() => Ok(()),
                answered = answer(&context, listing, &contract, &records) => answered,
            };
            if let Err(error) = answered {
                last_word.send(Err(error.into()));
            }
        });
        tracing::debug!(caller = caller.name, "audit asked");
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn access_review(
        &self,
        request: Request<AccessReviewRequest>,
    ) -> Result<Response<Self::AccessReviewStream>, Status> {
        let caller = caller(&request)?;
        let question = reads::access_review(request.get_ref());
        app::reads::note(&self.context, &caller, question, clock::now()).await?;
        access_review::access_review(&self.context, request).await
    }

    async fn list_sinks(
        &self,
        request: Request<ListSinksRequest>,
    ) -> Result<Response<ListSinksResponse>, Status> {
        let caller = caller(&request)?;
        let question = Question::new("sink list");
        app::reads::note(&self.context, &caller, question, clock::now()).await?;
        sinks::list_sinks(&self.context, request).await
    }
}

/// Sends page after page until there is no more, or nobody listens.
async fn answer(
    context: &Context,
    mut listing: Listing,
    contract: &Contract,
    records: &mpsc::Sender<Result<AuditRecord, Status>>,
) -> Result<(), Error> {
    loop {
        let page = listing.next(context).await?;
        if page.is_empty() {
            return Ok(());
        }
        for record in page {
            let sent = records.send(Ok(into_wire(record, contract)));
            match timeout(LISTENER_PATIENCE, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    let secs = LISTENER_PATIENCE.as_secs();
                    return Err(Error::NotRead { secs });
                }
            }
        }
    }
}

fn listing(request: ListEventsRequest) -> Result<Listing, Error> {
    let ListEventsRequest {
        user,
        host,
        kind,
        source,
        since_ms,
        until_ms,
        limit,
        port,
        stanza,
        key,
        replay_digest,
        grant_id,
        reason,
        kinds: _,
        generation: _,
        actor: _,
        request_id: _,
        follow: _,
        after_id: _,
    } = request;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let kind = match kind {
        kind if kind == i32::from(wire::EventKind::Unspecified) => None,
        kind => Some(kind),
    };
    let port = match port.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error: InvalidPort| Error::invalid("port", error.to_string()))?,
        ),
    };
    let address = some(source).map(|text| network(&text)).transpose()?;
    let filter = EventFilter {
        user: some(user),
        host: some(host),
        kind,
        address,
        since_ms: (since_ms != 0).then_some(since_ms),
        until_ms: (until_ms != 0).then_some(until_ms),
        port,
        stanza: some(stanza),
        key: some(key),
        replay_digest: some(replay_digest.to_ascii_lowercase()),
        grant_id: some(grant_id.to_ascii_lowercase()),
        reason: some(reason),
    };
    Ok(Listing::new(filter, limit))
}

fn network(text: &str) -> Result<IpNet, Error> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map(canonical)
        .map_err(|_| Error::invalid("source", format!("`{text}` is not an address or a prefix")))
}

/// Events show IPv4 addresses as such, also where they came mapped into IPv6.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpAddr::V4(address) = network.network().to_canonical() else {
        return network;
    };
    let bits = network.prefix_len();
    let bits = match network {
        IpNet::V4(_) => Some(bits),
        IpNet::V6(_) => bits.checked_sub(MAPPED_BITS),
    };
    let mapped = bits.and_then(|bits| IpNet::new(address.into(), bits).ok());
    mapped.unwrap_or(network)
}

/// Callers who do not know records get the event itself, as far as it can be read.
fn into_wire(record: LogRow, contract: &Contract) -> AuditRecord {
    let LogRow {
        id,
        host,
        epoch,
        at_ms,
        event: record,
        stored_at_ms,
        flaw,
    } = record;
    let knows_records = contract.can(Capability::EventRecords);
    let event = (!knows_records).then(|| {
        let seq = record.seq;
        let unreadable = |_| Event {
            seq,
            at_ms,
            ..Event::default()
        };
        record.clone().into_version_1().unwrap_or_else(unreadable)
    });
    AuditRecord {
        id,
        host,
        epoch,
        event,
        stored_at_ms,
        record: Some(record),
        flaw,
        more: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_that_is_written_as_ipv6_is_the_same_address() {
        for (text, meant) in [
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("::ffff:cb00:7107", "203.0.113.7/32"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap(), meant.parse().unwrap(), "{text}");
        }
        assert!(network("203.0.113").is_err());
    }
}

//! The auditor's question: who opened what.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet::wire::audit_server::Audit;
use fleet::wire::{
    self, AccessReviewRequest, AuditRecord, ListEventsRequest, ListSinksRequest, ListSinksResponse,
    ReadLogRequest,
};
use fleet::{Capability, Contract, Event};
use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{access_review, caller, contract, proof, reads, sinks};
use crate::app;
use crate::app::audit::follow::Following;
use crate::app::audit::{self, FIRST_PAGE, Listing};
use crate::app::reads::Question;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{EventFilter, InvalidPort, LogRow};

/// How long an answer waits for its listener to take the next event.
const LISTENER_PATIENCE: Duration = Duration::from_secs(30);

/// Users, hosts or kinds of one question: the database reads each in the order of its index.
const LIST_MAX: usize = 100;
/// How often whoever follows the log is told how far it has been looked through.
const POSITION_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the log has grown.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a request asks for.
#[derive(Debug)]
struct Asked {
    filter: EventFilter,
    /// 0 for the usual number.
    limit: u32,
    /// `None`: the newest first, and then it ends.
    follow: Option<Begin>,
}

/// Where a listing begins that follows the log.
#[derive(Clone, Copy, Debug)]
enum Begin {
    /// With the newest that are there.
    Newest,
    /// After this record.
    After(u64),
}

/// Whoever is answered.
struct Listener<'a> {
    context: &'a Context,
    contract: Contract,
    records: &'a mpsc::Sender<Result<AuditRecord, Status>>,
}

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
    type ReadLogStream = proof::Parts;
    type ListEventsStream = ReceiverStream<Result<AuditRecord, Status>>;

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        let caller = caller(&request)?;
        let contract = contract(&request);
        let question = reads::audit(request.get_ref());
        app::reads::note(&self.context, &caller, question, clock::now()).await?;
        let asked = asked(request.into_inner())?;
        let filter = audit::permitted(&self.context, &caller, asked.filter).await?;
        let asked = Asked { filter, ..asked };
        let limits = &self.context.limits;
        let open = match asked.follow {
            Some(_) => limits.followers.open(caller.id).await?,
            None => limits.questions.open(caller.id).await?,
        };

        let (records, stream) = mpsc::channel(FIRST_PAGE);
        // Room for one last word, however full the queue is: an answer that breaks off must never
        // look like a whole one.
        let last_word = records.clone().reserve_owned().await;
        let last_word = last_word.map_err(|_| Error::Stopping)?;
        let context = Arc::clone(&self.context);
        self.context.tasks.spawn(async move {
            let _open = open;
            let listener = Listener {
                context: &context,
                contract,
                records: &records,
            };
            let answered = tokio::select! {
                () = context.stopping.cancelled() => Err(Error::Stopping),
                // Whoever goes away takes the question along.
                () = records.closed() => Ok(()),
                answered = listener.answer(asked) => answered,
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

    async fn read_log(
        &self,
        request: Request<ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let caller = caller(&request)?;
        let follows_keys = contract(&request).can(Capability::AuditSuccession);
        let question = Question::new("audit verify").of_everyone();
        app::reads::note(&self.context, &caller, question, clock::now()).await?;
        let asked = (request.into_inner(), follows_keys);
        proof::read_log(&self.context, &caller, asked).await
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

// === impl Listener ===

impl Listener<'_> {
    async fn answer(&self, asked: Asked) -> Result<(), Error> {
        match asked.follow {
            None => self.list(Listing::new(asked.filter, asked.limit)).await,
            Some(Begin::Newest) => {
                let begun = Following::begin(self.context, asked.filter, asked.limit).await;
                let (following, rows) = begun?;
                for row in rows {
                    self.send(into_wire(row, &self.contract)).await?;
                }
                self.follow(following).await
            }
            Some(Begin::After(id)) => {
                let following = Following::after(self.context, asked.filter, id).await?;
                self.follow(following).await
            }
        }
    }

    /// Sends page after page until there is no more, or nobody listens.
    async fn list(&self, mut listing: Listing) -> Result<(), Error> {
        loop {
            let page = listing.next(self.context).await?;
            if page.is_empty() {
                return Ok(());
            }
            for record in page {
                self.send(into_wire(record, &self.contract)).await?;
            }
        }
    }

    /// Sends what comes, until nobody listens; and now and then how far that is, so that whoever
    /// loses the connection can go on there.
    async fn follow(&self, mut following: Following) -> Result<(), Error> {
        self.send(position(&following)).await?;
        let mut said = clock::instant();
        loop {
            let step = following.next(self.context).await?;
            let has_rows = !step.rows.is_empty();
            for row in step.rows {
                self.send(into_wire(row, &self.contract)).await?;
            }
            if has_rows || said.elapsed() >= POSITION_EVERY {
                self.send(position(&following)).await?;
                said = clock::instant();
            }
            if step.is_at_end {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn send(&self, record: AuditRecord) -> Result<(), Error> {
        match timeout(LISTENER_PATIENCE, self.records.send(Ok(record))).await {
            Ok(Ok(())) => Ok(()),
            // Nobody hears this any more.
            Ok(Err(_)) => Err(Error::Stopping),
            Err(_) => {
                let secs = LISTENER_PATIENCE.as_secs();
                Err(Error::NotRead { secs })
            }
        }
    }
}

fn position(following: &Following) -> AuditRecord {
    AuditRecord {
        id: following.position(),
        is_position: true,
        ..AuditRecord::default()
    }
}

fn asked(request: ListEventsRequest) -> Result<Asked, Error> {
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
        kinds,
        generation,
        actor,
        request_id,
        follow,
        after_id,
        users,
        hosts,
    } = request;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let one_kind = Some(kind).filter(|kind| *kind != i32::from(wire::EventKind::Unspecified));
    let port = match port.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error: InvalidPort| Error::invalid("port", error.to_string()))?,
        ),
    };
    let address = some(source).map(|text| network(&text)).transpose()?;
    let filter = EventFilter {
        users: list("users", some(user), users)?,
        role: None,
        hosts: list("hosts", some(host), hosts)?,
        kinds: list("kinds", one_kind, kinds)?,
        address,
        since_ms: (since_ms != 0).then_some(since_ms),
        until_ms: (until_ms != 0).then_some(until_ms),
        port,
        stanza: some(stanza),
        key: some(key),
        replay_digest: some(replay_digest.to_ascii_lowercase()),
        grant_id: some(grant_id.to_ascii_lowercase()),
        reason: some(reason),
        generation: (generation != 0).then_some(generation),
        actor: some(actor),
        request_id: some(request_id.to_ascii_lowercase()),
    };
    if let (Some(since_ms), Some(until_ms)) = (filter.since_ms, filter.until_ms)
        && since_ms >= until_ms
    {
        let problem = "nothing is before it and not before since_ms".to_owned();
        return Err(Error::invalid("until_ms", problem));
    }
    Ok(Asked {
        filter,
        limit,
        follow: follow.then_some(match after_id {
            0 => Begin::Newest,
            id => Begin::After(id),
        }),
    })
}

/// One of each, with the one that older callers name.
fn list<T: PartialEq>(
    field: &'static str,
    one: Option<T>,
    others: Vec<T>,
) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    for value in one.into_iter().chain(others) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    if all.len() > LIST_MAX {
        let problem = format!("{} are asked for, and {LIST_MAX} may be", all.len());
        return Err(Error::invalid(field, problem));
    }
    Ok(all)
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
    let called_now = record.other_name_now();
    let LogRow {
        id,
        host,
        called_now: _,
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
        called_now,
        epoch,
        event,
        stored_at_ms,
        record: Some(record),
        flaw,
        is_position: false,
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

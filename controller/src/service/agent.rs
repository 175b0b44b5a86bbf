//! The host's half of the API. The host is named by its certificate, never by a field.

use std::sync::Arc;

use fleet::wire::agent_server::Agent;
use fleet::wire::{
    AcknowledgeRequest, AcknowledgeResponse, ClaimRequest, ClaimResponse, ClaimedDigest, Directive,
    PushEventsRequest, PushEventsResponse, SessionRequest,
};
use fleet::{Event, EventRecord, Role};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{at_most, fixed};
use crate::authorize::Caller;
use crate::chain::chain;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::publisher;
use crate::session::{self, Session};
use crate::store::error::StoreError;
use crate::store::model::Acknowledgement;
use crate::store::{Claim, ClaimOutcome};

/// Events in one push at most.
const EVENTS_MAX: usize = 10_000;
/// Reasons for a rejection that are kept.
const REJECTED_MAX: usize = 100;
const REASON_BYTES_MAX: usize = 1_024;
/// Claims of one domain that a host is told of when it connects.
const KNOWN_CLAIMS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct AgentService {
    context: Arc<Context>,
    won: mpsc::Sender<Claim>,
}

// === impl AgentService ===

impl AgentService {
    /// Claims that are won go to `won`, to be told to siblings.
    pub(crate) fn new(context: Arc<Context>, won: mpsc::Sender<Claim>) -> Self {
        Self { context, won }
    }

    /// What siblings claimed before this host connected.
    async fn known_claims(&self, host: &str) -> Result<Vec<ClaimedDigest>, Error> {
        let Some(target) = self.context.publisher.target(host) else {
            return Ok(Vec::new());
        };
        if target.compiled.domains.is_empty() {
            return Ok(Vec::new());
        }
        let domains = target.compiled.domains.clone();
        let known = self
            .context
            .store
            .claims_of_others(
                domains,
                host.to_owned(),
                clock::now_secs(),
                KNOWN_CLAIMS_MAX,
            )
            .await?;
        Ok(known.iter().map(publisher::wire).collect())
    }

    /// Notes that a host is there, or was there until now.
    async fn note_seen(&self, host: &Caller, version: Option<String>) -> Result<(), StoreError> {
        let (store, now_ms) = (&self.context.store, clock::now_ms());
        match version {
            Some(version) => store.host_connected(host.id, version, now_ms).await,
            None => store.host_seen(host.id, now_ms).await,
        }
    }

    /// Serves the session beside the request, and notes when it ended.
    fn spawn(&self, host: Caller, session: Session, known_claims: Vec<ClaimedDigest>) {
        let service = Self {
            context: Arc::clone(&self.context),
            won: self.won.clone(),
        };
        self.context.tasks.spawn(async move {
            tokio::select! {
                () = session.run(known_claims) => {}
                () = service.context.stopping.cancelled() => {}
            }
            if let Err(error) = service.note_seen(&host, None).await {
                tracing::debug!(host = host.name, error = chain(&error), "not noted as seen");
            }
            tracing::info!(host = host.name, "session ended");
        });
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type SessionStream = ReceiverStream<Result<Directive, Status>>;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let host = Caller::of(&request)?;
        let SessionRequest {
            generation,
            policy_digest,
            agent_version,
        } = request.into_inner();
        at_most("agent_version", &agent_version, 128)?;

        let subscription = self.context.publisher.subscribe(&host.name);
        // A ban between authorization and subscription would otherwise be missed.
        let member = self.context.roster.find(Role::Host, &host.name);
        if member.is_none_or(|member| member.banned || member.id != host.id) {
            self.context.publisher.end(&host.name);
            return Err(Error::NotMember.into());
        }
        self.note_seen(&host, Some(agent_version))
            .await
            .map_err(Error::from)?;
        let known_claims = self.known_claims(&host.name).await?;
        let (directives, stream) = mpsc::channel(session::QUEUE_MAX);
        let session = Session {
            host: host.name.clone(),
            publisher: Arc::clone(&self.context.publisher),
            subscription,
            directives,
            policy_valid: self.context.settings.policy_valid,
            replay_floor_secs: self.context.replay_floor_secs,
            has_digest: policy_digest,
        };

        tracing::info!(host = host.name, generation, "session opened");
        self.spawn(host, session, known_claims);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let host = Caller::of(&request)?;
        let acknowledgement = acknowledged(request.into_inner())?;
        let (generation, digest) = (acknowledgement.generation, acknowledgement.digest.clone());
        let applied = acknowledgement.rejected.is_empty();

        self.context
            .store
            .acknowledge(host.id, acknowledgement, clock::now_ms())
            .await
            .map_err(Error::from)?;
        if applied {
            self.context.publisher.note_applied(&host.name, &digest);
        } else {
            tracing::warn!(host = host.name, generation, "policy rejected by its host");
        }
        Ok(Response::new(AcknowledgeResponse {}))
    }

    async fn claim(
        &self,
        request: Request<ClaimRequest>,
    ) -> Result<Response<ClaimResponse>, Status> {
        let host = Caller::of(&request)?;
        let ClaimRequest {
            domain,
            digest,
            seq,
            forget_after_secs,
        } = request.into_inner();
        let claim = Claim {
            domain: fixed("domain", &domain)?,
            digest: fixed("digest", &digest)?,
            host: host.name,
            seq,
            forget_after_secs,
        };

        let claimed = claim.clone();
        let outcome = self
            .context
            .store
            .claim(claimed)
            .await
            .map_err(Error::from)?;
        let (won, held_by) = match outcome {
            ClaimOutcome::Won => {
                // A full queue costs siblings the news, not the fleet its answer.
                let _ = self.won.try_send(claim);
                (true, String::new())
            }
            ClaimOutcome::WonBefore => (true, String::new()),
            ClaimOutcome::Lost { held_by } => (false, held_by),
        };
        Ok(Response::new(ClaimResponse { won, held_by }))
    }

    async fn push_events(
        &self,
        request: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
        let host = Caller::of(&request)?;
        let PushEventsRequest {
            epoch,
            events,
            records,
        } = request.into_inner();
        check_epoch(&epoch)?;
        let records = checked_records(events, records)?;

        let name = host.name.clone();
        let now_ms = clock::now_ms();
        let pushed = self
            .context
            .store
            .push_events((host.id, host.name), epoch, records, now_ms)
            .await
            .map_err(Error::from)?;
        if pushed.gap_before.is_some() || pushed.broken_at.is_some() {
            tracing::warn!(
                host = name,
                ?pushed,
                "a host's journal does not hold together"
            );
        }
        Ok(Response::new(PushEventsResponse {
            acknowledged_seq: pushed.acknowledged_seq,
        }))
    }
}

/// What a host says of the policy it was sent.
fn acknowledged(request: AcknowledgeRequest) -> Result<Acknowledgement, Error> {
    let AcknowledgeRequest {
        generation,
        policy_digest,
        rejected,
        drift,
    } = request;
    // A host that has no policy yet has no digest either.
    if !policy_digest.is_empty() {
        fixed::<32>("policy_digest", &policy_digest)?;
    }
    let rejected = rejected.iter().take(REJECTED_MAX);
    Ok(Acknowledgement {
        generation,
        digest: policy_digest,
        rejected: rejected.map(|reason| shortened(reason)).collect(),
        drift: shortened(&drift),
    })
}

fn check_epoch(epoch: &str) -> Result<(), Error> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if epoch.len() != 32 || !epoch.bytes().all(is_digit) {
        let problem = "not 16 bytes in lower-case hexadecimal";
        return Err(Error::invalid("epoch", problem));
    }
    Ok(())
}

/// The records of a push, in rising order. What is in them is for the log to say, not to refuse.
fn checked_records(
    events: Vec<Event>,
    records: Vec<EventRecord>,
) -> Result<Vec<EventRecord>, Error> {
    let records = if records.is_empty() {
        events.into_iter().map(EventRecord::of_version_1).collect()
    } else {
        records
    };
    if records.len() > EVENTS_MAX {
        return Err(Error::invalid("records", format!("more than {EVENTS_MAX}")));
    }
    let mut last_seq = 0;
    for record in &records {
        if record.seq <= last_seq || i64::try_from(record.seq).is_err() {
            return Err(Error::invalid("records", "not in rising order, from 1"));
        }
        last_seq = record.seq;
    }
    Ok(records)
}

/// A reason as it is kept: one line, not too long.
fn shortened(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.truncate(line.floor_char_boundary(REASON_BYTES_MAX));
    line
}

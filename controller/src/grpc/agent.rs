//! The host's half of the contract. The host is named by its certificate, never by a field.

use std::sync::Arc;

use fleet::wire::agent_server::Agent;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{
    AcknowledgeRequest, AcknowledgeResponse, ClaimRequest, ClaimResponse, ClaimedDigest,
    ClaimedDigests, Commands, Directive, JournalEnd, Locked, NewJournal, PolicyKept,
    PolicySnapshot, PushEventsRequest, PushEventsResponse, SessionOpened, SessionRequest,
};
use fleet::{Capability, Contract, Event, EventRecord};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{caller, contract, session_body};
use crate::access::caller::Caller;
use crate::app::check::fixed;
use crate::app::claims::NewClaim;
use crate::app::hosts::{Hello, Opened};
use crate::app::{claims, events, hosts};
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::sessions::heartbeat;
use crate::sessions::session::{self, Form};
use crate::store::model::{self, Acknowledgement, Claim, ClaimOutcome, HostWord, Opening, Seen};
use crate::targets::{Packed, Target};
use crate::timestamp::Timestamp;

/// Events in one push at most.
const EVENTS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct AgentService {
    context: Arc<Context>,
}

// === impl AgentService ===

impl AgentService {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Serves the session beside the request, and notes when it ended.
    fn spawn(&self, host: Caller, session: session::Session, known_claims: Vec<Claim>) {
        let context = Arc::clone(&self.context);
        self.context.tasks.spawn(async move {
            tokio::select! {
                () = session.run(known_claims) => {}
                () = context.stopping.cancelled() => {}
            }
            let seen = hosts::note_seen(&context, &host, clock::now());
            if let Err(error) = Box::pin(seen).await {
                tracing::debug!(host = host.name, error = %program::one_line(&error), "not noted as seen");
            }
            tracing::info!(host = host.name, "session ended");
        });
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type SessionStream = session_body::Nothing;

    async fn session(
        &self,
        request: Request<SessionRequest>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let host = caller(&request)?;
        let contract = contract(&request);
        let request = request.into_inner();
        let generation = request.generation;
        let hello = hello(request, contract);
        let Opened {
            session,
            known_claims,
            directives,
        } = hosts::open_session(&self.context, &host, hello, clock::now(), clock::now).await?;
        tracing::info!(host = host.name, generation, "session opened");
        let id = host.id;
        self.spawn(host, session, known_claims);
        let context = Arc::clone(&self.context);
        let to_wire = move |said: Box<session::Directive>| {
            let asked_ms = rotation_asked_ms(&context, id);
            directive(*said, (&context, asked_ms))
        };
        let directives = ReceiverStream::new(directives).map(to_wire);
        Ok(session_body::streaming(Box::pin(directives)))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let host = caller(&request)?;
        let AcknowledgeRequest {
            generation,
            policy_digest,
            rejected,
            drift,
            audit_fault,
            protected_ports,
            floor_secs,
            mut warnings,
            host_time_ms,
            own_protected_ports,
            commands,
            locked,
            backend,
            grants_open,
        } = request.into_inner();
        let is_locked = !locked.is_empty();
        if is_locked {
            warnings.insert(0, format!("locked: {locked}"));
        }
        let now = clock::now();
        let acknowledgement = Acknowledgement {
            generation,
            digest: policy_digest,
            rejected,
            drift,
            audit_fault,
            word: HostWord {
                protected_ports,
                own_protected_ports,
                warnings,
                floor_secs,
                clock_offset_ms: clock_offset_ms(host_time_ms, now),
                commands: match Commands::try_from(commands).unwrap_or_default() {
                    Commands::Unspecified => None,
                    Commands::Off => Some(false),
                    Commands::On => Some(true),
                },
                backend,
                grants_open,
            },
        };
        hosts::acknowledge(&self.context, &host, acknowledgement, now).await?;
        if is_locked {
            hosts::note_locked(&self.context, &host);
        }
        Ok(Response::new(AcknowledgeResponse {
            controller_time_ms: clock::now().ms(),
            heartbeat_secs: heartbeat::secs(self.context.roster.hosts()),
        }))
    }

    async fn claim(
        &self,
        request: Request<ClaimRequest>,
    ) -> Result<Response<ClaimResponse>, Status> {
        let host = caller(&request)?;
        let ClaimRequest {
            domain,
            digest,
            seq,
            forget_after_secs,
            dated_secs,
        } = request.into_inner();
        let new = NewClaim {
            domain: fixed("domain", &domain)?,
            digest: fixed("digest", &digest)?,
            seq,
            forget_after_secs,
            dated_secs,
        };
        let asked = clock::instant();
        let claimed = claims::claim(&self.context, &host, new, clock::now()).await;
        self.context.metrics.claimed(&claimed, asked.elapsed());
        let (won, held_by) = match claimed? {
            ClaimOutcome::Won | ClaimOutcome::WonBefore => (true, String::new()),
            ClaimOutcome::Lost { held_by } => (false, held_by),
            ClaimOutcome::Spent => (false, "a host whose claim is forgotten".to_owned()),
        };
        Ok(Response::new(ClaimResponse { won, held_by }))
    }

    async fn push_events(
        &self,
        request: Request<PushEventsRequest>,
    ) -> Result<Response<PushEventsResponse>, Status> {
        let host = caller(&request)?;
        let PushEventsRequest {
            epoch,
            events,
            records,
        } = request.into_inner();
        let records = checked_records(events, records)?;
        let pushed = events::push(&self.context, &host, epoch, records, clock::now()).await?;
        Ok(Response::new(PushEventsResponse {
            acknowledged_seq: pushed.acknowledged_seq,
            acknowledged_chain: pushed.acknowledged_chain,
        }))
    }
}

/// When a host was asked for other keys; 0 for not.
fn rotation_asked_ms(context: &Context, host: u64) -> u64 {
    let member = context.roster.by_id(host);
    let asked = member.and_then(|member| member.keys.first()?.rotation_asked_ms);
    asked.unwrap_or(0)
}

/// What a host says when it opens its session.
fn hello(request: SessionRequest, contract: Contract) -> Hello {
    let SessionRequest {
        generation: _,
        policy_digest,
        agent_version,
        highest_generation,
        highest_claim_epoch,
        newest_claimed_secs,
        journal,
        session_pass,
        run_id,
        host_time_ms: _,
        audit_checkpoint,
        policy_not_after_secs,
    } = request;
    let journal = journal.filter(|end| !end.epoch.is_empty());
    Hello {
        policy_digest,
        policy_until_secs: policy_not_after_secs,
        packs: contract.can(Capability::PackedPolicy),
        audit_checkpoint,
        opening: Opening {
            agent_version,
            pass: session_pass,
            run: hex::encode(run_id),
            keeps_passes: contract.can(Capability::SessionPass),
            contract: Some(contract),
            is_locked: false,
            checkpoint: None,
            seen: Seen {
                generation: highest_generation,
                claim_epoch: highest_claim_epoch,
                newest_claimed_secs,
            },
            journal: journal.map(|end| {
                let JournalEnd {
                    epoch,
                    seq,
                    chain,
                    oldest_seq,
                } = end;
                model::JournalEnd {
                    epoch,
                    seq,
                    chain,
                    oldest_seq,
                }
            }),
        },
    }
}

/// What is said to a host, in the contract's form. The end of a session is an error of its stream.
fn directive(
    directive: session::Directive,
    (context, rotation_asked_ms): (&Context, u64),
) -> Result<Directive, Status> {
    let kind = match directive {
        session::Directive::Locked { reason } => Kind::Locked(Locked { reason }),
        session::Directive::Ended => return Err(Status::aborted("this session was ended")),
        session::Directive::Claimed(claims) => Kind::Claimed(ClaimedDigests {
            digests: claims.into_iter().map(claimed).collect(),
        }),
        session::Directive::Policy {
            target,
            form: Form::Kept,
            not_after_secs,
            replay_floor_secs,
            claim_epoch,
        } => Kind::Kept(PolicyKept {
            generation: target.generation,
            digest: target.compiled.digest.to_vec(),
            not_after_secs,
            replay_floor_secs,
            claim_epoch,
        }),
        session::Directive::Policy {
            target,
            form,
            not_after_secs,
            replay_floor_secs,
            claim_epoch,
        } => Kind::Policy(PolicySnapshot {
            generation: target.generation,
            digest: target.compiled.digest.to_vec(),
            not_after_secs,
            replay_floor_secs,
            claim_epoch,
            ..text_of(&target, form)
        }),
        session::Directive::NewJournal { reason, floor_secs } => {
            Kind::NewJournal(NewJournal { reason, floor_secs })
        }
        session::Directive::Opened {
            session_pass,
            now,
            acknowledged,
            replay_floor_secs,
            claim_epoch,
            called,
            audit,
        } => Kind::Opened(SessionOpened {
            session_pass,
            controller_time_ms: now.ms(),
            acknowledged: acknowledged.map(journal_end),
            replay_floor_secs,
            claim_epoch,
            called,
            audit_checkpoint: audit.newest,
            audit_key: audit.key,
            audit_restated: audit.restated,
            audit_successions: audit.successions,
            trust_digest: context.authorities.get().trust_digest().to_vec(),
            rotation_asked_ms,
            controllers: context.settings.controllers.clone(),
        }),
    };
    Ok(Directive {
        directive: Some(kind),
    })
}

/// The text of a policy in the form in which a host is sent it.
fn text_of(target: &Target, form: Form) -> PolicySnapshot {
    let text = &target.compiled.text.0;
    match form {
        Form::Packed(Packed { bytes, base }) => PolicySnapshot {
            packed: bytes.0,
            packed_from: base.map(Vec::from).unwrap_or_default(),
            text_bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
            ..PolicySnapshot::default()
        },
        Form::Whole | Form::Kept => PolicySnapshot {
            text: text.clone(),
            ..PolicySnapshot::default()
        },
    }
}

fn journal_end(end: model::JournalEnd) -> JournalEnd {
    let model::JournalEnd {
        epoch,
        seq,
        chain,
        oldest_seq,
    } = end;
    JournalEnd {
        epoch,
        seq,
        chain,
        oldest_seq,
    }
}

/// A claim as those hear of it who share its domain: they need not know whose it is.
fn claimed(claim: Claim) -> ClaimedDigest {
    let Claim {
        domain,
        digest,
        host: _,
        seq: _,
        forget_after_secs,
        dated_secs: _,
        capped: _,
    } = claim;
    ClaimedDigest {
        domain: domain.to_vec(),
        digest: digest.to_vec(),
        forget_after_secs,
    }
}

/// How far a host's clock is ahead of ours, in milliseconds; `None` when it does not say.
fn clock_offset_ms(host_time_ms: u64, now: Timestamp) -> Option<i64> {
    let theirs = i64::try_from(host_time_ms).ok().filter(|ms| *ms > 0)?;
    Some(theirs.saturating_sub(i64::try_from(now.ms()).ok()?))
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

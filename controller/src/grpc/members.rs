//! Members and tokens in the contract's form, and the stream that tells of hosts as they hear.

use std::sync::Arc;
use std::time::Duration;

use fleet::Role;
use fleet::wire::{self, MemberEntry, MemberProgress, TokenEntry};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::app::members::{Acted, HostProgress, Waiting};
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{Member, MemberKey, StoredToken, TokenFate, Whom};
use crate::timestamp::Timestamp;

/// How long hosts are waited for when nothing is said.
const WAIT_DEFAULT_SECS: u32 = 10;
/// And at most.
const WAIT_MAX_SECS: u32 = 600;
/// Answers on their way to one operator.
const QUEUE_MAX: usize = 16;

/// Hosts, as they hear of a change.
pub(super) type Progress = ReceiverStream<Result<MemberProgress, Status>>;

/// Whom a request is about.
pub(super) fn whom(role: i32, name: String, key_name: String) -> Result<Whom, Error> {
    Ok(Whom {
        role: Role::try_from(role)?,
        name,
        key: (!key_name.is_empty()).then_some(key_name),
    })
}

/// The role that is asked for; `None` for all.
pub(super) fn role(role: i32) -> Result<Option<Role>, Error> {
    if role == i32::from(wire::Role::Unspecified) {
        return Ok(None);
    }
    Ok(Some(Role::try_from(role)?))
}

/// Tells what was done, and of every host that has heard, until all have or the time is over.
pub(super) fn progress(context: &Arc<Context>, acted: Acted, wait_secs: u32) -> Progress {
    let (answers, stream) = mpsc::channel(QUEUE_MAX);
    let wait_secs = match wait_secs {
        0 => WAIT_DEFAULT_SECS,
        secs => secs.min(WAIT_MAX_SECS),
    };
    let patience = Duration::from_secs(wait_secs.into());
    let context = Arc::clone(context);
    context.clone().tasks.spawn(async move {
        let Acted {
            member,
            whom,
            hosts,
            warnings,
            mut waiting,
        } = acted;
        let first = MemberProgress {
            member: Some(member.map_or_else(|| gone(&whom), |member| entry(&member, Vec::new()))),
            hosts: hosts.into_iter().map(host).collect(),
            warnings,
        };
        let tell = async {
            answers.send(Ok(first)).await.ok()?;
            follow(&context, &mut waiting, &answers).await
        };
        tokio::select! {
            () = context.stopping.cancelled() => {}
            () = answers.closed() => {}
            _ = timeout(patience, tell) => {}
        }
    });
    ReceiverStream::new(stream)
}

/// Ends when there is nobody left to wait for, or nobody listens.
async fn follow(
    context: &Context,
    waiting: &mut Waiting,
    answers: &mpsc::Sender<Result<MemberProgress, Status>>,
) -> Option<()> {
    while let Some(heard) = waiting.next(context).await {
        let hosts = heard.into_iter().map(host).collect();
        let progress = MemberProgress {
            hosts,
            ..MemberProgress::default()
        };
        answers.send(Ok(progress)).await.ok()?;
    }
    Some(())
}

fn host(progress: HostProgress) -> wire::HostProgress {
    let HostProgress {
        host,
        acknowledged,
        connected,
    } = progress;
    wire::HostProgress {
        host,
        acknowledged,
        connected,
    }
}

/// What is left to say of a member that was removed.
fn gone(whom: &Whom) -> MemberEntry {
    MemberEntry {
        role: wire::Role::from(whom.role).into(),
        name: whom.name.clone(),
        ..MemberEntry::default()
    }
}

/// A member.
pub(super) fn entry(member: &Member, warnings: Vec<String>) -> MemberEntry {
    let lock = member.lock.as_ref();
    let renewed = member.keys.iter().map(|key| key.renewed_at_ms);
    MemberEntry {
        role: wire::Role::from(member.role).into(),
        name: member.name.clone(),
        locked: lock.is_some(),
        locked_at_ms: lock.map_or(0, |lock| lock.at_ms),
        lock_reason: lock.map_or_else(String::new, |lock| lock.reason.clone()),
        joined_at_ms: member.joined_at_ms,
        renewed_at_ms: renewed.max().unwrap_or(0),
        keys: member.keys.iter().map(|it| key(member, it)).collect(),
        labels: member.labels.clone().into_iter().collect(),
        scope: member.scope.0.clone().into_iter().collect(),
        warnings,
    }
}

fn key(member: &Member, key: &MemberKey) -> wire::MemberKey {
    let followed = key.follows.and_then(|id| member.key(id));
    wire::MemberKey {
        follows: followed.map_or_else(String::new, |followed| followed.name.clone()),
        rotation_asked_ms: key.rotation_asked_ms.unwrap_or(0),
        name: key.name.clone(),
        fingerprint: key.fingerprint(),
        joined_at_ms: key.joined_at_ms,
        locked: key.lock.is_some(),
        renewed_at_ms: key.renewed_at_ms,
    }
}

/// A token, without its secret.
pub(super) fn token(token: StoredToken, now: Timestamp) -> TokenEntry {
    let state = match token.fate(now.ms()) {
        TokenFate::Open => wire::TokenState::Open,
        TokenFate::Redeemed => wire::TokenState::Redeemed,
        TokenFate::Expired => wire::TokenState::Expired,
        TokenFate::Revoked => wire::TokenState::Revoked,
    };
    let (redeemed_by, redeemed_at_ms) = token
        .redemption
        .map_or_else(Default::default, |redemption| {
            (redemption.name, redemption.at_ms)
        });
    let invitation = token.invitation;
    TokenEntry {
        id: invitation.id,
        role: wire::Role::from(invitation.role).into(),
        name: invitation.name,
        key_name: invitation.key_name,
        labels: invitation.labels.into_iter().collect(),
        created_by: invitation.created_by,
        created_at_ms: invitation.created_at_ms,
        expires_at_secs: invitation.expires_at_secs,
        state: state.into(),
        redeemed_by,
        redeemed_at_ms,
        replace: invitation.replaces,
        scope: invitation.scope.0.into_iter().collect(),
    }
}

//! `ca rotate`: one step, in the directory of a controller that runs or does not. One that runs sees it
//! within seconds.

use std::path::Path;

use fleet::EventKind;

use super::report::{AuthorityStatus, Waiting, status, too_far, waiting, would_join_anew};
use super::{directory_key, in_force, keep, open_held};
use crate::access::caller::RequestId;
use crate::ca::Authority;
use crate::ca::kept::Kept;
use crate::ca::rotation::{NotNow, STEPS_MAX};
use crate::clock;
use crate::data_dir::DataDir;
use crate::random::random;
use crate::start::directory::{open_beside, read_settings};
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::model::{Member, Origin};
use crate::timestamp::Timestamp;

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RotateStep {
    /// Make the next authority, and tell everybody.
    Begin,
    /// The same also where a member would be left behind that has missed too many.
    BeginAnyway,
    /// Let it issue, whoever has not heard of it.
    Issue,
    /// Destroy the key of the one before.
    Finish {
        /// Also where a member whose program may be too old would be stranded by that.
        force: bool,
    },
    /// The key may be in other hands: believe nothing of before, at once.
    Compromised,
    /// Only another key for directories.
    DirectoryKey,
}

/// Why a step was not taken; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The directory, the database or a key.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another step is to be taken first.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// These have missed so many authorities that they could not follow to one more.
    #[error(
        "{} know only an authority that {} others have followed: {}",
        .0.len(), STEPS_MAX - 1, names(.0)
    )]
    TooFar(Vec<Waiting>),
    /// What was made by such a clock might begin long after everybody's now.
    #[error(
        "the clock says {now}, and the last that the controller knows is of {seen}: one of them is wrong"
    )]
    Clock {
        /// By this machine.
        now: String,
        /// When the newest record was stored, or a member renewed its certificate.
        seen: String,
    },
    /// These may be stranded.
    #[error("{} could not follow: {}", .0.len(), names(.0))]
    Stranded(Vec<Waiting>),
}

/// The clock may be so far from what the database has seen last.
const CLOCK_DOUBT_SECS: u64 = 7 * 24 * 3600;

/// What was done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rotated {
    /// In words.
    pub what: &'static str,
    /// Who must join anew.
    pub must_join: Vec<Waiting>,
    /// What there is now.
    pub status: AuthorityStatus,
}

/// Takes one step.
///
/// # Errors
///
/// [`RotateError`]
pub async fn rotate_ca(data: &Path, step: RotateStep) -> Result<Rotated, RotateError> {
    let dir = DataDir::open(data).map_err(StartError::from)?;
    let fleet = read_settings(&dir)?.fleet;
    let store = open_beside(data)?;
    let members = store.members().await.map_err(StartError::from)?;
    let now = clock::now();
    let rotated = take((&dir, &store), &fleet, &members, (step, now)).await;
    if let Ok(rotated) = &rotated {
        let request = RequestId::new().map_err(StartError::from)?;
        let origin = Origin::controller(request.to_string());
        let mut event = origin.done(EventKind::Operator, now.ms());
        event.reason = format!("postern-controller ca rotate: {}", rotated.what);
        store.record(event).await.map_err(StartError::from)?;
    }
    store.close().await;
    rotated
}

async fn take(
    (dir, store): (&DataDir, &Store),
    fleet: &str,
    members: &[Member],
    (step, now): (RotateStep, Timestamp),
) -> Result<Rotated, RotateError> {
    let held = dir.hold_authority().map_err(StartError::from)?;
    let mut must_join = Vec::new();
    let newest = store.newest_record_ms().await.map_err(StartError::from)?;
    let seen = last_seen(newest, members).unwrap_or(now);
    // Never after what was seen: whoever was there then must be able to believe it.
    let begins_secs = now.secs().min(seen.secs());
    let new = || Authority::create(fleet, begins_secs).map_err(StartError::from);
    let opened = open_held(dir, store, now).await;
    let base = opened.as_ref().ok().map(Kept::state);
    let mut kept = match opened {
        // Whatever is wrong with what is there: nothing of it counts any more.
        Err(error) if step == RotateStep::Compromised => {
            let error = program::one_line(&error);
            tracing::warn!(%error, "the authorities of before cannot be used, and are replaced whole");
            Kept::of(&new()?, directory_key(now)?, now.secs())
        }
        opened => opened?,
    };
    let what = match step {
        RotateStep::Begin | RotateStep::BeginAnyway => {
            if step == RotateStep::Begin && is_doubtful(now, seen) {
                return Err(doubt(now, seen));
            }
            must_join = too_far(members, &kept)?;
            if !must_join.is_empty() && step == RotateStep::Begin {
                return Err(RotateError::TooFar(must_join));
            }
            kept.begin(&new()?, fleet, begins_secs)?;
            "the next authority is made, and members are told of it"
        }
        RotateStep::Issue => {
            kept.issue(now.secs())?;
            "the new authority issues from now on"
        }
        RotateStep::Finish { force } => {
            let works = in_force(&kept, now)?;
            let newest = works.newest().fingerprint();
            let all = waiting(members, &newest).map(|(member, key)| Waiting::of(member, key));
            let stranded: Vec<_> = all.filter(|it| it.may_be_too_old).collect();
            if !stranded.is_empty() && !force {
                return Err(RotateError::Stranded(stranded));
            }
            kept.finish(now.secs())?;
            must_join = stranded;
            "the key of the former authority is destroyed"
        }
        RotateStep::Compromised => {
            kept.compromised(&new()?, now.secs());
            let seed = zeroize::Zeroizing::new(random().map_err(StartError::from)?);
            kept.rotate_directory_key(&seed, now.secs());
            must_join = would_join_anew(members, &in_force(&kept, now)?);
            "nothing of the authority before is believed any more"
        }
        RotateStep::DirectoryKey => {
            let seed = zeroize::Zeroizing::new(random().map_err(StartError::from)?);
            kept.rotate_directory_key(&seed, now.secs());
            "directories are signed by another key from now on"
        }
    };
    keep(dir, store, &kept, base).await?;
    drop(held);
    let status = status(dir, Some(&kept), members, now)?;
    Ok(Rotated {
        what,
        must_join,
        status,
    })
}

/// When the newest record was stored, or a member last renewed; `None` where there is neither.
fn last_seen(newest_record_ms: Option<u64>, members: &[Member]) -> Option<Timestamp> {
    let renewed = members
        .iter()
        .flat_map(Member::active_keys)
        .map(|key| key.renewed_at_ms);
    let newest = renewed.chain(newest_record_ms).max();
    newest.map(Timestamp::from_ms)
}

fn doubt(now: Timestamp, seen: Timestamp) -> RotateError {
    RotateError::Clock {
        now: now.to_string(),
        seen: seen.to_string(),
    }
}

fn is_doubtful(now: Timestamp, seen: Timestamp) -> bool {
    now.secs().abs_diff(seen.secs()) > CLOCK_DOUBT_SECS
}

fn names(waiting: &[Waiting]) -> String {
    let names = waiting.iter().map(|it| format!("{} {}", it.role, it.name));
    program::few::names(&names.collect::<Vec<_>>())
}

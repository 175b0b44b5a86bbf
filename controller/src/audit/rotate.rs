//! `audit rotate-key`: another key signs the log, whether a controller runs or not. One that runs notices
//! within seconds.

use std::path::Path;

use fleet::EventKind;
use zeroize::Zeroizing;

use super::Checkpoints;
use crate::access::caller::RequestId;
use crate::clock;
use crate::random::random;
use crate::start::directory::{open_beside, settings_of};
use crate::start::error::StartError;
use crate::store::Store;
use crate::store::model::{KeyRotated, Origin};
use crate::timestamp::Timestamp;

/// Replaces the key that signs the log by another, in one transaction: the last checkpoint of the one before
/// names it and is signed by both, the secret of the one before goes, and the log says so. Killed at any
/// moment, it was done or not done.
///
/// # Errors
///
/// [`StartError`]; then the key is the one of before.
pub async fn rotate_audit_key(data: &Path) -> Result<KeyRotated, StartError> {
    let settings = settings_of(data)?;
    let store = open_beside(data)?;
    let rotated = rotate(&store, &settings.fleet, clock::now()).await;
    // Moves what lies in the write-ahead log, where the secret of before still is.
    store.close().await;
    rotated
}

pub(super) async fn rotate(
    store: &Store,
    fleet: &str,
    now: Timestamp,
) -> Result<KeyRotated, StartError> {
    if store.audit_key().await?.is_none() {
        return Err(StartError::NoAuditKey);
    }
    // What was signed last must still be so, or else that is recorded before another key signs.
    Checkpoints::load(store, fleet, now)
        .await?
        .sign(store, now)
        .await?;
    let new = Zeroizing::new(random()?);
    let origin = Origin::controller(RequestId::new()?.to_string());
    let event = origin.done(EventKind::Operator, now.ms());
    let rotated = store.rotate_audit_key(fleet.to_owned(), new, event).await?;
    rotated.ok_or(StartError::NoAuditKey)
}

//! What the database knows of the file that holds the authorities, so that an older one, or somebody else's, is
//! found out; and the authorities themselves, sealed, where several controllers have them from here.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Store;
use super::error::StoreError;
use super::model::{AuthorityStates, SharedAuthority};
use super::seal::{SealError, SealKey};
use super::sql::{Connection, Dialect};
use super::sqlite::{events, meta};

/// What is sealed is bound to this.
const PLACE: &str = "shared authority";

// === impl Store ===

impl Store {
    /// See [`AuthorityStates`].
    pub(crate) async fn authority_states(&self) -> Result<AuthorityStates, StoreError> {
        let key = Arc::clone(&self.run_key);
        self.engine
            .read(move |connection| meta::authority_states(connection, &key))
            .await
    }

    /// When the newest record was stored, milliseconds since the Unix epoch; `None` of an empty log.
    pub(crate) async fn newest_record_ms(&self) -> Result<Option<u64>, StoreError> {
        self.engine.read(events::newest_ms).await
    }

    /// Before the file is replaced by one with this state.
    pub(crate) async fn begin_authority(&self, state: String) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| meta::begin_authority(connection, &state))
            .await
    }

    /// After it, or where it is found to have it.
    pub(crate) async fn settle_authority(&self, state: String) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| meta::settle_authority(connection, &state))
            .await
    }

    /// The authorities that all controllers have from here; `None` where none has put them here yet.
    pub(crate) async fn shared_authority(&self) -> Result<Option<SharedAuthority>, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .read(move |connection| shared(connection, &seal))
            .await
    }

    /// Puts these there, in the place of those with the state `base`, or of whichever there are; false when they
    /// are others by now. `next.states` has only their own.
    pub(crate) async fn share_authority(
        &self,
        next: SharedAuthority,
        base: Option<String>,
    ) -> Result<bool, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .write(move |connection| share(connection, &seal, next, base.as_deref()))
            .await
    }
}

/// See [`Store::shared_authority`].
pub(super) fn shared(
    connection: &Connection,
    seal: &SealKey,
) -> Result<Option<SharedAuthority>, StoreError> {
    let Some(sealed) = meta::shared_authority(connection)? else {
        return Ok(None);
    };
    let text = seal.open(PLACE, &sealed)?;
    let shared = serde_json::from_str(&text);
    shared.map(Some).map_err(|_| SealError::NotText.into())
}

/// Seals them under another key, where they are here; whether they are. In a file nobody needs them.
pub(super) fn reseal(
    connection: &Connection,
    (old, new): (&SealKey, &SealKey),
) -> Result<bool, StoreError> {
    let Some(sealed) = meta::shared_authority(connection)? else {
        return Ok(false);
    };
    if connection.dialect() == Dialect::Sqlite {
        meta::forget_shared_authority(connection)?;
        return Ok(false);
    }
    let text = old.open(PLACE, &sealed)?;
    meta::set_shared_authority(connection, &new.seal(PLACE, &text)?)?;
    Ok(true)
}

fn share(
    connection: &Connection,
    seal: &SealKey,
    mut next: SharedAuthority,
    base: Option<&str>,
) -> Result<bool, StoreError> {
    let mut states = meta::settled_authorities(connection)?;
    if base.is_some_and(|base| states.last().is_some_and(|last| last != base)) {
        return Ok(false);
    }
    if let Some(state) = next.states.last() {
        meta::settle_authority(connection, state)?;
    }
    if let Some(before) = shared(connection, seal)? {
        states.clone_from(&before.states);
    }
    states.retain(|state| !next.states.contains(state));
    states.append(&mut next.states);
    next.states = states;
    let text = serde_json::to_string(&next).map(Zeroizing::new);
    let text = text.map_err(|_| SealError::NotText)?;
    meta::set_shared_authority(connection, &seal.seal(PLACE, &text)?)?;
    Ok(true)
}

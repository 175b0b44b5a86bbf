//! What the database knows of the file that holds the authorities, so that an older one, or somebody else's, is
//! found out.

use super::Store;
use super::error::StoreError;
use super::model::AuthorityStates;
use super::sqlite::{events, meta};

// === impl Store ===

impl Store {
    /// See [`AuthorityStates`].
    pub(crate) async fn authority_states(&self) -> Result<AuthorityStates, StoreError> {
        self.engine.read(meta::authority_states).await
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
}

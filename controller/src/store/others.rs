//! What several controllers over one database tell each other.

use super::Store;
use super::error::StoreError;
use super::model::{Claim, ControllerFacts, ControllerSaid, HostAt, HostPushed, HostSaid, Look};
use super::sqlite::others;

/// A controller among others: the number of its run, and the name that it keeps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Myself {
    /// Of this run; no other has it.
    pub(crate) id: u64,
    name: String,
    facts: ControllerFacts,
}

// === impl Store ===

impl Store {
    /// What has moved in the database, in one small statement.
    pub(crate) async fn whats_new(&self) -> Result<Look, StoreError> {
        self.engine.read(others::look).await
    }

    /// This controller runs, from now on.
    pub(crate) async fn begin_among_others(
        &self,
        facts: ControllerFacts,
    ) -> Result<Myself, StoreError> {
        let name = self.run_key.to_string();
        let begun = (name.clone(), facts.clone());
        let id = self
            .engine
            .write(move |connection| others::begin(connection, &begun.0, &begun.1))
            .await?;
        Ok(Myself { id, name, facts })
    }

    /// Those that run over this database, by address; none where there can be only one.
    pub(crate) async fn controllers(&self) -> Result<Vec<ControllerSaid>, StoreError> {
        self.engine.read(others::all).await
    }

    /// It still does.
    pub(crate) async fn say_alive(&self, myself: &Myself) -> Result<(), StoreError> {
        let Myself { id, name, facts } = myself.clone();
        self.engine
            .write(move |connection| others::beat(connection, (id, &name), &facts))
            .await
    }

    /// It does no more: nobody has to wait until that is noticed.
    pub(crate) async fn end_among_others(&self, myself: &Myself) -> Result<(), StoreError> {
        let id = myself.id;
        self.engine
            .write(move |connection| others::end(connection, id))
            .await
    }

    /// A controller is dead that has said nothing since `beat`.
    pub(crate) async fn forget_dead(&self, id: u64, beat: u64) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| others::forget_dead(connection, (id, beat)))
            .await
    }

    /// This controller says what has become of hosts of its.
    pub(crate) async fn say_hosts(
        &self,
        myself: &Myself,
        said: Vec<HostSaid>,
    ) -> Result<(), StoreError> {
        let id = myself.id;
        self.engine
            .write(move |connection| others::say_hosts(connection, id, &said))
            .await
    }

    /// What was said of hosts after change `number`, by all controllers, in the order in which it was said.
    pub(crate) async fn hosts_said_after(&self, number: u64) -> Result<Vec<HostAt>, StoreError> {
        self.engine
            .read(move |connection| others::hosts_after(connection, number))
            .await
    }

    /// What was claimed after position `after` and through `through`, the newest first; at most `limit`.
    pub(crate) async fn claims_won_after(
        &self,
        (after, through): (u64, u64),
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        self.engine
            .read(move |connection| others::claims_after(connection, (after, through), limit))
            .await
    }

    /// What each host has pushed in the records after `after` and through `through`.
    pub(crate) async fn pushed_between(
        &self,
        (after, through): (u64, u64),
    ) -> Result<Vec<HostPushed>, StoreError> {
        self.engine
            .read(move |connection| others::pushed_between(connection, (after, through)))
            .await
    }

    /// The newest record after `after` and through `through` that is of none of these kinds.
    pub(crate) async fn last_of_other_kinds(
        &self,
        (after, through): (u64, u64),
        kinds: Vec<i32>,
    ) -> Result<Option<u64>, StoreError> {
        self.engine
            .read(move |connection| {
                others::last_of_other_kinds(connection, (after, through), &kinds)
            })
            .await
    }
}

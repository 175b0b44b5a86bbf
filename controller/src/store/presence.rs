//! Which hosts are connected to which of several controllers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Store;
use super::error::StoreError;
use super::sqlite::meta;

// === impl Store ===

impl Store {
    /// This controller says who is connected to it, at `now_ms`. Names have no space in them.
    pub(crate) async fn say_present(
        &self,
        hosts: Vec<String>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let key = Arc::clone(&self.run_key);
        let said = format!("{now_ms} {}", hosts.join(" "));
        self.engine
            .write(move |connection| meta::say_present(connection, &key, &said))
            .await
    }

    /// What the other controllers have said last, by their keys: another text each time.
    pub(crate) async fn present_elsewhere(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let key = Arc::clone(&self.run_key);
        self.engine
            .read(move |connection| meta::present_elsewhere(connection, &key))
            .await
    }
}

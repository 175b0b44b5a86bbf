//! Who belongs to the fleet, in memory: every request is authorized against this.
//!
//! The store is the truth. After a change is committed, [`Roster::refresh`] reads that member
//! again; refreshes are in line behind each other, so that the last one sees the last commit and a
//! ban can never be undone by a slower answer.

use std::collections::HashMap;
use std::sync::Arc;

use fleet::Role;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::Member;

/// Every member, banned ones too.
#[derive(Debug)]
pub(crate) struct Roster {
    members: RwLock<HashMap<(Role, String), Arc<Member>>>,
    refreshing: Mutex<()>,
}

// === impl Roster ===

impl Roster {
    pub(crate) async fn load(store: &Store) -> Result<Self, StoreError> {
        let members = store.members().await?;
        let members = members
            .into_iter()
            .map(|member| ((member.role, member.name.clone()), Arc::new(member)))
            .collect();
        Ok(Self {
            members: RwLock::new(members),
            refreshing: Mutex::new(()),
        })
    }

    pub(crate) fn find(&self, role: Role, name: &str) -> Option<Arc<Member>> {
        let key = (role, name.to_owned());
        self.members.read().get(&key).cloned()
    }

    /// Members of a role that are not banned, by name.
    pub(crate) fn active(&self, role: Role) -> Vec<Arc<Member>> {
        let mut active: Vec<_> = self
            .members
            .read()
            .values()
            .filter(|member| member.role == role && !member.banned)
            .cloned()
            .collect();
        active.sort_by(|a, b| a.name.cmp(&b.name));
        active
    }

    /// Reads one member again after a commit that changed it.
    pub(crate) async fn refresh(
        &self,
        store: &Store,
        role: Role,
        name: &str,
    ) -> Result<(), StoreError> {
        let _in_line = self.refreshing.lock().await;
        let member = store.member_named(role, name.to_owned()).await?;
        let key = (role, name.to_owned());
        let mut members = self.members.write();
        match member {
            Some(member) => members.insert(key, Arc::new(member)),
            None => members.remove(&key),
        };
        Ok(())
    }
}

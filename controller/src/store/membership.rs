//! Tokens and members: who belongs to the fleet, and how one joins and leaves.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Event, EventKind, Role};

use super::Store;
use super::error::StoreError;
use super::model::{
    Change, ChangeOutcome, ChangedMembers, EnrollOutcome, Enrolment, HostEdit, HostEdited,
    Invitation, Joining, KnownAuthorities, Member, MembersMoved, NewMember, NewToken, Origin,
    RevokeOutcome, StoredToken, SuccessionOutcome, Successor,
};
use super::sqlite::{
    changes, enrollment, host_edits, members, members_changed, succession, tokens,
};

/// Tokens and members.
impl Store {
    /// Stores a token under its secret's hash, and the event that says so.
    pub(crate) async fn create_token(
        &self,
        secret: [u8; 32],
        invitation: Invitation,
        event: Event,
    ) -> Result<(), StoreError> {
        let token = NewToken {
            secret,
            invitation,
            event,
        };
        self.engine.join(Box::new(token)).await
    }

    /// What a token promises, and who has redeemed it.
    pub(crate) async fn token(&self, secret: Vec<u8>) -> Result<Option<StoredToken>, StoreError> {
        self.engine
            .read(move |connection| tokens::find(connection, &secret))
            .await
    }

    /// Redeems a token and records `event`: the joiner is a member, or has one more key, or stands
    /// in the place of somebody else, as the token says.
    ///
    /// Exactly one caller wins a token. A retry with the same identity key is answered as before,
    /// because the first answer may have been lost on its way.
    pub(crate) async fn enroll(
        &self,
        secret: Vec<u8>,
        member: NewMember,
        event: Event,
        now_ms: u64,
    ) -> Result<EnrollOutcome, StoreError> {
        let joining = Joining {
            secret,
            member,
            event,
            now_ms,
        };
        self.engine.join(Box::new(joining)).await
    }

    /// What the redeemer of a token has become, as long as it may do anything; by `Member::id` and
    /// `MemberKey::id`.
    pub(crate) async fn enrolment(
        &self,
        member: u64,
        key: u64,
    ) -> Result<Option<Enrolment>, StoreError> {
        self.engine
            .read(move |connection| enrollment::before(connection, member, key))
            .await
    }

    /// Tokens that are open at `now_ms`, and all others of the last 30 days; newest first.
    pub(crate) async fn tokens(&self, now_ms: u64) -> Result<Vec<StoredToken>, StoreError> {
        self.engine
            .read(move |connection| tokens::all(connection, now_ms))
            .await
    }

    /// Revokes the open token whose id begins so, and records `event` of it.
    pub(crate) async fn revoke_token(
        &self,
        id: String,
        by: Origin,
        event: impl FnOnce(&Invitation) -> Event + Send + 'static,
        now_ms: u64,
    ) -> Result<RevokeOutcome, StoreError> {
        self.engine
            .write(move |connection| tokens::revoke(connection, &id, event, &by.actor, now_ms))
            .await
    }

    /// Every member, locked ones too, by role and name.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, StoreError> {
        self.engine.read(members::all).await
    }

    /// How far changes of members have come.
    pub(crate) async fn members_moved(&self) -> Result<MembersMoved, StoreError> {
        self.engine.read(members_changed::moved).await
    }

    /// Members that have changed after the change with this number, and those that have gone.
    pub(crate) async fn members_changed(&self, after: u64) -> Result<ChangedMembers, StoreError> {
        self.engine
            .read(move |connection| members_changed::after(connection, after))
            .await
    }

    /// Members of these names, locked or not, and those with these ids, whatever their names are now; those that there
    /// are. And of the names of users, whether each is of one who was removed.
    pub(crate) async fn members_named(
        &self,
        names: BTreeSet<(Role, String)>,
        ids: Vec<u64>,
    ) -> Result<(Vec<Member>, BTreeMap<String, bool>), StoreError> {
        self.engine
            .read(move |connection| members::named(connection, &names, &ids))
            .await
    }

    /// The member of this name, locked or not.
    pub(crate) async fn member_named(
        &self,
        role: Role,
        name: String,
    ) -> Result<Option<Member>, StoreError> {
        self.engine
            .read(move |connection| members::find(connection, role, &name))
            .await
    }

    /// Names of users who were removed and whose names nobody has taken since.
    pub(crate) async fn departed_users(&self) -> Result<BTreeSet<String>, StoreError> {
        self.engine.read(members::all_departed).await
    }

    /// The highest id of a key that was ever given, of a removed member's too; 0 for none.
    pub(crate) async fn highest_key(&self) -> Result<u64, StoreError> {
        self.engine.read(members::highest_key).await
    }

    /// Notes that a certificate was issued for the key with this id, and what it knows of authorities.
    pub(crate) async fn renewed(
        &self,
        key: u64,
        knows: KnownAuthorities,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| members::renewed(connection, key, &knows, now_ms))
            .await
    }

    /// Locks a member or one key of a user: it keeps its name and may do nothing. Open tokens that
    /// it made, or that were made for it, are revoked. Everything is recorded; a second time
    /// nothing is.
    /// `kind` is how the event calls it.
    pub(crate) async fn lock(
        &self,
        change: Change,
        kind: EventKind,
    ) -> Result<ChangeOutcome, StoreError> {
        self.engine
            .write(move |connection| changes::lock(connection, &change, kind))
            .await
    }

    /// Takes back a lock, and records it. A lock of the member and those of its keys are apart.
    pub(crate) async fn unlock(&self, change: Change) -> Result<ChangeOutcome, StoreError> {
        self.engine
            .write(move |connection| changes::unlock(connection, &change))
            .await
    }

    /// Ends a membership, or takes a user one of her keys; as [`lock`](Self::lock), and the name is
    /// free.
    pub(crate) async fn remove(&self, change: Change) -> Result<ChangeOutcome, StoreError> {
        self.engine
            .write(move |connection| changes::remove(connection, &change))
            .await
    }

    /// Gives a key a successor, beside it, and records `event`; where it has that one already nothing is recorded.
    /// One that was to follow it before, and that nobody came with, goes.
    pub(crate) async fn add_successor(
        &self,
        new: Successor,
        event: Event,
    ) -> Result<SuccessionOutcome, StoreError> {
        self.engine
            .write(move |connection| succession::add(connection, &new, event))
            .await
    }

    /// Ends the key that the one with this id follows, gives it the name of that one, and records `event`. Nothing
    /// where it follows none.
    pub(crate) async fn end_followed(&self, key: u64, event: Event) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| succession::end_followed(connection, key, event))
            .await
    }

    /// Notes that a member, or one of its keys, is to be rotated, and records it; a second time nothing is.
    pub(crate) async fn ask_rotation(&self, change: Change) -> Result<ChangeOutcome, StoreError> {
        self.engine
            .write(move |connection| succession::ask(connection, &change))
            .await
    }

    /// Changes where a host is reached, its labels or its name, and records it.
    pub(crate) async fn edit_host(&self, edit: HostEdit) -> Result<HostEdited, StoreError> {
        self.engine
            .write(move |connection| host_edits::edit(connection, &edit))
            .await
    }
}

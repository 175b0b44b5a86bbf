//! A controller without a network, for tests of use cases: a real database, a real authority, and
//! time as an argument.

pub(crate) mod past;

use std::path::PathBuf;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fleet::{Event, Outcome, Role};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::RecentClaims;
use super::enroll::Joiner;
use super::members::{self, Act, Acted};
use super::policy::{Draft, Public};
use super::{policy, tokens};
use crate::access::caller::{Call, Caller, RequestId};
use crate::access::claim_quotas::ClaimQuotas;
use crate::access::event_quotas::EventQuotas;
use crate::access::limits::RateLimits;
use crate::access::reads::Reads;
use crate::access::roster::Roster;
use crate::audit::Checkpoints;
use crate::ca::Authority;
use crate::ca::authorities::{Authorities, InForce};
use crate::ca::kept::{DirectoryKey, Kept};
use crate::context::Context;
use crate::error::Error;
use crate::metrics::counters::Metrics;
use crate::rollout::Rollout;
use crate::sessions::registry::Registry;
use crate::settings::Settings;
use crate::sinks::state::Sinks;
use crate::store::fixture::{self, NOW_MS};
use crate::store::model::{Claim, Cursor, EventFilter, Examined, Member, Scope, Whom};

use crate::timestamp::Timestamp;

/// When the tests begin.
pub(super) const NOW: Timestamp = Timestamp::from_ms(NOW_MS);

/// The call in which everything happens.
pub(super) const CALL: Call = Call {
    id: RequestId([0xab; 16]),
    peer: None,
};

/// So many seconds after [`NOW`].
pub(super) fn after_secs(secs: u64) -> Timestamp {
    Timestamp::from_ms(NOW.ms() + secs * 1000)
}

pub(super) struct Fleet {
    pub(super) context: Context,
    /// Claims that are to be told to others.
    pub(super) won: mpsc::Receiver<Claim>,
    dir: TempDir,
}

/// The keys of somebody who joins.
pub(super) struct Keys {
    pub(super) identity: SigningKey,
    pub(super) csr_der: Vec<u8>,
}

impl Fleet {
    pub(super) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        Self::over(store, dir).await
    }

    /// Another controller over the same database.
    pub(super) async fn beside(&self) -> Self {
        Self::over(self.context.store.clone(), TempDir::new().unwrap()).await
    }

    /// Another controller over the same database, by a store of its own.
    pub(super) async fn with(store: crate::store::Store) -> Self {
        Self::over(store, TempDir::new().unwrap()).await
    }

    async fn over(store: crate::store::Store, dir: TempDir) -> Self {
        let settings = "fleet = 'prod'\naddress = 'controller.example:7443'";
        let authority = Authority::create("prod", NOW.secs()).unwrap();
        let directory = DirectoryKey::new(&[7; 32], NOW.secs());
        let kept = Kept::of(&authority, directory, NOW.secs());
        let authorities = Authorities::new(InForce::of(&kept, NOW.secs()).unwrap());
        let roster = Arc::new(Roster::load(&store).await.unwrap());
        let sessions = Arc::new(Registry::default());
        let rollout = Rollout::load(store.clone(), Arc::clone(&roster), Arc::clone(&sessions));
        let rollout = rollout.await.unwrap();
        let (sender, won) = mpsc::channel(16);
        let checkpoints = Checkpoints::load(&store, "prod", NOW).await.unwrap();
        let checkpoints = Arc::new(checkpoints);
        let fleet = watch::Sender::new(store.fleet_state().await.unwrap());
        let event_quotas = EventQuotas::new(None);
        let context = Context {
            sinks: Sinks::default(),
            metrics: Metrics::new(Vec::new()),
            settings: Settings::parse(settings).unwrap(),
            authorities,
            store,
            roster,
            rollout,
            sessions,
            limits: Arc::new(RateLimits::new(crate::clock::instant)),
            reads: Reads::default(),
            checkpoints,
            won: sender,
            fleet,
            recent_claims: RecentClaims::default(),
            claim_quotas: ClaimQuotas::default(),
            event_quotas,
            since: NOW,
            looks: Arc::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { context, won, dir }
    }

    /// A token for a member of this role, which has this name or, when it is empty, proposes one.
    pub(super) async fn token(&self, role: Role, name: &str) -> fleet::Token {
        let new = tokens::NewToken {
            role,
            name: name.to_owned(),
            labels: [].into(),
            scope: [].into(),
            ttl: std::time::Duration::ZERO,
            key_name: String::new(),
            replaces: false,
        };
        let issued = tokens::create(&self.context, &root(), new, NOW).await;
        issued.unwrap().token
    }

    /// Joins with new keys.
    pub(super) async fn join(&self, role: Role, name: &str) -> Member {
        let token = self.token(role, name).await;
        let joiner = Keys::new().joiner(&token, "");
        let enrolled = super::enroll::redeem(&self.context, CALL, joiner, NOW).await;
        enrolled.unwrap().member
    }

    /// A host with the label `env`.
    pub(super) async fn join_labelled(&self, name: &str, env: &str) -> Member {
        let new = tokens::NewToken {
            role: Role::Host,
            name: name.to_owned(),
            labels: [("env".to_owned(), env.to_owned())].into(),
            scope: [].into(),
            ttl: std::time::Duration::ZERO,
            key_name: String::new(),
            replaces: false,
        };
        let issued = tokens::create(&self.context, &root(), new, NOW).await;
        let joiner = Keys::new().joiner(&issued.unwrap().token, "");
        let enrolled = super::enroll::redeem(&self.context, CALL, joiner, NOW).await;
        enrolled.unwrap().member
    }

    /// What the operator does to a member.
    pub(super) async fn act(&self, act: Act, whom: Whom) -> Result<Acted, Error> {
        let whom = (whom, "because".to_owned());
        members::act(&self.context, &root(), act, whom, NOW).await
    }

    pub(super) async fn lock_host(&self, name: &str) {
        let whom = Whom::host(name.to_owned());
        self.act(Act::Lock, whom).await.unwrap();
    }

    /// What reading the whole database finds.
    pub(super) fn examined(&self) -> Examined {
        fixture::examined(self.dir.path())
    }

    /// Changes the database as somebody does who is not the controller.
    pub(super) fn edit(&self, sql: &str) -> u64 {
        fixture::edit(self.dir.path(), sql)
    }

    /// Where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.dir.path().join("controller.db")
    }

    pub(super) async fn apply(&self, base: u64, text: &str) -> Result<policy::Applied, Error> {
        let based = (base, "because".to_owned());
        policy::apply(
            &self.context,
            &root(),
            draft(text),
            based,
            Public::Allowed,
            NOW,
        )
        .await
    }

    /// Reasons of the controller's own events, oldest first.
    pub(super) async fn recorded(&self) -> Vec<String> {
        let events = self.events().await.into_iter();
        events.map(|event| event.reason).collect()
    }

    /// Actor and user of the newest of the controller's own events, which must be of something that
    /// was done in [`CALL`].
    pub(super) async fn newest_is_by(&self) -> (String, String) {
        let event = self.events().await.pop().unwrap();
        assert_eq!(event.outcome(), Outcome::Success, "{event:?}");
        assert_eq!(event.request_id, CALL.id.to_string(), "{event:?}");
        assert_eq!(event.request_id, "ab".repeat(16));
        (event.actor, event.user)
    }

    /// The controller's own events, oldest first.
    pub(super) async fn events(&self) -> Vec<Event> {
        let store = &self.context.store;
        let records = store
            .search(EventFilter::default(), Cursor::NEWEST, 1_000)
            .await;
        let records = records.unwrap().into_iter().rev();
        records
            .map(|record| record.event.event().unwrap())
            .collect()
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).unwrap();
        let tls = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&tls);
        Self {
            identity: SigningKey::from_bytes(&secret),
            csr_der: request.unwrap().der().to_vec(),
        }
    }

    /// Somebody who joins with these keys.
    pub(super) fn joiner(&self, token: &fleet::Token, requested_name: &str) -> Joiner {
        Joiner {
            token_secret: token.secret.to_vec(),
            csr_der: self.csr_der.clone(),
            identity_key: self.identity.verifying_key().to_bytes(),
            exchange_key: Some([2; 32]),
            requested_name: requested_name.to_owned(),
            address: String::new(),
            spa_port: 0,
            keeps_set: true,
        }
    }
}

/// An owner.
pub(super) fn root() -> Caller {
    Caller {
        id: 1_000,
        role: Role::Owner,
        name: "root".to_owned(),
        scope: Scope::default(),
        request: CALL.id,
    }
}

pub(super) fn caller(member: &Member) -> Caller {
    Caller {
        id: member.id,
        role: member.role,
        name: member.name.clone(),
        scope: member.scope.clone(),
        request: CALL.id,
    }
}

pub(super) fn draft(text: &str) -> Draft {
    Draft {
        text: text.to_owned().into(),
        file: String::new(),
    }
}

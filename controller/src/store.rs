//! What the controller keeps: one method for each transaction, whatever the engine.
//!
//! | file | what |
//! |---|---|
//! | `model` | what is kept and answered; conflicts are answers |
//! | `membership` | the methods of tokens and members |
//! | `error` | why an operation was not done |
//! | `seal` | secrets at rest |
//! | `authorities` | what is known of the file that holds the authorities |
//! | `others` | what several controllers tell each other |
//! | `proof` | what proves the log |
//! | `sending` | what goes out: records for sinks, numbers, copies |
//! | `opened` | a database that was opened for something that is done with all of it |
//! | `alone` | one that nobody else uses |
//! | `snapshot` | a database read as it is at one moment |
//! | `copying` | a database copied to another place, whichever engine is at either |
//! | `sql` | one face of SQL, for whatever engine |
//! | `whole` | what is done with a whole database: read, made anew, sealed again |
//! | `place`, `engine` | where the database is, and what is there |
//! | `jobs`, `lanes` | writes that wait, readings in lanes |
//! | `postgres` | the engine for several controllers |
//! | `sqlite` | the engine, and the SQL of each resource |
//!
//! A method answers after its transaction is on disk. Nothing of an operation that failed, or that
//! ended in a conflict, is kept. All times are milliseconds (`_ms`) or seconds (`_secs`) since the
//! Unix epoch and come from the caller.
//!
//! Another engine is another folder beside `sqlite`, and an arm in the enums of `sql`: nothing that a
//! caller sees changes. The tests in `store/tests.rs` say what an engine must do.

mod alone;
mod authorities;
pub(crate) mod copying;
mod engine;
pub(crate) mod error;
mod health;
mod jobs;
mod lanes;
mod membership;
pub(crate) mod model;
mod opened;
pub(crate) mod others;
pub(crate) mod place;
mod postgres;

mod proof;
mod questions;
pub(crate) mod seal;
mod sending;
mod snapshot;
mod sql;
mod sqlite;
mod whole;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fleet::{Event, EventKind, EventRecord, Role};
use zeroize::Zeroizing;

use self::engine::Engine;
use self::error::StoreError;
use self::model::{
    Acknowledged, Acknowledgement, AfterRestore, Alarm, ApplyOutcome, Begun, Claim, ClaimOutcome,
    Entry, FleetState, Generation, HostSeen, HostState, Lease, Member, NewPolicy, Opening, Origin,
    PassWanted, Push, Pushed, RunBegun, SessionWanted,
};
pub(crate) use self::place::Place;
pub(crate) use self::postgres::check as check_postgres;
#[cfg(test)]
pub(crate) use self::postgres::trial;
pub(crate) use self::proof::ProofPage;
use self::seal::SealKey;
pub(crate) use self::sending::{
    SCHEMA, bytes_at_server, copy, examine, is_key_of, is_known, is_sealed_under, knows,
    rebuild_searches, reseal,
};
use self::sqlite::{alarms, claims, hosts, members, meta, policies, rows};

/// Handle to the store; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    engine: Engine,
    seal: Arc<SealKey>,
    /// Where the runs of this controller are kept.
    run_key: Arc<str>,
}

// === impl Store ===

impl Store {
    /// Opens the database and brings its schema up to date; makes it when there is none.
    pub(crate) fn open(place: &Place, seal: SealKey) -> Result<Self, StoreError> {
        Self::open_for(place, seal, None)
    }

    /// The same for the controller of this directory, which remembers whether the rows had their MACs.
    pub(crate) fn open_for(
        place: &Place,
        seal: SealKey,
        dir: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let mark = dir.map(rows::mark_in);
        Ok(Self {
            engine: Engine::open(place, &seal, mark.as_deref())?,
            seal: Arc::new(seal),
            run_key: meta::run_key(None).into(),
        })
    }

    /// The same for the controller of this name, which is one of several over one database.
    pub(crate) fn of_controller(self, name: &str) -> Self {
        Self {
            run_key: meta::run_key(Some(name)).into(),
            ..self
        }
    }

    /// Whether several controllers may have this database.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// Commits what waits and closes. Later operations are refused.
    pub(crate) async fn close(&self) {
        self.engine.close().await;
    }

    /// Whether the database takes writes; who runs it is told in the log when it does not, and when
    /// it does again.
    pub(crate) async fn try_to_write(&self) -> Result<(), StoreError> {
        self.engine.write(|_| Ok(())).await
    }

    /// Looks at what every start looks at; what is wrong is said in the log, with what to do. Hosts are
    /// served all the same, by what can be read; nothing is written to a database that is damaged.
    pub(crate) async fn look_at_start(&self) {
        let found = match self.engine.look_at_start().await {
            Ok(found) => found,
            Err(error) => {
                let error = program::one_line(&error);
                tracing::error!(%error, "the database cannot be looked at");
                return;
            }
        };
        for table in found.damaged {
            tracing::error!(
                table,
                "the database is damaged, and nothing is written to it: stop this controller, and \
                 `postern-controller restore` a backup"
            );
        }
        for (table, row) in found.altered {
            tracing::error!(
                table,
                row,
                "this row was changed by something else than the controller: it counts for nothing; \
                 `postern-controller check` says what to do"
            );
        }
        for what in found.disagreements {
            tracing::error!(
                what,
                "the database was put back in part: `postern-controller check` says what to do"
            );
        }
        if let Some(record) = found.broken_at {
            tracing::error!(
                record,
                "the log was changed: this record does not follow from the one before it; \
                 `postern-controller check` reads all of it"
            );
        }
    }

    /// Reads the whole database when the last run did not close it. After damage was found, nothing
    /// more is written.
    pub(crate) async fn check_integrity(&self) -> Result<(), StoreError> {
        self.engine.check_integrity().await
    }

    /// Resolves when the store can no longer write, which only happens after
    /// [`close`](Self::close) or a defect.
    pub(crate) async fn closed(&self) {
        self.engine.closed().await;
    }
}

/// The fleet as a whole.
impl Store {
    /// What `init` writes once: the name of the controller's own journal, and the beginning of the
    /// replay list.
    pub(crate) async fn create_fleet(
        &self,
        journal_epoch: String,
        now_secs: u64,
    ) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| meta::create(connection, &journal_epoch, now_secs))
            .await
    }

    /// Names this run, and says whether the database is the one that run `previous` left.
    ///
    /// When it is not, it was put back from a backup and does not know what was claimed since: the
    /// floor of the replay list rises to the furthest date that any host takes now. It never falls.
    pub(crate) async fn begin_run(
        &self,
        previous: Option<String>,
        run: String,
        now_secs: u64,
    ) -> Result<RunBegun, StoreError> {
        let key = Arc::clone(&self.run_key);
        self.engine
            .write(move |connection| {
                meta::begin_run(connection, &key, (previous.as_deref(), &run), now_secs)
            })
            .await
    }

    /// Notes the run that the directory of this controller was made with, so that its first is none of a
    /// database that was put back.
    pub(crate) async fn name_run(&self, run: String) -> Result<(), StoreError> {
        let key = Arc::clone(&self.run_key);
        self.engine
            .write(move |connection| meta::name_run(connection, &key, &run))
            .await
    }
}

/// Sessions of hosts, and what is found out by them.
impl Store {
    /// A host opens its session: what it says is compared with what is known, and what is found is
    /// recorded; gives what the host is to be told.
    pub(crate) async fn begin_session(
        &self,
        (host, name): (u64, String),
        opening: Opening,
        found: Origin,
        now_ms: u64,
    ) -> Result<Begun, StoreError> {
        let wanted = SessionWanted {
            host,
            name,
            opening,
            found,
            now_ms,
            seal: Arc::clone(&self.seal),
        };
        self.engine.join(Box::new(wanted)).await?
    }

    /// Gives a host another pass within its session.
    pub(crate) async fn renew_pass(&self, host: u64) -> Result<Vec<u8>, StoreError> {
        let wanted = PassWanted {
            member: host,
            seal: Arc::clone(&self.seal),
        };
        self.engine.join(wanted).await
    }

    /// What holds for the whole fleet now.
    pub(crate) async fn fleet_state(&self) -> Result<FleetState, StoreError> {
        self.engine.read(meta::fleet_state).await
    }

    /// What was found wrong with hosts since `since_ms`, by [`Member::id`].
    pub(crate) async fn alarms(
        &self,
        since_ms: u64,
    ) -> Result<BTreeMap<u64, Vec<Alarm>>, StoreError> {
        self.engine
            .read(move |connection| alarms::since(connection, since_ms))
            .await
    }
}

/// What hosts say of themselves; `host` is [`Member::id`].
impl Store {
    /// A host was heard.
    pub(crate) async fn host_seen(&self, host: u64, now_ms: u64) -> Result<(), StoreError> {
        self.engine.join(HostSeen { host, now_ms }).await
    }

    /// Hosts were heard, each at its time; whoever was heard later is as it is.
    pub(crate) async fn hosts_seen(&self, seen: BTreeMap<u64, u64>) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| hosts::seen_meanwhile(connection, seen))
            .await
    }

    /// A host's word on its policy, and until when the text is good that it acknowledges, where that
    /// is news. A rejected policy is not an applied one: the last applied
    /// stays.
    pub(crate) async fn acknowledge(
        &self,
        host: u64,
        (acknowledgement, lease): (Acknowledgement, Option<Lease>),
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let acknowledged = Acknowledged {
            host,
            acknowledgement: Box::new(acknowledgement),
            lease,
            now_ms,
        };
        self.engine.join(acknowledged).await
    }

    /// One host with its state, and what was found wrong with it since `since_ms`; `None` where there is none.
    pub(crate) async fn host(
        &self,
        id: u64,
        since_ms: u64,
    ) -> Result<Option<(Member, HostState, Vec<Alarm>)>, StoreError> {
        self.engine
            .read(move |connection| {
                let member = members::by_id(connection, id)?;
                let Some(member) = member.filter(|member| member.role == Role::Host) else {
                    return Ok(None);
                };
                let state = hosts::state(connection, id)?.unwrap_or_default();
                let alarms = alarms::of_since(connection, id, since_ms)?;
                Ok(Some((member, state, alarms)))
            })
            .await
    }

    /// Every host, locked ones too, by name, and the states of hosts by member id, read at once.
    pub(crate) async fn hosts(
        &self,
    ) -> Result<(Vec<Member>, BTreeMap<u64, HostState>), StoreError> {
        self.engine
            .read(|connection| {
                let mut hosts = members::all(connection)?;
                hosts.retain(|member| member.role == Role::Host);
                Ok((hosts, hosts::states(connection)?))
            })
            .await
    }
}

/// Policies.
impl Store {
    /// The generation in force; 0 before the first.
    pub(crate) async fn current_generation(&self) -> Result<u64, StoreError> {
        self.engine.read(policies::current).await
    }

    /// Stores the next generation and records its event, when `base` is still the current one. A
    /// database that was restored from an older copy takes only what is said to follow that.
    pub(crate) async fn apply_policy(
        &self,
        base: (u64, AfterRestore),
        policy: NewPolicy,
    ) -> Result<ApplyOutcome, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .write(move |connection| policies::apply(connection, &seal, base, policy))
            .await
    }

    /// Stores the next generation, whatever the current one is, and records its event. A database
    /// that was restored from an older copy takes only what is said to follow that.
    pub(crate) async fn rollback_policy(
        &self,
        after_restore: AfterRestore,
        policy: NewPolicy,
    ) -> Result<ApplyOutcome, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .write(move |connection| policies::rollback(connection, &seal, after_restore, policy))
            .await
    }

    /// A generation's text, in clear.
    pub(crate) async fn policy_text(
        &self,
        generation: u64,
    ) -> Result<Option<Zeroizing<String>>, StoreError> {
        let seal = Arc::clone(&self.seal);
        self.engine
            .read(move |connection| policies::text(connection, &seal, generation))
            .await
    }

    /// What is known of a generation without its text.
    pub(crate) async fn generation(
        &self,
        generation: u64,
    ) -> Result<Option<Generation>, StoreError> {
        self.engine
            .read(move |connection| policies::find(connection, generation))
            .await
    }

    /// At most `limit` generations, newest first.
    pub(crate) async fn policy_history(&self, limit: u32) -> Result<Vec<Generation>, StoreError> {
        self.engine
            .read(move |connection| policies::history(connection, limit))
            .await
    }
}

/// The shared replay list.
impl Store {
    /// Claims a message for one host. The first wins; the same host with the same number has won
    /// before. The dangerous error is to let two hosts win.
    pub(crate) async fn claim(&self, claim: Claim) -> Result<ClaimOutcome, StoreError> {
        self.engine.join(claim).await
    }

    /// What is claimed and still to be remembered, newest first; at most `limit`.
    pub(crate) async fn recent_claims(
        &self,
        now_secs: u64,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.engine
            .read(move |connection| claims::recent(connection, now_secs, limit))
            .await
    }

    /// How many claims each host has stored.
    pub(crate) async fn claims_by_host(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.engine.read(claims::by_host).await
    }

    /// Forgets claims that need not be remembered after `before_secs`; at most `limit`, and says
    /// whose they were. With those whose hosts asked for longer, the floor of the replay list rises to
    /// `floor_secs`.
    pub(crate) async fn forget_claims(
        &self,
        before_secs: u64,
        limit: u32,
        floor_secs: u64,
    ) -> Result<Vec<String>, StoreError> {
        self.engine
            .write(move |connection| claims::prune(connection, before_secs, limit, floor_secs))
            .await
    }
}

/// The fleet's log.
impl Store {
    /// Records an event of the controller's own.
    pub(crate) async fn record(&self, event: Event) -> Result<(), StoreError> {
        self.engine
            .join(Entry::Own(Box::new(event)))
            .await
            .map(drop)
    }

    /// Records something that was found wrong with a host, counted with it.
    pub(crate) async fn alarm(
        &self,
        host: u64,
        (kind, reason): (EventKind, String),
        found: Origin,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        self.engine
            .write(move |connection| {
                alarms::raise(connection, host, (kind, &reason), &found, now_ms)
            })
            .await
    }

    /// Stores those events of a host's journal that are not stored yet, and notes that the host
    /// was heard. `records` are in rising order of `seq`.
    ///
    /// A retry changes nothing. Another event under a number that is taken is stored beside the first.
    /// Whatever is wrong with a record is stored with it; gaps, broken chains and journals that are
    /// not the continuation of what is stored are alarms, too. Nothing is refused, because an event
    /// that is refused would be lost to the auditor.
    pub(crate) async fn push_events(
        &self,
        (host, name): (u64, String),
        epoch: String,
        records: Vec<EventRecord>,
        found: Origin,
        now_ms: u64,
    ) -> Result<Pushed, StoreError> {
        let push = Push {
            host,
            name,
            epoch,
            records,
            found,
            now_ms,
        };
        self.engine.join(Entry::Push(push)).await
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

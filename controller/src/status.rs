//! What the controller does now, for whoever may enter its directory: one JSON object to each who
//! connects to a socket there. Nothing can be asked for or changed by it.

pub(crate) mod ask;

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, process};

use fleet::Role;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::app::{controllers, hosts};
use crate::clock;
use crate::context::Context;
use crate::data_dir::DataDir;
use crate::error::Error;
use crate::store::model::Member;
use crate::timestamp::Timestamp;

/// How long who asks may take to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// And the database, to be asked.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

/// What a controller does now. The names are part of the interface.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Whether it serves; all that follows `database_bytes` is known only then.
    pub is_serving: bool,
    /// Of the fleet.
    pub fleet: String,
    /// Where members dial it, `host:port`.
    pub address: String,
    /// Of the database and what is written beside it, bytes; 0 where its server does not say.
    pub database_bytes: u64,
    /// Why the database takes no writes, or does not answer; empty when it does. What only it knows is 0 then:
    /// `hosts_in_sync`, `records`, `log_conflicts`.
    pub database_error: String,
    /// When the last backup was made, RFC 3339; empty when none was, or none that is known here.
    pub last_backup_at: String,
    /// The version that serves.
    pub version: String,
    /// Of the process that serves.
    pub pid: u32,
    /// Where it listens.
    pub listens_at: String,
    /// For how long, seconds.
    pub serving_secs: u64,
    /// The policy in force; 0 before the first.
    pub generation: u64,
    /// Why hosts are sent no policy: the database was put back. Empty when they are.
    pub set_back: String,
    /// Hosts of the fleet.
    pub hosts: u64,
    /// Those that are connected.
    pub hosts_connected: u64,
    /// Those that enforce what they should.
    pub hosts_in_sync: u64,
    /// Those that are locked.
    pub hosts_locked: u64,
    /// Users of the fleet.
    pub users: u64,
    /// Records of the log.
    pub records: u64,
    /// Those that are covered by a signed checkpoint.
    pub signed_records: u64,
    /// How often the log was found not to be what somebody was shown of it, and when last, RFC 3339;
    /// empty for never.
    pub log_conflicts: u64,
    /// See [`log_conflicts`](Self::log_conflicts).
    pub log_conflict_at: String,
    /// Where events are sent on to.
    pub sinks: Vec<SinkStatus>,
    /// Those that serve the fleet, the one that answers first.
    pub controllers: Vec<ControllerStatus>,
}

/// One of the controllers over one database.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ControllerStatus {
    /// Where members dial it, `host:port`; empty of one of an older version that does not say.
    pub address: String,
    /// The version that serves.
    pub version: String,
    /// When it began to serve, milliseconds since the Unix epoch; 0 of one that does not say.
    pub since_ms: u64,
    /// Connected to it.
    pub hosts: u64,
    /// It has said so lately. One that has not for a minute is not named any more.
    pub is_serving: bool,
}

/// How far a sink is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// Age of the oldest record that it has not taken, milliseconds; 0 when it has all.
    pub lag_ms: u64,
    /// Why the last attempt failed; empty when it did not.
    pub error: String,
}

/// Where a controller serves.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) dir: DataDir,
    pub(crate) listens_at: String,
}

/// Answers at the socket of the directory until the controller stops.
///
/// # Errors
///
/// What the system says.
pub(crate) fn spawn(context: &Arc<Context>, serving: Serving) -> io::Result<()> {
    let path = serving.dir.status_socket();
    // Of a run that was killed: whoever holds the directory's lock is the only one.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let asked = Arc::clone(context);
    context.tasks.spawn(async move {
        let answering = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => answer(&asked, &serving, stream).await,
                    Err(error) => {
                        tracing::warn!(%error, "whoever asks for the status is not heard");
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = asked.stopping.cancelled() => {}
            () = answering => {}
        }
        let _ = fs::remove_file(&path);
    });
    Ok(())
}

/// One after the other: who is slow is left.
async fn answer(context: &Context, serving: &Serving, mut stream: UnixStream) {
    let written = async {
        let status = of(context, serving, clock::now()).await;
        let text = serde_json::to_vec(&status).unwrap_or_default();
        // Whoever has gone needs no answer.
        let _ = stream.write_all(&text).await;
    };
    let _ = timeout(PATIENCE, written).await;
}

async fn of(context: &Context, serving: &Serving, now: Timestamp) -> Status {
    // What the database does not say in time, it does not say.
    let stored = timeout(DATABASE_PATIENCE, Stored::read(context, now)).await;
    let (stored, error) = match stored {
        Ok(Ok(stored)) => (stored, None),
        Ok(Err(error)) => (
            Stored::default(),
            Some(program::one_line(&error).to_string()),
        ),
        Err(_) => (Stored::default(), Some("it does not answer".to_owned())),
    };
    let members = context.roster.all();
    let hosts = || members.iter().filter(|member| member.role == Role::Host);
    let is_connected =
        |host: &&Arc<Member>| host.lock.is_none() && context.sessions.is_connected_anywhere(host);
    let users = members.iter().filter(|member| member.role == Role::User);
    let set_back = context.fleet.borrow().set_back.clone();
    let Serving { dir, listens_at } = serving;
    Status {
        is_serving: true,
        fleet: context.settings.fleet.clone(),
        address: context.settings.address.clone(),
        database_bytes: stored.bytes.unwrap_or_else(|| dir.database_bytes()),
        database_error: context.store.fault().or(error).unwrap_or_default(),
        last_backup_at: dir.last_backup(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::id(),
        listens_at: listens_at.clone(),
        serving_secs: now.secs().saturating_sub(context.since.secs()),
        generation: context.rollout.in_force().generation,
        set_back: set_back.unwrap_or_default(),
        hosts: hosts().count() as u64,
        hosts_connected: hosts().filter(is_connected).count() as u64,
        hosts_in_sync: stored.hosts_in_sync,
        hosts_locked: hosts().filter(|host| host.lock.is_some()).count() as u64,
        users: users.count() as u64,
        records: stored.records,
        signed_records: context.checkpoints.size(),
        log_conflicts: stored.log_conflicts,
        log_conflict_at: stored.log_conflict_at,
        sinks: sinks(context, now),
        controllers: controllers(context),
    }
}

/// What only the database knows.
#[derive(Debug, Default)]
struct Stored {
    /// As its server says; `None` of a file, and when nobody has said.
    bytes: Option<u64>,
    hosts_in_sync: u64,
    records: u64,
    log_conflicts: u64,
    log_conflict_at: String,
}

// === impl Stored ===

impl Stored {
    async fn read(context: &Context, now: Timestamp) -> Result<Self, Error> {
        let hosts = hosts::all(context, now).await?;
        let in_sync = hosts
            .iter()
            .filter(|host| host.in_sync && host.member.lock.is_none());
        let (log_conflicts, at_ms) = context.store.conflicts().await?;
        Ok(Self {
            bytes: context.store.bytes_at_server().await?,
            hosts_in_sync: in_sync.count() as u64,
            records: context.store.newest_record().await?,
            log_conflicts,
            log_conflict_at: match at_ms {
                0 => String::new(),
                at_ms => Timestamp::from_ms(at_ms).to_string(),
            },
        })
    }
}

fn sinks(context: &Context, now: Timestamp) -> Vec<SinkStatus> {
    let sinks = context.sinks.states().map(|sink| {
        let standing = sink.standing();
        SinkStatus {
            name: sink.name().to_owned(),
            r#type: sink.type_name().to_owned(),
            lag_ms: standing.lag_ms(now),
            error: standing.error,
        }
    });
    sinks.collect()
}

fn controllers(context: &Context) -> Vec<ControllerStatus> {
    let controllers = controllers::all(context).into_iter();
    let controllers = controllers.map(|one| ControllerStatus {
        address: one.facts.address,
        version: one.facts.version,
        since_ms: one.facts.since_ms,
        hosts: one.hosts,
        is_serving: one.is_serving,
    });
    controllers.collect()
}

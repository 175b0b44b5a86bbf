//! `init` and the way from a directory to a running controller.

pub(crate) mod directory;
pub(crate) mod error;

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fleet::{Role, Token};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::access::caller::RequestId;
use crate::access::claim_quotas::ClaimQuotas;
use crate::access::event_quotas::EventQuotas;
use crate::access::limits::RateLimits;
use crate::access::reads::Reads;
use crate::access::roster::Roster;
use crate::app::claims::RecentClaims;
use crate::app::reads;
use crate::app::tokens::{self, Creator, Issued, NewToken};
use crate::audit::Checkpoints;
use crate::authority;
use crate::authority::watch::Watch;
use crate::ca::Authority;
use crate::ca::authorities::Authorities;
use crate::ca::kept::Kept;
use crate::clock;
use crate::context::{Context, Endpoint};
use crate::data_dir::{Begun, DataDir};
use crate::error::Error;
use crate::metrics::counters::Metrics;
use crate::random::{NoRandomness, random};
use crate::rollout::Rollout;
use crate::sessions::registry::Registry;
use crate::settings::{Listen, Settings};
use crate::sinks::state::Sinks;
use crate::store::error::StoreError;
use crate::store::model::{FleetState, Origin};
use crate::store::place::PostgresSettings;
use crate::store::seal::{SealError, SealKey};
use crate::store::{Place, Store};
use crate::{housekeeping, metrics, server, sinks, status};
use directory::{expiries, give_name, name_first_run, open_store, place, read_settings};
use error::StartError;

/// A controller that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    context: Arc<Context>,
    server: JoinHandle<()>,
    _lock: File,
}

/// Makes a controller in `data`, and the token of its first owner.
///
/// # Errors
///
/// [`StartError`]. A directory that holds a controller is never changed.
pub async fn init(data: &Path, address: &str, fleet: &str) -> Result<Token, StartError> {
    init_over(data, (address, fleet), None).await
}

/// The same with the database at a PostgreSQL server, which is there and has nothing in it.
///
/// # Errors
///
/// [`StartError`]. A directory, or a database, that holds a controller is never changed.
pub async fn init_over(
    data: &Path,
    (address, fleet): (&str, &str),
    database: Option<PostgresSettings>,
) -> Result<Token, StartError> {
    let settings = Settings::text((fleet, address), database.as_ref()).map_err(|mistakes| {
        StartError::Settings {
            path: data.join("controller.toml"),
            mistakes,
        }
    })?;
    let begun = Begun::create(data)?;
    let dir = begun.dir();
    let now = clock::now();
    let ca = Authority::create(fleet, now.secs())?;
    let kept = Kept::of(&ca, authority::directory_key(now)?, now.secs());
    let in_force = authority::in_force(&kept, now)?;
    dir.write_authority(&kept)?;
    dir.write_identity("server", &in_force.first_server(now.secs())?)?;
    let seal = Zeroizing::new(random()?);
    dir.write_seal_key(&seal)?;

    let place = match database {
        Some(database) => Place::Postgres(database.under(dir.path())),
        None => Place::File(dir.database()),
    };
    let is_shared = matches!(place, Place::Postgres(_));
    if is_shared {
        give_name(dir)?;
    }
    let store = match open_store(dir, place, SealKey::new(&seal)) {
        Err(StartError::Request(Error::Store(StoreError::OtherSealKey { .. }))) => {
            return Err(StartError::FleetExists);
        }
        opened => opened?,
    };
    if store.fleet_state().await.is_ok() {
        return Err(StartError::FleetExists);
    }
    let epoch = hex::encode(random::<16>()?);
    // What is in the database from here on, nobody can read without the seal key of this directory.
    begun.keep();
    store.create_fleet(epoch, now.secs()).await?;
    if is_shared {
        authority::share((&store, fleet), &kept, None).await?;
        name_first_run(dir, &store).await?;
    } else {
        store.settle_authority(kept.state()).await?;
    }
    let endpoint = Endpoint {
        address: address.to_owned(),
        ca_fingerprint: in_force.current().fingerprint(),
    };
    let creator = creator("postern-controller init")?;
    let issued = tokens::issue(&store, &endpoint, first_owner(), creator, now).await?;
    store.close().await;
    dir.write_settings(&settings)?;
    Ok(issued.token)
}

/// Makes in `data` a further controller of the fleet whose database this is, sealed under this key, and gives the
/// fleet's name. Members reach it at `address`.
///
/// # Errors
///
/// [`StartError`]. A directory that holds a controller is never changed, and nothing is made where the database has
/// no fleet, or the key is not its.
pub async fn init_join(
    data: &Path,
    address: &str,
    database: PostgresSettings,
    seal: &[u8; 32],
) -> Result<String, StartError> {
    let place = Place::Postgres(database.clone().under(data));
    let store = match Store::open(&place, SealKey::new(seal)) {
        Err(source @ StoreError::OtherSealKey { .. }) => {
            return Err(StartError::WrongSealKey {
                source: Some(source),
            });
        }
        opened => opened?,
    };
    store.fleet_state().await.map_err(|_| StartError::NoFleet)?;
    let shared = match store.shared_authority().await {
        Err(StoreError::Seal(SealError::NotAuthentic)) => {
            return Err(StartError::WrongSealKey { source: None });
        }
        shared => shared?.ok_or(StartError::NothingShared)?,
    };
    let kept = authority::shared::of(&shared).ok_or(StartError::DirectoryKey)?;
    let now = clock::now();
    let in_force = authority::in_force(&kept, now)?;
    let fleet = shared.fleet.clone();
    let named = (fleet.as_str(), address);
    let settings =
        Settings::text(named, Some(&database)).map_err(|mistakes| StartError::Settings {
            path: data.join("controller.toml"),
            mistakes,
        })?;

    let begun = Begun::create(data)?;
    let dir = begun.dir();
    dir.write_authority(&kept)?;
    dir.write_identity("server", &in_force.server(now.secs())?)?;
    dir.write_seal_key(seal)?;
    give_name(dir)?;
    let store = match dir.name()? {
        Some(name) => store.of_controller(&name),
        None => store,
    };
    name_first_run(dir, &store).await?;
    store.close().await;
    dir.write_settings(&settings)?;
    begun.keep();
    Ok(fleet)
}

/// Makes a token without a running controller, or beside it.
///
/// # Errors
///
/// [`StartError`].
pub async fn create_token(data: &Path, new: NewToken) -> Result<Issued, StartError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?.under(dir.path());
    let store = open_store(&dir, place(&dir, &settings)?, dir.seal_key()?)?;
    let current = match authority::read(&dir, &store).await? {
        Some(kept) => kept.current.open()?,
        None => Authority::open(&dir.identity("ca")?)?,
    };
    let endpoint = Endpoint {
        address: settings.address,
        ca_fingerprint: current.fingerprint(),
    };
    let creator = creator("postern-controller token")?;
    let issued = tokens::issue(&store, &endpoint, new, creator, clock::now()).await?;
    store.close().await;
    Ok(issued)
}

// === impl Running ===

impl Running {
    /// Starts the controller of `data`, listening on `listen` or where its settings say. When this
    /// returns, it accepts connections.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(data: &Path, listen: Option<SocketAddr>) -> Result<Self, StartError> {
        let dir = DataDir::open(data)?;
        let settings = read_settings(&dir)?.under(dir.path());
        let lock = dir.lock()?;
        dir.end_rotation()?;
        for readable in dir.readable() {
            tracing::warn!("{readable}");
        }
        let version = dir.authority_version();
        let place = place(&dir, &settings)?;
        if matches!(place, Place::Postgres(_)) {
            give_name(&dir)?;
        }
        let store = open_store(&dir, place, dir.seal_key()?)?;
        let kept = authority::open(&dir, &store, clock::now()).await?;
        let in_force = authority::in_force(&kept, clock::now())?;
        let fleet = name_this_run(&dir, &store).await?;
        let checkpoints = Checkpoints::load(&store, &settings.fleet, clock::now()).await?;
        // After what a start writes: a damaged database takes nothing more, and hosts are served from it.
        store.look_at_start().await;
        let checkpoints = Arc::new(checkpoints);
        let event_quotas = EventQuotas::new(settings.event_quota);
        let claim_quotas = ClaimQuotas::new(store.claims_by_host().await?);

        let roster = Arc::new(Roster::load(&store).await?);
        let sessions = Arc::new(Registry::default());
        let rollout =
            Rollout::load(store.clone(), Arc::clone(&roster), Arc::clone(&sessions)).await?;
        let identity = authority::identity_now(&dir, &in_force, clock::now())?;
        let (won, won_queue) = mpsc::channel(housekeeping::WON_QUEUE_MAX);
        let (bound, listener) = server::bind(listen.map_or(settings.listen, Listen::At))?;
        let context = Arc::new(Context {
            metrics: Metrics::new(expiries(&dir)?),
            sinks: Sinks::new(&settings.sinks),
            settings,
            authorities: Authorities::new(in_force),
            store,
            roster,
            rollout,
            sessions,
            limits: Arc::new(RateLimits::new(clock::instant)),
            reads: Reads::default(),
            checkpoints,
            won,
            fleet: watch::Sender::new(fleet),
            recent_claims: RecentClaims::default(),
            looks: Arc::default(),
            claim_quotas,
            event_quotas,
            since: clock::now(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        housekeeping::spawn(&context, won_queue);
        sinks::spawn(&context);
        metrics::spawn(&context).await?;
        let (server, doorway) = server::spawn(&context, &identity, listener)?;
        authority::watch::spawn(Watch {
            context: Arc::clone(&context),
            dir: dir.clone(),
            doorway,
            version,
            compared: None,
        });
        say_status(&context, dir, bound);
        Ok(Self {
            address: bound,
            context,
            server,
            _lock: lock,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its parts, for who calls its services without the network.
    pub(crate) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Makes a token that points to where this controller really listens.
    ///
    /// # Errors
    ///
    /// [`Error`] when what is wanted cannot be.
    pub async fn invite(&self, new: NewToken) -> Result<Token, Error> {
        let endpoint = Endpoint {
            address: self.address.to_string(),
            ca_fingerprint: self.context.authorities.get().current().fingerprint(),
        };
        let store = &self.context.store;
        let creator = creator("test")?;
        let issued = tokens::issue(store, &endpoint, new, creator, clock::now()).await?;
        Ok(issued.token)
    }

    /// Resolves when the controller can no longer serve, which is a defect or a dying disk.
    pub async fn failed(&self) {
        self.context.store.closed().await;
    }

    /// Stops: ends streams, lets requests finish, commits, closes the database.
    pub async fn stop(self) {
        self.context.stopping.cancel();
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server did not stop in order");
        }
        self.context.tasks.close();
        self.context.tasks.wait().await;
        let read = reads::record_due(&self.context, clock::now(), true).await;
        if let Err(error) = read {
            tracing::error!(%error, "how often what was read is not recorded");
        }
        let Context {
            checkpoints, store, ..
        } = &*self.context;
        if let Err(error) = checkpoints.sign(store, clock::now()).await {
            tracing::error!(error = %program::one_line(&error), "the end of the log is not signed");
        }
        store.close().await;
    }
}

/// Lets whoever may enter the directory ask how it is. One that cannot be asked serves all the same.
fn say_status(context: &Arc<Context>, dir: DataDir, bound: SocketAddr) {
    let serving = status::Serving {
        dir,
        listens_at: bound.to_string(),
    };
    if let Err(error) = status::spawn(context, serving) {
        tracing::warn!(%error, "`postern-controller status` will not be answered");
    }
}

fn first_owner() -> NewToken {
    NewToken {
        role: Role::Owner,
        name: String::new(),
        labels: std::collections::BTreeMap::new(),
        scope: std::collections::BTreeMap::new(),
        ttl: std::time::Duration::from_secs(24 * 3600),
        key_name: String::new(),
        replaces: false,
    }
}

/// Who invites where no member does.
fn creator(name: &str) -> Result<Creator, NoRandomness> {
    let request = RequestId::new()?;
    Ok(Creator {
        name: name.to_owned(),
        member: None,
        origin: Origin::controller(request.to_string()),
    })
}

/// Finds out whether the database is the one that the last run left, and names this run in both
/// the database and the directory. Returns what holds for the fleet.
///
/// A database that was put back from a backup does not know what was claimed since. The run that
/// it names is then not the one that the directory names, and the floor rises: packets from before
/// are refused, so that a lost claim can never let one in twice. Where the whole directory was put
/// back, only hosts can tell: see `store/sqlite/set_back.rs`.
async fn name_this_run(dir: &DataDir, store: &Store) -> Result<FleetState, StartError> {
    let run = hex::encode(random::<16>()?);
    let begun = store
        .begin_run(dir.run()?, run.clone(), clock::now().secs())
        .await?;
    if begun.restored {
        tracing::warn!(
            "the database is not the one of the last run; older packets will be refused"
        );
    }
    dir.write_run(&run)?;
    if let Some(reason) = &begun.fleet.set_back {
        tracing::error!(
            reason,
            "hosts keep the policy that they have until an operator applies one with --after-restore"
        );
    }
    Ok(begun.fleet)
}

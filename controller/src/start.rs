//! `init` and the way from a directory to a running controller.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleet::{Role, Token};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ca::Authority;
use crate::clock;
use crate::context::Context;
use crate::data_dir::{DataDir, hex};
use crate::error::Error;
use crate::invite::{Inviter, Wanted};
use crate::limits::Limits;
use crate::publisher::Publisher;
use crate::roster::Roster;
use crate::settings::{InvalidSettings, Settings};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::seal::SealKey;
use crate::{housekeeping, server};

/// Why the controller cannot be made or started. What can be done about it is in `failure`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} holds a controller already; nothing was changed")]
    Initialised(PathBuf),
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    #[error("{0} holds no controller")]
    NotInitialised(PathBuf),
    #[error("another controller serves {0}")]
    Locked(PathBuf),
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// With every mistake in the message, one a line.
    #[error("{path} is invalid\n{error}")]
    Settings {
        path: PathBuf,
        error: InvalidSettings,
    },
    #[error("{0} is not a seal key (64 hexadecimal digits)")]
    SealKey(PathBuf),
    #[error("the certificate authority cannot be used")]
    Authority(#[from] rcgen::Error),
    #[error("{path}: {error}; restore it from a backup if it is damaged")]
    Database { path: PathBuf, error: String },
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("no randomness from the system")]
    Random,
    #[error(transparent)]
    Request(#[from] Error),
}

/// A controller that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    context: Arc<Context>,
    server: JoinHandle<()>,
    _lock: File,
}

/// Makes a controller in `data`, and its first operator token.
///
/// # Errors
///
/// [`StartError`]. A directory that holds a controller is never changed.
pub async fn init(data: &Path, address: &str, fleet: &str) -> Result<Token, StartError> {
    let settings = Settings::text(fleet, address).map_err(|error| StartError::Settings {
        path: data.join("controller.toml"),
        error,
    })?;
    let dir = DataDir::create(data)?;
    let now_secs = clock::now_secs();
    let ca = Authority::create(fleet, now_secs)?;
    let authority = Authority::open(&ca)?;
    dir.write_identity("ca", &ca)?;
    dir.write_identity("server", &authority.server(now_secs)?)?;
    let seal = random()?;
    dir.write_seal_key(&seal)?;

    let store = open_store(&dir, SealKey::new(&seal))?;
    let epoch = hex(&random::<16>()?);
    store.create_fleet(epoch, now_secs).await?;
    let inviter = Inviter {
        address: address.to_owned(),
        ca_fingerprint: authority.fingerprint(),
    };
    let token = inviter
        .invite(&store, first_operator(), "postern-controller init")
        .await?;
    store.close().await;
    dir.write_settings(&settings)?;
    Ok(token)
}

/// Makes a token without a running controller, or beside it.
///
/// # Errors
///
/// [`StartError`].
pub async fn create_token(data: &Path, wanted: Wanted) -> Result<Token, StartError> {
    let dir = DataDir::open(data)?;
    let settings = read_settings(&dir)?;
    let authority = Authority::open(&dir.identity("ca")?)?;
    let store = open_store(&dir, dir.seal_key()?)?;
    let inviter = Inviter {
        address: settings.address,
        ca_fingerprint: authority.fingerprint(),
    };
    let token = inviter
        .invite(&store, wanted, "postern-controller token")
        .await?;
    store.close().await;
    Ok(token)
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
        let settings = read_settings(&dir)?;
        let lock = dir.lock()?;
        let authority = Authority::open(&dir.identity("ca")?)?;
        let store = open_store(&dir, dir.seal_key()?)?;
        let replay_floor_secs = name_this_run(&dir, &store).await?;

        let roster = Arc::new(Roster::load(&store).await?);
        let publisher = Publisher::load(store.clone(), Arc::clone(&roster)).await?;
        let (bound, incoming) = server::bind(listen.unwrap_or(settings.listen))?;
        let context = Arc::new(Context {
            inviter: Inviter {
                address: settings.address.clone(),
                ca_fingerprint: authority.fingerprint(),
            },
            settings,
            authority,
            store,
            roster,
            publisher: Arc::new(publisher),
            limits: Arc::new(Limits::new()),
            replay_floor_secs,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let won = housekeeping::spawn(&context);
        let server = server::spawn(&context, &dir.identity("server")?, incoming, won)?;
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

    /// Makes a token that points to where this controller really listens.
    ///
    /// # Errors
    ///
    /// [`Error`] when what is wanted cannot be.
    pub async fn invite(&self, wanted: Wanted) -> Result<Token, Error> {
        let inviter = Inviter {
            address: self.address.to_string(),
            ca_fingerprint: self.context.authority.fingerprint(),
        };
        inviter.invite(&self.context.store, wanted, "test").await
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
        self.context.store.close().await;
    }
}

fn first_operator() -> Wanted {
    Wanted {
        role: Role::Operator,
        name: String::new(),
        labels: std::collections::BTreeMap::new(),
        ttl: std::time::Duration::from_secs(24 * 3600),
    }
}

fn open_store(dir: &DataDir, seal: SealKey) -> Result<Store, StartError> {
    let path = dir.database();
    Store::open(&path, seal).map_err(|error| StartError::Database {
        path,
        error: crate::chain::chain(&error),
    })
}

fn read_settings(dir: &DataDir) -> Result<Settings, StartError> {
    let path = dir.settings();
    let text = std::fs::read_to_string(&path).map_err(|error| StartError::file(&path, error))?;
    Settings::parse(&text).map_err(|error| StartError::Settings { path, error })
}

/// Finds out whether the database is the one that the last run left, and names this run in both the
/// database and the directory. Returns the floor of the replay list.
///
/// A database that was put back from a backup does not know what was claimed since. The run that it
/// names is then not the one that the directory names, and the floor rises to now: packets from
/// before are refused, so that a lost claim can never let one in twice.
async fn name_this_run(dir: &DataDir, store: &Store) -> Result<u64, StartError> {
    let run = hex(&random::<16>()?);
    let begun = store
        .begin_run(dir.run()?, run.clone(), clock::now_secs())
        .await?;
    if begun.restored {
        tracing::warn!(
            "the database is not the one of the last run; older packets will be refused"
        );
    }
    dir.write_run(&run)?;
    Ok(begun.replay_floor_secs)
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}

// === impl StartError ===

impl StartError {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}

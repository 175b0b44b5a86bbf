//! How a connection is opened.
//!
//! Over a socket of the machine as it is. To an address only over TLS, with a server that proves its
//! name: what goes there grants access.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_postgres::config::{Config, Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_postgres::{CancelToken, Client, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use crate::store::error::{EngineError, PostgresMistake, StoreError};
use crate::store::place::PostgresSettings;
use crate::store::seal::SealKey;
use crate::store::sql::Error;
use crate::store::sql::postgres::proofs::Proofs;
use crate::store::sql::postgres::{ASKING_MAX, Elsewhere, Later, Postgres, first_of};
use crate::store::sqlite::{meta, rows};

/// What a controller is called among the server's sessions. Those of before, which make no MACs, have no number.
const APPLICATION: &str = "postern-controller 2";
/// To connect, unless the settings say another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing acknowledged for so long: the server, or the way to it, is gone.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// What every connection is told. A commit is on the disk, and on that of a synchronous standby, before
/// it is answered, whatever the server's own settings are.
const OF_ALL: &str = "SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');";
/// The writer's: who falls silent in a transaction keeps all the others waiting; less than this may be
/// said in the settings. A statement that is ended while it waits for a standby would say that it is
/// done.
const OF_WRITER: &str = "SET default_transaction_isolation = 'read committed';
    SET statement_timeout = 0;
    SELECT set_config('idle_in_transaction_session_timeout', '15s', false) FROM pg_settings
        WHERE name = 'idle_in_transaction_session_timeout'
            AND (setting = '0' OR CAST(setting AS bigint) > 15000);";
const OF_READERS: &str = "SET default_transaction_read_only = on;";

/// Where the server is, and how it is reached.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
    password: Option<PathBuf>,
    /// Somebody has taken a connection and said nothing: who is asked first is left to chance.
    was_silent: Arc<AtomicBool>,
    /// Whoever has another seal key than the database says is not let near it; `None` where that is not asked.
    key_id: Option<Arc<str>>,
    /// What tells rows of ours from those of others; `None` where that is not asked.
    proofs: Option<Proofs>,
    /// How often something was waited for.
    journeys: Arc<AtomicU64>,
    /// As people read it.
    name: Arc<str>,
}

// === impl Server ===

impl Server {
    /// How it is to be reached, and whether over a network. Nothing is read.
    pub(super) fn shape(settings: &PostgresSettings) -> Result<(Config, bool), StoreError> {
        let config = Config::from_str(&settings.url)
            .map_err(|error| PostgresMistake::Address(EngineError::new(error)))?;
        if config.get_password().is_some() {
            return Err(PostgresMistake::Password.into());
        }
        let is_remote = is_remote(&config)?;
        Ok((config, is_remote))
    }

    pub(super) fn of(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let (mut config, is_remote) = Self::shape(settings)?;
        let tls = match is_remote {
            true => Some(Arc::new(tls(settings.ca_file.as_deref())?)),
            false => None,
        };
        config
            .ssl_mode(if is_remote {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .application_name(APPLICATION)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives_idle(SILENT_MAX)
            .tcp_user_timeout(SILENT_MAX);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        Ok(Self {
            name: name(&config).into(),
            config,
            tls,
            password: settings.password_file.clone(),
            was_silent: Arc::default(),
            key_id: None,
            proofs: None,
            journeys: Arc::default(),
        })
    }

    /// How often anything has gone to it and back, over whichever connection.
    #[cfg(test)]
    pub(super) fn journeys(&self) -> u64 {
        self.journeys.load(Ordering::SeqCst)
    }

    /// The same for a controller with this seal key: no later connection is used after the key was rotated.
    pub(super) fn of_key(self, seal: &SealKey) -> Self {
        Self {
            key_id: Some(seal.id().into()),
            ..self.of_rows(seal)
        }
    }

    /// The same for whoever tells rows of ours from those of others by this seal key.
    pub(super) fn of_rows(self, seal: &SealKey) -> Self {
        Self {
            proofs: Some(Proofs::new(seal.row_key(), &rows::TABLES)),
            ..self
        }
    }

    /// A connection for whoever brings the schema up to date, and looks at the seal key by itself.
    pub(super) fn to_migrate(&self) -> Result<Postgres, StoreError> {
        self.connect(OF_WRITER)
    }

    /// A connection for the writer.
    pub(super) fn to_write(&self) -> Result<Postgres, StoreError> {
        let connection = self.connect(OF_WRITER)?;
        self.check_key(&connection)?;
        Ok(connection)
    }

    /// A connection for a reader whose statements take so long at most; 0 for as long as they take.
    pub(super) fn to_read(&self, statement_max: Duration) -> Result<Postgres, StoreError> {
        let most = statement_max.as_millis();
        let connection = self.connect(&format!("{OF_READERS} SET statement_timeout = {most};"))?;
        self.check_key(&connection)?;
        Ok(connection)
    }

    /// A rotation of the seal key needs every connection closed, so each new one asks whether there was one.
    pub(super) fn check_key(&self, connection: &Postgres) -> Result<(), StoreError> {
        let Some(here) = &self.key_id else {
            return Ok(());
        };
        match meta::seal_key_id(connection)? {
            Some(known) if known != **here => Err(StoreError::OtherSealKey {
                known: Some(known),
                here: here.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn connect(&self, of_kind: &str) -> Result<Postgres, StoreError> {
        let config = self.config()?;
        let each = config.get_connect_timeout().copied();
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
        let connect_max = each.unwrap_or(CONNECT_TIMEOUT).saturating_mul(hosts) + ASKING_MAX;
        let first = format!("{OF_ALL} {of_kind}");
        let first = (first.as_str(), connect_max);
        let elsewhere = Arc::new(self.clone());
        let connected = match self.connector() {
            Some(tls) => Postgres::connect((&config, tls), first, elsewhere),
            None => Postgres::connect((&config, NoTls), first, elsewhere),
        };
        let connected = connected.map(|connection| match &self.proofs {
            Some(proofs) => connection.proving(proofs.clone()),
            None => connection,
        });
        connected.map_err(|error| {
            if matches!(error, Error::Silent) {
                self.was_silent.store(true, Ordering::SeqCst);
            }
            self.unreachable(error)
        })
    }

    /// With the password as it is now.
    fn config(&self) -> Result<Config, StoreError> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password {
            config.password(password(path)?.as_str());
        }
        if self.was_silent.load(Ordering::SeqCst) {
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        Ok(config)
    }

    /// What a statement gives over a connection of its own.
    async fn ask(&self, sql: &str) -> Result<Option<String>, StoreError> {
        let config = self.config()?;
        let said = match self.connector() {
            Some(tls) => match config.connect(tls).await {
                Ok(connected) => first_value(connected, sql).await,
                Err(error) => Err(error),
            },
            None => match config.connect(NoTls).await {
                Ok(connected) => first_value(connected, sql).await,
                Err(error) => Err(error),
            },
        };
        said.map_err(|error| self.unreachable(error.into()))
    }

    fn connector(&self) -> Option<MakeRustlsConnect> {
        let tls = self.tls.as_ref()?;
        Some(MakeRustlsConnect::new(ClientConfig::clone(tls)))
    }

    pub(super) fn unreachable(&self, error: Error) -> StoreError {
        self.lost(error.into())
    }

    /// The same where it was reached before.
    pub(super) fn lost(&self, source: EngineError) -> StoreError {
        StoreError::Unreachable {
            server: self.name.to_string(),
            source,
        }
    }
}

impl Elsewhere for Server {
    fn journeys(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.journeys)
    }

    fn is_at_work<'s>(&'s self, name: &'s str) -> Later<'s, Option<bool>> {
        // One that has answered some time ago, and whose answer nobody got, or that never heard the question.
        // The lock that it may have is everybody's.
        let sql = format!(
            "SELECT CASE WHEN state LIKE 'idle%' AND state_change < now() - interval '2s'
                 THEN pg_terminate_backend(pid) IS NULL ELSE true END
             FROM pg_stat_activity WHERE pid || ' ' || backend_start = '{name}'"
        );
        Box::pin(async move {
            let said = self.ask(&sql).await.ok()?;
            Some(said.as_deref() == Some("t"))
        })
    }

    fn cancel(&self, token: CancelToken) -> Later<'_, ()> {
        Box::pin(async move {
            let cancelled = async {
                match self.connector() {
                    Some(tls) => token.cancel_query(tls).await,
                    None => token.cancel_query(NoTls).await,
                }
            };
            match tokio::time::timeout(ASKING_MAX, cancelled).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a question that nobody waits for goes on");
                }
                Err(_) => tracing::debug!("a question that nobody waits for goes on"),
            }
        })
    }
}

/// The first value that a statement gives, if it does.
async fn first_value<S, T>(
    (client, connection): (Client, Connection<S, T>),
    sql: &str,
) -> Result<Option<String>, tokio_postgres::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let said = tokio::select! {
        said = client.simple_query(sql) => said?,
        ended = connection => return ended.map(|()| None),
    };
    let mut values = said.iter().filter_map(first_of);
    Ok(values.next().map(str::to_owned))
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.name)
    }
}

/// Whether it is reached over a network; sockets and addresses do not go together.
fn is_remote(config: &Config) -> Result<bool, StoreError> {
    let hosts = config.get_hosts();
    let is_socket = |host: &Host| matches!(host, Host::Unix(_));
    if hosts.iter().all(is_socket) && !hosts.is_empty() {
        return Ok(false);
    }
    if hosts.is_empty() || hosts.iter().any(is_socket) {
        return Err(PostgresMistake::Hosts.into());
    }
    let is_here = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|it: IpAddr| it.is_loopback())
        }
        Host::Unix(_) => true,
    };
    if config.get_ssl_mode() != SslMode::Disable {
        return Ok(true);
    }
    if hosts.iter().all(is_here) {
        return Ok(false);
    }
    Err(PostgresMistake::NoTls.into())
}

fn name(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate();
    let hosts = hosts.map(|(number, host)| {
        let port = ports.get(number).or_else(|| ports.first()).copied();
        let port = port.unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}/.s.PGSQL.{port}", path.display()),
        }
    });
    hosts.collect::<Vec<_>>().join(" or ")
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unread = |source| PostgresMistake::Authorities {
                path: path.to_owned(),
                source,
            };
            let read = CertificateDer::pem_file_iter(path);
            let read = read.and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let read = read.map_err(|error| unread(EngineError::new(error)))?;
            for authority in read {
                let added = roots.add(authority);
                added.map_err(|error| unread(EngineError::new(error)))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Engine(EngineError::new(error)))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn password(path: &Path) -> Result<Zeroizing<String>, StoreError> {
    let text = std::fs::read_to_string(path).map_err(|source| PostgresMistake::PasswordFile {
        path: path.to_owned(),
        source,
    })?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}

//! What a person may set: `controller.toml`.

mod mistakes;
mod raw_sink;
mod sink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

pub use self::mistakes::{InvalidSettings, Mistake};
use self::mistakes::{Mistakes, tables};
use self::raw_sink::RawSink;
pub use self::sink::{Access, Begin, Body, Format, SinkSettings, Target, Transport};
use crate::store;
use crate::store::place::PostgresSettings;

const POLICY_VALID: &str = "7d";
const CERTIFICATE_LIFE: &str = "24h";
/// A host that was away for long sends 250 MB, a million events, in four minutes.
const EVENT_QUOTA: EventQuota = EventQuota {
    bytes_per_second: 1 << 20,
    burst_bytes: 8 << 20,
};
const MAX_AGE: &str = "365d";
const MAX_ABSENCE: &str = "90d";
const KEEP: &str = "400d";
const KEEP_NOISE: &str = "30d";

/// The controller's settings, all valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The fleet's name, in every certificate.
    pub fleet: String,
    /// Where members reach the controller, `host:port`.
    pub address: String,
    /// Where members reach all controllers of the fleet, each `host:port`, this one among them; empty where that is said
    /// to nobody.
    pub controllers: Vec<String>,
    /// Where it listens.
    pub listen: Listen,
    /// Where the key is under which secrets in the database are sealed, when there is no `seal.key` in
    /// the directory.
    pub seal_key_file: Option<PathBuf>,
    /// How long hosts grant without a word from the controller; `None` for ever.
    pub policy_valid: Option<Duration>,
    /// How long a member's certificate is good for.
    pub certificate_life: Duration,
    /// Where Prometheus may ask; `None` for nowhere.
    pub metrics: Option<MetricsSettings>,
    /// How long records of the log are kept.
    pub retention: RetentionSettings,
    /// Of which keys of members it is said that they are old.
    pub identity: IdentitySettings,
    /// How fast a host may fill the log; `None` for no bound.
    pub event_quota: Option<EventQuota>,
    /// Where events are sent on to.
    pub sinks: Vec<SinkSettings>,
    /// The PostgreSQL server that has the database; `None` where that is a file in the directory.
    pub database: Option<PostgresSettings>,
}

/// Where a controller listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listen {
    /// Every address of the machine, of IPv6 and IPv4, at this port.
    Everywhere(u16),
    /// One address.
    At(SocketAddr),
}

/// `[metrics]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MetricsSettings {
    /// Where Prometheus may ask.
    pub listen: SocketAddr,
    /// Whether there are series of each host.
    pub per_host: bool,
}

/// `[quota]`: what each host may push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventQuota {
    /// Bytes a second for ever.
    pub bytes_per_second: u64,
    /// Bytes at once.
    pub burst_bytes: u64,
}

/// `[identity]`: what is said of the long-lived keys by which members renew their certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdentitySettings {
    /// A key that was made longer ago is old; `None` for never.
    pub max_age: Option<Duration>,
    /// A key for which no certificate was asked for so long was away; `None` for never.
    pub max_absence: Option<Duration>,
    /// Such a key is refused, and its member must join anew.
    pub refuse: bool,
}

/// `[retention]`: how long the log keeps what records say; `None` for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetentionSettings {
    /// Of everything: grants, and what people did.
    pub keep: Option<Duration>,
    /// Of noise.
    pub keep_noise: Option<Duration>,
}

/// The keys of the file's top, and of `[metrics]` and `[retention]`.
const KEYS: &[&str] = &[
    "fleet",
    "address",
    "controllers",
    "listen",
    "seal_key_file",
    "policy_valid",
    "certificate_life",
    "metrics",
    "identity",
    "quota",
    "retention",
    "sink",
    "database",
];
const DATABASE_KEYS: &[&str] = &["postgres", "password_file", "ca_file"];
const IDENTITY_KEYS: &[&str] = &["max_age", "max_absence", "refuse"];
const QUOTA_KEYS: &[&str] = &["event_bytes_per_second", "event_burst_bytes"];
const RETENTION_KEYS: &[&str] = &["keep", "keep_noise"];
const METRICS_KEYS: &[&str] = &["listen", "per_host"];

/// The file, before anything is known of its values.
#[derive(Debug, Deserialize)]
struct RawSettings {
    fleet: Spanned<String>,
    address: Spanned<String>,
    #[serde(default)]
    controllers: Vec<Spanned<String>>,
    listen: Option<Spanned<String>>,
    seal_key_file: Option<PathBuf>,
    policy_valid: Option<Spanned<String>>,
    certificate_life: Option<Spanned<String>>,
    metrics: Option<RawMetrics>,
    #[serde(default)]
    identity: RawIdentity,
    #[serde(default)]
    quota: RawQuota,
    #[serde(default)]
    retention: RawRetention,
    #[serde(default)]
    sink: Vec<RawSink>,
    database: Option<RawDatabase>,
}

#[derive(Debug, Deserialize)]
struct RawDatabase {
    postgres: Spanned<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct RawIdentity {
    max_age: Option<Spanned<String>>,
    max_absence: Option<Spanned<String>>,
    #[serde(default)]
    refuse: bool,
}

#[derive(Debug, Default, Deserialize)]
struct RawQuota {
    event_bytes_per_second: Option<Spanned<i64>>,
    event_burst_bytes: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
struct RawRetention {
    keep: Option<Spanned<String>>,
    keep_noise: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
struct RawMetrics {
    listen: Spanned<String>,
    #[serde(default)]
    per_host: bool,
}

// === impl Settings ===

impl Settings {
    /// The text of a new file.
    pub(crate) fn text(
        (fleet, address): (&str, &str),
        database: Option<&PostgresSettings>,
    ) -> Result<String, InvalidSettings> {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut text = format!(
            "fleet = {}\naddress = {}\npolicy_valid = {POLICY_VALID:?}\n\
             certificate_life = {CERTIFICATE_LIFE:?}\n",
            quoted(fleet),
            quoted(address)
        );
        if let Some(database) = database {
            text += &Self::database_text(database);
        }
        Self::parse(&text)?;
        Ok(text)
    }

    /// What of a file names a database at a server.
    pub(crate) fn database_text(database: &PostgresSettings) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut text = format!("\n[database]\npostgres = {}\n", quoted(&database.url));
        for (key, path) in [
            ("password_file", &database.password_file),
            ("ca_file", &database.ca_file),
        ] {
            if let Some(path) = path {
                text += &format!("{key} = {}\n", quoted(&path.to_string_lossy()));
            }
        }
        text
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`] with every mistake.
    pub fn parse(text: &str) -> Result<Self, InvalidSettings> {
        let mut mistakes = Mistakes::in_text(text);
        let settings = read(text, &mut mistakes);
        mistakes.end()?;
        settings.ok_or_else(|| InvalidSettings(Vec::new()))
    }

    /// The same, with files named from this directory where their path is not absolute.
    #[must_use]
    pub(crate) fn under(mut self, dir: &Path) -> Self {
        let sinks = self.sinks.into_iter();
        self.sinks = sinks.map(|sink| sink.under(dir)).collect();
        self.database = self.database.map(|database| database.under(dir));
        self
    }
}

/// `None` only when a mistake was added.
fn read(text: &str, mistakes: &mut Mistakes<'_>) -> Option<Settings> {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            mistakes.add_syntax(&error);
            return None;
        }
    };
    mistakes.check_keys(table.get_ref(), "", KEYS);
    for (path, metrics) in tables(table.get_ref(), "metrics") {
        mistakes.check_keys(metrics, &path, METRICS_KEYS);
    }
    for (path, identity) in tables(table.get_ref(), "identity") {
        mistakes.check_keys(identity, &path, IDENTITY_KEYS);
    }
    for (path, quota) in tables(table.get_ref(), "quota") {
        mistakes.check_keys(quota, &path, QUOTA_KEYS);
    }
    for (path, retention) in tables(table.get_ref(), "retention") {
        mistakes.check_keys(retention, &path, RETENTION_KEYS);
    }
    for (path, database) in tables(table.get_ref(), "database") {
        mistakes.check_keys(database, &path, DATABASE_KEYS);
    }
    for (path, sink) in tables(table.get_ref(), "sink") {
        mistakes.check_keys(sink, &path, raw_sink::KEYS);
    }
    // Keys that nobody knows are named above, and keep no other mistake from being named.
    match toml::from_str::<RawSettings>(text) {
        Ok(raw) => Some(checked(raw, mistakes)),
        // What is missing is there, by a name with a slip in it.
        Err(error) if is_missing(&error) && !mistakes.is_empty() => None,
        Err(error) => {
            mistakes.add_syntax(&error);
            None
        }
    }
}

fn is_missing(error: &toml::de::Error) -> bool {
    error.message().starts_with("missing field")
}

fn checked(raw: RawSettings, mistakes: &mut Mistakes<'_>) -> Settings {
    if !is_name(raw.fleet.get_ref()) {
        let what = format!("`{}` is not a name", raw.fleet.get_ref());
        mistakes.add(Some(raw.fleet.span()), "fleet", what);
    }
    let port = port_of(raw.address.get_ref());
    if port.is_none() {
        let what = format!("`{}` is not host:port", raw.address.get_ref());
        mistakes.add(Some(raw.address.span()), "address", what);
    }
    let everywhere = Listen::Everywhere(port.unwrap_or(0));
    let listen = raw
        .listen
        .and_then(|text| socket_address("listen", &text, mistakes));
    let policy_valid = match &raw.policy_valid {
        Some(text) if text.get_ref() == "off" => None,
        text => Some(duration(
            "policy_valid",
            text.as_ref(),
            POLICY_VALID,
            mistakes,
        )),
    };
    let certificate_life = duration(
        "certificate_life",
        raw.certificate_life.as_ref(),
        CERTIFICATE_LIFE,
        mistakes,
    );
    let metrics = raw.metrics.and_then(|RawMetrics { listen, per_host }| {
        let listen = socket_address("metrics.listen", &listen, mistakes)?;
        Some(MetricsSettings { listen, per_host })
    });
    let controllers = controllers(raw.controllers, raw.address.get_ref(), mistakes);
    Settings {
        fleet: raw.fleet.into_inner(),
        controllers,
        address: raw.address.into_inner(),
        listen: listen.map_or(everywhere, Listen::At),
        seal_key_file: raw.seal_key_file,
        policy_valid,
        certificate_life,
        metrics,
        retention: retention(&raw.retention, mistakes),
        identity: identity(&raw.identity, mistakes),
        event_quota: quota(&raw.quota, mistakes),
        sinks: RawSink::all(raw.sink, mistakes),
        database: raw.database.map(|raw| database(raw, mistakes)),
    }
}

/// Whoever knows one of them is to know this one.
fn controllers(said: Vec<Spanned<String>>, own: &str, mistakes: &mut Mistakes<'_>) -> Vec<String> {
    let first = said.first().map(Spanned::span);
    for address in &said {
        if !fleet::is_controller_address(address.get_ref()) {
            let what = format!("`{}` is not host:port", address.get_ref());
            mistakes.add(Some(address.span()), "controllers", what);
        }
    }
    if said.len() > fleet::CONTROLLERS_MAX {
        let what = format!("more than {}", fleet::CONTROLLERS_MAX);
        mistakes.add(first.clone(), "controllers", what);
    }
    if first.is_some() && !said.iter().any(|address| address.get_ref() == own) {
        let what = format!("`{own}`, the address of this one, is not among them");
        mistakes.add(first, "controllers", what);
    }
    said.into_iter().map(Spanned::into_inner).collect()
}

fn database(raw: RawDatabase, mistakes: &mut Mistakes<'_>) -> PostgresSettings {
    let span = raw.postgres.span();
    let settings = PostgresSettings {
        url: raw.postgres.into_inner(),
        password_file: raw.password_file,
        ca_file: raw.ca_file,
    };
    if let Err(error) = store::check_postgres(&settings) {
        let what = program::one_line(&error).to_string();
        mistakes.add(Some(span), "database.postgres", what);
    }
    settings
}

fn identity(raw: &RawIdentity, mistakes: &mut Mistakes<'_>) -> IdentitySettings {
    let mut after = |name, text: &Option<Spanned<String>>, usual| match text {
        Some(text) if text.get_ref() == "off" => None,
        text => Some(duration(name, text.as_ref(), usual, mistakes)),
    };
    IdentitySettings {
        max_age: after("identity.max_age", &raw.max_age, MAX_AGE),
        max_absence: after("identity.max_absence", &raw.max_absence, MAX_ABSENCE),
        refuse: raw.refuse,
    }
}

fn retention(raw: &RawRetention, mistakes: &mut Mistakes<'_>) -> RetentionSettings {
    let mut keep = |name, text: &Option<Spanned<String>>, usual| match text {
        Some(text) if text.get_ref() == "off" => None,
        text => Some(duration(name, text.as_ref(), usual, mistakes)),
    };
    RetentionSettings {
        keep: keep("retention.keep", &raw.keep, KEEP),
        keep_noise: keep("retention.keep_noise", &raw.keep_noise, KEEP_NOISE),
    }
}

/// A rate of 0 is no bound.
fn quota(raw: &RawQuota, mistakes: &mut Mistakes<'_>) -> Option<EventQuota> {
    let mut bytes = |name, number: &Option<Spanned<i64>>, usual| match number {
        None => usual,
        Some(number) => u64::try_from(*number.get_ref()).unwrap_or_else(|_| {
            mistakes.add(Some(number.span()), name, "less than 0");
            0
        }),
    };
    let quota = EventQuota {
        bytes_per_second: bytes(
            "quota.event_bytes_per_second",
            &raw.event_bytes_per_second,
            EVENT_QUOTA.bytes_per_second,
        ),
        burst_bytes: bytes(
            "quota.event_burst_bytes",
            &raw.event_burst_bytes,
            EVENT_QUOTA.burst_bytes,
        ),
    };
    (quota.bytes_per_second > 0).then_some(quota)
}

fn socket_address(
    key: &str,
    text: &Spanned<String>,
    mistakes: &mut Mistakes<'_>,
) -> Option<SocketAddr> {
    let address = text.get_ref().parse().ok();
    if address.is_none() {
        let what = format!(
            "`{}` is not an address and a port, such as [::]:7443 or 127.0.0.1:9464",
            text.get_ref()
        );
        mistakes.add(Some(text.span()), key, what);
    }
    address
}

/// Whether a fleet or a member can have this name: letters, digits and `. _ -`, beginning with a
/// letter or digit, at most 48.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=48).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && !host.contains(char::is_whitespace) && port != 0).then_some(port)
}

/// At least a minute.
fn duration(
    name: &str,
    text: Option<&Spanned<String>>,
    usual: &str,
    mistakes: &mut Mistakes<'_>,
) -> Duration {
    let span = text.map(Spanned::span);
    let text = text.map_or(usual, |text| text.get_ref());
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= Duration::from_secs(60) => return duration,
        Ok(_) => mistakes.add(span, name, "less than a minute"),
        Err(error) => mistakes.add(span, name, format!("`{text}` is no time: {error}")),
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests;

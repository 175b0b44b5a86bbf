//! What Prometheus may ask, where `[metrics]` says so. No user, key or address is in any of it.
//!
//! | name | is |
//! |---|---|
//! | `postern_build_info{version}` | 1 |
//! | `postern_database_up` | 1; 0 while the database takes no writes or does not answer: what it alone knows is missing then |
//! | `postern_members{role}` | members, locked ones too |
//! | `postern_hosts{state}` | `in_sync`, `pending`, `rejected`, `drifted`, `offline` or `locked`: each host is in one |
//! | `postern_controllers{state}` | `serving` or `silent`: those over one database; one that is silent for a minute is not counted |
//! | `postern_policy_generation{which}` | `target`: the one in force |
//! | `postern_claims_seconds{outcome}` | histogram: how long a claim took; `won`, `lost`, `spent` or `refused` |
//! | `postern_store_commit_seconds` | histogram: how long a commit took on the disk |
//! | `postern_log_records` | records of the fleet's log |
//! | `postern_log_signed_records` | those that are covered by a signed checkpoint |
//! | `postern_log_conflicts` | how often the log was not what somebody was shown of it |
//! | `postern_events_total{kind}` | records that came since the controller started |
//! | `postern_pushes_held_back_total` | pushes of hosts that send events faster than their quota |
//! | `postern_sink_lag_seconds{sink}` | age of the oldest record that a sink has not taken |
//! | `postern_sink_behind_records{sink}` | how many those are, at most |
//! | `postern_sink_delivered_total{sink}`, `postern_sink_failures_total{sink}` | since the controller started |
//! | `postern_certificate_expiry_seconds{of}` | until it expires: `authority`, `server` |
//! | `postern_host_up{host}`, `postern_host_last_seen_seconds{host}`, `postern_host_clock_offset_seconds{host}` | with `per_host = true` only |
//!
//! Gauges are read from the store when somebody asks; only claims and commits are measured while they
//! happen.

pub(crate) mod counters;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::timeout;

use self::counters::{Label, label};
use crate::app::controllers::{self, ControllerView};
use crate::app::hosts::{self, HostView};
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::server::ServerError;
use crate::timestamp::Timestamp;

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);

type Number = Gauge<f64, AtomicU64>;

/// Listens for Prometheus, where the settings say so, until the controller stops.
pub(crate) async fn spawn(context: &Arc<Context>) -> Result<(), ServerError> {
    let Some(settings) = context.settings.metrics else {
        return Ok(());
    };
    let address = settings.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServerError::Listen { address, source })?;
    program::metrics::announce(address);
    if let Err(error) = context.metrics.count_events(&context.store).await {
        tracing::debug!(error = %program::one_line(&error), "events are not counted yet");
    }
    let (asked, runtime) = (Arc::clone(context), Handle::current());
    let source = move || {
        // On a thread for what takes its time.
        let registry = runtime.block_on(registry(&asked, clock::now()));
        program::metrics::text(&registry)
    };
    let stopping = context.stopping.clone();
    context.tasks.spawn(async move {
        program::metrics::serve(listener, source, stopping.cancelled()).await;
    });
    Ok(())
}

/// Everything, as it is now; while the database does not answer, what is known without it.
pub(crate) async fn registry(context: &Context, now: Timestamp) -> Registry {
    let stored = match timeout(PATIENCE, Stored::read(context, now)).await {
        Ok(Ok(stored)) => Some(stored),
        Ok(Err(error)) => {
            tracing::debug!(error = %program::one_line(&error), "the database is not measured");
            None
        }
        Err(_) => None,
    };
    let metrics = &context.metrics;
    let mut registry = Registry::with_prefix("postern");
    let build = gauges(&mut registry, "build_info", "The version that runs");
    set(&build, "version", env!("CARGO_PKG_VERSION"), 1.0);
    registry.register(
        "claims_seconds",
        "How long claims of the shared replay list took",
        metrics.claims.clone(),
    );
    registry.register(
        "store_commit_seconds",
        "How long commits took",
        context.store.commit_seconds(),
    );
    registry.register("events", "Records since the start", metrics.events.clone());
    registry.register(
        "pushes_held_back",
        "Pushes that were made to wait by a quota",
        metrics.held_back.clone(),
    );
    let is_up = stored.is_some() && context.store.fault().is_none();
    number(
        &mut registry,
        (
            "database_up",
            "Whether the database takes writes and answers",
        ),
        u64::from(is_up),
    );
    number(
        &mut registry,
        (
            "log_signed_records",
            "Records that are covered by a signed checkpoint",
        ),
        context.checkpoints.size(),
    );
    let generation = gauges(
        &mut registry,
        "policy_generation",
        "Generation of the policy",
    );
    set(
        &generation,
        "which",
        "target",
        float(context.rollout.in_force().generation),
    );
    let members = gauges(&mut registry, "members", "Members, locked ones too");
    for role in fleet::Role::ALL {
        set(&members, "role", role.as_str(), 0.0);
    }
    for member in context.roster.all() {
        members
            .get_or_create(&label("role", member.role.as_str()))
            .inc();
    }
    if let Some(stored) = &stored {
        stored.register(&mut registry, context, now);
    }
    controllers_of(&mut registry, &controllers::all(context));
    let expiry = gauges(
        &mut registry,
        "certificate_expiry_seconds",
        "Until a certificate expires",
    );
    for (of, end_secs) in &*metrics.expiries.lock() {
        set(&expiry, "of", of, float(*end_secs) - float(now.secs()));
    }
    registry
}

/// What only the database knows.
struct Stored {
    newest_id: u64,
    conflicts: u64,
    hosts: Vec<HostView>,
}

// === impl Stored ===

impl Stored {
    async fn read(context: &Context, now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            newest_id: context.metrics.count_events(&context.store).await?,
            conflicts: context.store.conflicts().await?.0,
            hosts: hosts::all(context, now).await?,
        })
    }

    fn register(&self, registry: &mut Registry, context: &Context, now: Timestamp) {
        let Self {
            newest_id,
            conflicts,
            hosts,
        } = self;
        number(
            registry,
            ("log_records", "Records of the fleet's log"),
            *newest_id,
        );
        number(
            registry,
            (
                "log_conflicts",
                "How often the log was not what somebody was shown of it",
            ),
            *conflicts,
        );
        let per_host = context.settings.metrics.is_some_and(|it| it.per_host);
        hosts_of(registry, hosts, per_host, now);
        sinks_of(registry, context, *newest_id, now);
    }
}

fn number(registry: &mut Registry, (name, help): (&str, &str), value: u64) {
    let gauge = Number::default();
    gauge.set(float(value));
    registry.register(name, help, gauge);
}

fn hosts_of(registry: &mut Registry, views: &[HostView], per_host: bool, now: Timestamp) {
    let hosts = gauges(registry, "hosts", "Hosts by state");
    for state in [
        "in_sync", "pending", "rejected", "drifted", "offline", "locked",
    ] {
        set(&hosts, "state", state, 0.0);
    }
    for view in views {
        hosts.get_or_create(&label("state", state(view))).inc();
    }
    if !per_host {
        return;
    }
    let up = gauges(registry, "host_up", "Whether a host is connected");
    let seen = gauges(registry, "host_last_seen_seconds", "Since a host was heard");
    let clock = gauges(
        registry,
        "host_clock_offset_seconds",
        "How far a host's clock is ahead",
    );
    for view in views {
        let name = &view.member.name;
        set(&up, "host", name, f64::from(u8::from(view.connected)));
        let state = &view.state;
        if state.last_seen_ms > 0 {
            let ago = if view.connected {
                0
            } else {
                now.ms().saturating_sub(state.last_seen_ms)
            };
            set(&seen, "host", name, float(ago) / 1000.0);
        }
        if let Some(offset_ms) = state.word.clock_offset_ms {
            let sign = if offset_ms < 0 { -1.0 } else { 1.0 };
            set(
                &clock,
                "host",
                name,
                sign * float(offset_ms.unsigned_abs()) / 1000.0,
            );
        }
    }
}

fn controllers_of(registry: &mut Registry, views: &[ControllerView]) {
    let controllers = gauges(registry, "controllers", "Controllers over one database");
    for (state, is_serving) in [("serving", true), ("silent", false)] {
        let count = views.iter().filter(|one| one.is_serving == is_serving);
        set(&controllers, "state", state, float(count.count() as u64));
    }
}

/// What a host is first of all.
fn state(view: &HostView) -> &'static str {
    if view.member.lock.is_some() {
        "locked"
    } else if !view.connected {
        "offline"
    } else if !view.state.rejected.is_empty() {
        "rejected"
    } else if !view.state.drift.is_empty() {
        "drifted"
    } else if view.in_sync {
        "in_sync"
    } else {
        "pending"
    }
}

fn sinks_of(registry: &mut Registry, context: &Context, newest_id: u64, now: Timestamp) {
    let lag = gauges(
        registry,
        "sink_lag_seconds",
        "Age of the oldest record that a sink has not taken",
    );
    let behind = gauges(
        registry,
        "sink_behind_records",
        "Records that a sink has not taken",
    );
    let delivered = Family::<Label, Counter>::default();
    let failures = Family::<Label, Counter>::default();
    registry.register(
        "sink_delivered",
        "Records that a sink took",
        delivered.clone(),
    );
    registry.register("sink_failures", "Attempts that failed", failures.clone());
    for sink in context.sinks.states() {
        let (name, standing) = (sink.name(), sink.standing());
        let lag_ms = standing.lag_ms(now);
        set(&lag, "sink", name, float(lag_ms) / 1000.0);
        let pending = match lag_ms {
            0 => 0,
            _ => newest_id.saturating_sub(standing.delivered_id),
        };
        set(&behind, "sink", name, float(pending));
        delivered
            .get_or_create(&label("sink", name))
            .inc_by(standing.records);
        failures
            .get_or_create(&label("sink", name))
            .inc_by(standing.failures);
    }
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Label, Number> {
    let gauges = Family::<Label, Number>::default();
    registry.register(name, help, gauges.clone());
    gauges
}

fn set(gauges: &Family<Label, Number>, name: &'static str, value: &str, number: f64) {
    gauges.get_or_create(&label(name, value)).set(number);
}

/// Exact up to 2^53, which no count or time of ours reaches.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(number: u64) -> f64 {
    number as f64
}

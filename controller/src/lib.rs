//! The controller of a fleet: policy, membership, the shared replay list and the audit log.
//!
//! | module | what |
//! |---|---|
//! | `start`, `data_dir`, `settings` | from a directory to a running controller |
//! | `server` | TLS, layers, services |
//! | `access` | who may call what, and how much |
//! | `grpc` | the contract's services: conversion only |
//! | `app` | the use cases, plain functions |
//! | `reload` | what is to be read again after which records; pure |
//! | `rollout`, `targets` | the policy in force, and what each host should have by it |
//! | `sessions` | the hosts that are listening, and what each is told |
//! | `sinks` | events out of the house: webhooks, syslog, OTLP |
//! | `store` | what is kept, one method for each transaction; the only place with SQL |
//! | `audit` | signed checkpoints of the log, and rotation of the key that signs them |
//! | `sealing` | rotation of the key under which secrets are sealed |
//! | `database` | moving the database to another place |
//! | `ca` | certificates |
//! | `backup` | backup, restore, move, check of a directory |
//! | `metrics` | what Prometheus may ask |
//! | `housekeeping` | telling hosts of claims; forgetting what is old |
//! | `hostile` | the services without the network, for tests that call them with any bytes |
//! | `clock`, `timestamp` | the one place that reads the clock, and what it gives |
//!
//! A request passes TLS, the layers of tracing and `access`, then one handler of `grpc`, which
//! calls one function of `app` with the time. That writes through the store and, when policy or
//! membership changed, asks the rollout to compile.

mod access;
mod app;
mod audit;
mod authority;
mod backup;
mod becomes_public;
mod beside;
mod ca;
mod clock;
mod context;
mod data_dir;
mod database;
mod error;
mod failure;
mod grpc;
pub mod hostile;
mod housekeeping;
mod metrics;
mod random;
mod reload;
mod rollout;
mod sealing;
mod server;
mod sessions;
mod settings;
mod sinks;
mod start;
mod status;
mod store;
mod targets;
mod timestamp;

pub use access::peer::CertificateTime;
pub use access::permission::Permission;
pub use access::roles::may;
pub use access::rpc::{Requirement, requirement};
pub use app::tokens::{Issued, NewToken, TTL_DEFAULT, TTL_MAX};
pub use audit::rotate::rotate_audit_key;
pub use authority::change::{RotateError, RotateStep, Rotated, rotate_ca};
pub use authority::doubt::AuthorityDoubt;
pub use authority::report::{AuthorityLine, AuthorityStatus, Waiting, ca_status};
pub use backup::{
    Archived, BackupError, Finding, NewArchive, OldArchive, RestoreTo, Taken, backup, check,
    check_archive, move_to, rebuild_searches, restore,
};
pub use beside::{SinkError, SinkRow, SinkSkipped, SinkTested, list_sinks, skip_record, test_sink};
pub use ca::rotation::NotNow;
pub use data_dir::{DataDirError, seal_key_from};
pub use database::{DatabaseCopied, DatabaseCopyError, copy_database};
pub use error::{Error, RenewalRefused, TokenRefused};
pub use random::NoRandomness;
pub use sealing::{install_seal_key, rotate_seal_key};
pub use server::ServerError;
pub use settings::{
    Access, Begin, Body, EventQuota, Format, IdentitySettings, InvalidSettings, Listen,
    MetricsSettings, Mistake, RetentionSettings, Settings, SinkSettings, Target, Transport,
    is_name,
};
pub use sinks::error::DeliveryError;
pub use start::error::StartError;
pub use start::{Running, create_token, init, init_join, init_over};
pub use status::ask::status;
pub use status::{ControllerStatus, SinkStatus, Status};
pub use store::copying::{CopyError, CopyStep};
pub use store::error::{EngineError, NotCommitted, PostgresMistake, StoreError, Trouble};

pub use store::model::{KeyRotated, Resealed};
pub use store::place::PostgresSettings;
pub use store::seal::SealError;

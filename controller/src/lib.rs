//! The controller of a fleet: policy, membership, the shared replay list and the audit log.
//!
//! | room | what |
//! |---|---|
//! | `start`, `data_dir`, `settings` | from a directory to a running controller |
//! | `ca`, `invite` | certificates, one-time tokens |
//! | `server`, `authorize`, `limits` | TLS; who may call what; how much one peer may ask |
//! | `service` | the five services of the contract, each handler a few lines |
//! | `roster` | who belongs to the fleet, in memory |
//! | `compile`, `publisher`, `session` | policy → each host's text → the stream of each host |
//! | `store` | what is kept, one method for each transaction; the only place with SQL |
//! | `housekeeping` | telling siblings of claims; forgetting what is old |
//!
//! A request passes TLS, the tracing and authorization layers and the limits, then one handler, which
//! writes through the store and, when policy or membership changed, asks the publisher to compile.

mod authorize;
mod ca;
mod chain;
mod clock;
mod compile;
mod context;
mod data_dir;
mod error;
mod failure;
mod housekeeping;
mod invite;
mod limits;
mod publisher;
mod roster;
mod server;
mod service;
mod session;
mod settings;
mod start;
mod store;

pub use authorize::{Access, access};
pub use error::{Error, RenewalRefused, TokenRefused};
pub use invite::{TTL_DEFAULT, TTL_MAX, Wanted};
pub use settings::{InvalidSettings, Settings, is_name};
pub use start::{Running, StartError, create_token, init};
pub use store::error::{EngineError, NotCommitted, StoreError};
pub use store::seal::SealError;

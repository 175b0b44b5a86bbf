//! Who may call what, and how much.
//!
//! | file | what |
//! |---|---|
//! | `rpc` | the permission that each RPC needs; an RPC that is not listed is denied |
//! | `permission`, `roles` | what may be permitted, and the one table of which role may do it |
//! | `bounds` | which members and hosts are a caller's business: the one place that decides |
//! | `reads` | what is recorded of what is read |
//! | `caller`, `roster` | who makes a request, and who belongs to the fleet |
//! | `peer` | the other end of a connection, as the connection shows it |
//! | `limits` | how much one peer may ask, by the clock that it is given |
//! | `event_quotas` | how fast each host may fill the log |
//! | `claim_quotas` | how many claims each host may have stored |
//! | `questions` | how many questions of the log may be open |
//! | `standing` | what ends when the right to make a call does |
//! | `looks` | what others have changed is looked for at once, for whoever cannot wait |
//! | `layer` | all of this in front of every service |

pub(crate) mod bounds;
pub(crate) mod caller;
pub(crate) mod claim_quotas;
pub(crate) mod event_quotas;
pub(crate) mod layer;
pub(crate) mod limits;
pub(crate) mod looks;
pub(crate) mod peer;
pub(crate) mod permission;
pub(crate) mod questions;
pub(crate) mod reads;
pub(crate) mod roles;
pub(crate) mod roster;
pub(crate) mod rpc;
pub(crate) mod standing;

//! What makes the fleet's log provable: the chain over all of its records, signed checkpoints of
//! that chain, and the one reader that says whether they hold.
//!
//! | file | what |
//! |---|---|
//! | `key` | the key that signs checkpoints, and its public half as text |
//! | `checkpoint` | a signed statement of what the log was at one size |
//! | `succession` | one key's word for the next, signed by both, and the chain of all keys of a log |
//! | `link` | how a record of the log follows from the one before |
//! | `verifier` | reads a log in its order and names the first record that is not as it was |
//! | `steps` | what retention has emptied, and whether the log says so |
//!
//! A checkpoint has the form of C2SP's signed notes and checkpoints
//! (<https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>), with the log's chain value in
//! the place of a tree's root.

mod checkpoint;
mod key;
mod link;
mod steps;
mod succession;
mod verifier;

pub use checkpoint::{Checkpoint, InvalidCheckpoint, NOTE_BYTES_MAX};
pub use key::{AuditKey, AuditSigner, InvalidAuditKey};
pub use link::{Linked, LogVersion, body_digest};
pub use steps::StepDigest;
pub use succession::{BrokenKeyChain, InvalidSuccession, KeyChain, SUCCESSIONS_MAX, Succession};
pub use verifier::{Fault, FaultKind, Verdict, Verifier};

pub use crate::wire::LogRow;

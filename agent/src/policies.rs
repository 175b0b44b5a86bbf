//! The policy that this host enforces, and the ways to load it.
//!
//! | file | what |
//! |---|---|
//! | `adopted` | one policy, compiled, wherever it comes from |
//! | `access_file` | an access.conf on this host |
//! | `snapshot` | what the controller sent, on the wire or saved in the journal |
//!
//! Who runs, explains or links stands above this and asks it; nothing here knows them.

mod access_file;
mod adopted;
mod files;
mod snapshot;

pub(crate) use access_file::protect_lines;
pub use access_file::{
    AccessFile, InvalidAccessFile, Reread, digest_of, exposed, load, load_text, load_to_run,
    places, warn,
};
pub use adopted::{AdoptedPolicy, Origin, PolicyText, PolicyVersion};
pub use files::Files;
pub use snapshot::{Verdict, compile, judge};

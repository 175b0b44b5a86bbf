//! A host that has the files of fwknopd: what may stand in them, and what does.
//!
//! [`variables`] is the one table of what may stand in fwknopd.conf and what becomes of it;
//! [`read`] reads the file and those laid over it line by line. What it means for this agent says
//! [`config`](crate::config), which makes a layer of the configuration of it. Nothing here judges
//! packets, and nothing of a file with mistakes is used.
//! `digests` takes over what fwknopd has seen, and [`program`] is the agent under the name
//! `fwknopd`, with the switches that go with it.

pub(crate) mod digests;
pub mod program;
pub mod read;
pub mod values;
pub mod variables;

use std::path::Path;

/// Where fwknopd looks for its configuration, and this agent where nothing else is said.
pub const DEFAULT_CONF: &str = "/etc/fwknop/fwknopd.conf";
/// Where fwknopd keeps what it remembers, which on most hosts is gone after a boot.
pub const DEFAULT_RUN_DIR: &str = "/run/fwknop";

/// Whether a run directory is the one that fwknopd has when nobody says anything.
#[must_use]
pub fn is_default_run_dir(dir: &Path) -> bool {
    dir == Path::new(DEFAULT_RUN_DIR) || dir == Path::new("/var/run/fwknop")
}

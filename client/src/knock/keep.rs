//! A packet in a file, beside being sent.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::args::KeepArgs;
use crate::error::{CommandError, Result};

/// The file that packets are written to, each on a line of its own.
#[derive(Debug)]
pub(crate) struct Keep {
    path: PathBuf,
    /// Adds to what is there; after the first packet always.
    append: bool,
}

// === impl Keep ===

impl Keep {
    /// What the command line says; `None` where it names no file.
    pub(crate) fn of(args: &KeepArgs) -> Option<Self> {
        let path = args.save_packet.clone()?;
        let append = args.save_packet_append;
        Some(Self { path, append })
    }

    /// Writes a packet. Whoever reads a file that is made can open what the packet opens, so it is its
    /// owner's alone.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it cannot be written.
    pub(crate) fn write(&mut self, packet: &str) -> Result {
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .append(self.append)
            .truncate(!self.append)
            .mode(0o600)
            .open(&self.path);
        self.append = true;
        opened
            .and_then(|mut file| file.write_all(format!("{packet}\n").as_bytes()))
            .map_err(|cause| {
                CommandError::failed(format!("cannot write {}", self.path.display()), cause)
            })
    }
}

//! What a restore writes into the archive of a controller that was moved: a fleet has one controller, so
//! such an archive is good for one restore.
//!
//! The mark is one more file at the end of the tar archive, so it goes where the archive goes. A copy
//! that was made before has none: of two controllers that come out of that, the hosts tell
//! (`store/sqlite/set_back.rs`).

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::{BLOCK, next_file, skip_padding, write_end, write_file};
use crate::clock;

/// The name of the mark in the archive.
pub(super) const NAME: &str = "postern-restored.json";
/// Of a mark, bytes.
const MARK_MAX: u64 = 64 * 1024;

/// When and where an archive was restored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// For people.
    pub at: String,
    /// The machine.
    pub on: String,
    /// The directory there.
    pub data: PathBuf,
}

// === impl Taken ===

impl Taken {
    /// Now, on this machine.
    pub(super) fn here(data: &Path) -> Self {
        let on = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            at: clock::now().to_string(),
            on: on.trim().to_owned(),
            data: std::path::absolute(data).unwrap_or_else(|_| data.to_owned()),
        }
    }
}

/// The last mark in an archive, if there is one, and where the next one goes.
pub(super) fn find(mut archive: &File) -> io::Result<(Option<Taken>, u64)> {
    archive.rewind()?;
    let mut archive = BufReader::new(archive);
    let mut taken = None;
    while let Some((name, size)) = next_file(&mut archive)? {
        if name == NAME {
            let mut text = Vec::new();
            if size > MARK_MAX {
                return Err(damaged());
            }
            archive.by_ref().take(size).read_to_end(&mut text)?;
            taken = Some(serde_json::from_slice(&text).map_err(|_| damaged())?);
        } else {
            let size = i64::try_from(size).map_err(|_| damaged())?;
            archive.seek_relative(size)?;
        }
        skip_padding(&mut archive, size)?;
    }
    let end = archive.stream_position()?.saturating_sub(BLOCK as u64);
    Ok((taken, end))
}

/// Writes a mark at `end`, where [`find`] found the end.
pub(super) fn mark(mut archive: &File, end: u64, taken: &Taken) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(taken).map_err(io::Error::other)?;
    let size = (text.len() as u64, clock::now().secs());
    let mut added = Vec::new();
    write_file(&mut added, NAME, size, &mut text.as_slice())?;
    write_end(&mut added)?;
    archive.seek(SeekFrom::Start(end))?;
    archive.write_all(&added)?;
    archive.sync_all()
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "its mark of a restore is damaged",
    )
}

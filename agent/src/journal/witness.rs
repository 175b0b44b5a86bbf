//! The witness: what this boot knows of the journal, kept where a restored state directory does not
//! reach.
//!
//! A journal that was put back from a backup, or from the snapshot of a disk, looks as whole as it
//! was. So the end of the journal is written down outside of the state directory as well, after every
//! commit and before anything opens: a file in memory (`/run`), written in place and never synced.
//! It dies with the boot, and names the boot, so one that is left over proves nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use gate::{Span, Spans};
use sha2::{Digest as _, Sha256};

/// Where witnesses are kept when nothing else is said.
pub const WITNESS_DIR: &str = "/run/postern-agent";

/// Names the layout of the file.
const MAGIC: [u8; 8] = *b"postern2";
/// The layout before: without the dates of what was let through.
const MAGIC_BEFORE: [u8; 8] = *b"postern1";
const BOOT_BYTES: usize = 36;
const EPOCH_BYTES: usize = 32;
const SPAN_BYTES: usize = 16;
const LEN_BEFORE: usize = MAGIC.len() + BOOT_BYTES + EPOCH_BYTES + 8 + 32 + 8;
const LEN: usize = LEN_BEFORE + Spans::MOST * SPAN_BYTES;

/// The file, open for as long as the journal is.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    boot: [u8; BOOT_BYTES],
    /// What stands in it.
    said: Option<Said>,
    is_failing: bool,
}

/// Where a journal ended, and what it had let through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Said {
    pub(super) epoch: [u8; EPOCH_BYTES],
    pub(super) seq: u64,
    pub(super) chain: [u8; 32],
    /// Every message that was let through is dated at or before this, seconds since the Unix epoch.
    pub(super) newest_secs: u64,
    /// Where the dates lie of what was let through.
    pub(super) let_through: Spans,
}

// === impl Witness ===

impl Witness {
    /// Opens the witness of the journal in `state_dir`, or makes one; `None` where none can be kept,
    /// after saying so. What an earlier boot left says nothing.
    pub(super) fn open(dir: &Path, state_dir: &Path) -> Option<Self> {
        match Self::try_open(dir, state_dir) {
            Ok(witness) => Some(witness),
            Err(cause) => {
                tracing::warn!(path = %dir.display(), error = %program::one_line(&cause), "no witness of the journal can be kept: the next start will refuse older packets for a while");
                None
            }
        }
    }

    fn try_open(dir: &Path, state_dir: &Path) -> io::Result<Self> {
        let boot = boot_id()?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        let path = dir.join(name_of(&state_dir.canonicalize()?));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(&path)?;
        let said = said_in(&file, &boot);
        Ok(Self {
            path,
            file,
            boot,
            said,
            is_failing: false,
        })
    }

    /// What this boot knows; `None` when the journal has not been used since the boot.
    pub(super) fn said(&self) -> Option<&Said> {
        self.said.as_ref()
    }

    /// Writes down where the journal ends now: one system call, and none if it is where it was.
    pub(super) fn note(&mut self, now: Said) {
        if self.said.as_ref() == Some(&now) {
            return;
        }
        let written = self.file.write_all_at(&written(&now, &self.boot), 0);
        match written {
            Ok(()) => {
                self.said = Some(now);
                self.is_failing = false;
            }
            Err(cause) => {
                // One that is behind the journal would call an older copy the right one.
                self.said = None;
                let _ = self.file.set_len(0);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(path = %self.path.display(), error = %program::one_line(&cause), "the witness of the journal cannot be written: the next start will refuse older packets for a while");
                }
            }
        }
    }
}

/// The epoch of a journal as it stands in a witness.
pub(super) fn epoch_bytes(epoch: &str) -> [u8; EPOCH_BYTES] {
    epoch.as_bytes().try_into().unwrap_or_default()
}

/// The file's name: state directories have long names, and any characters.
fn name_of(state_dir: &Path) -> String {
    let hash = Sha256::digest(state_dir.as_os_str().as_bytes());
    let hex = hex::encode(hash);
    format!("{}.witness", hex.get(..32).unwrap_or(&hex))
}

fn boot_id() -> io::Result<[u8; BOOT_BYTES]> {
    let id = fs::read("/proc/sys/kernel/random/boot_id")?;
    id.trim_ascii()
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

fn written(said: &Said, boot: &[u8; BOOT_BYTES]) -> [u8; LEN] {
    let Said {
        epoch,
        seq,
        chain,
        newest_secs,
        let_through,
    } = said;
    let mut bytes = [0; LEN];
    let mut rest = bytes.as_mut_slice();
    let parts: [&[u8]; 6] = [
        &MAGIC,
        boot,
        epoch,
        &seq.to_be_bytes(),
        chain,
        &newest_secs.to_be_bytes(),
    ];
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    // What is left stays 0: a span that ends at 0 is none.
    for (place, span) in rest.chunks_exact_mut(SPAN_BYTES).zip(let_through.iter()) {
        let (from, through) = place.split_at_mut(8);
        from.copy_from_slice(&span.from_secs.to_be_bytes());
        through.copy_from_slice(&span.through_secs.to_be_bytes());
    }
    bytes
}

/// What stands in a file, whichever version wrote it.
fn said_in(file: &File, boot: &[u8; BOOT_BYTES]) -> Option<Said> {
    let mut bytes = [0; LEN];
    if file.read_exact_at(&mut bytes, 0).is_ok()
        && let Some(said) = read(&bytes, boot)
    {
        return Some(said);
    }
    // One that the version before wrote over a longer one keeps its length.
    let mut bytes = [0; LEN_BEFORE];
    file.read_exact_at(&mut bytes, 0).ok()?;
    read_before(&bytes, boot)
}

/// Which dates were let through is not known there: each until the newest may have been.
fn read_before(bytes: &[u8; LEN_BEFORE], boot: &[u8; BOOT_BYTES]) -> Option<Said> {
    let mut now = [0; LEN];
    let rest = bytes.strip_prefix(&MAGIC_BEFORE)?;
    let (head, tail) = now.split_first_chunk_mut::<{ MAGIC.len() }>()?;
    *head = MAGIC;
    tail.get_mut(..rest.len())?.copy_from_slice(rest);
    let mut said = read(&now, boot)?;
    if said.newest_secs > 0 {
        said.let_through.add(Span {
            from_secs: 0,
            through_secs: said.newest_secs,
        });
    }
    Some(said)
}

/// Gives bytes to the readers of both layouts, whoever wrote them ([`crate::hostile`]).
pub(super) fn read_hostile(bytes: &[u8]) {
    let boot = [b'b'; BOOT_BYTES];
    let _ = bytes.first_chunk().map(|bytes| read(bytes, &boot));
    let _ = bytes.first_chunk().map(|bytes| read_before(bytes, &boot));
}

fn read(bytes: &[u8; LEN], boot: &[u8; BOOT_BYTES]) -> Option<Said> {
    let rest = bytes.strip_prefix(&MAGIC)?.strip_prefix(boot)?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let (chain, rest) = rest.split_first_chunk()?;
    let (newest, mut rest) = rest.split_first_chunk()?;
    let mut let_through = Spans::default();
    while let Some((from, after)) = rest.split_first_chunk()
        && let Some((through, after)) = after.split_first_chunk()
    {
        rest = after;
        let (from_secs, through_secs) = (u64::from_be_bytes(*from), u64::from_be_bytes(*through));
        if through_secs > 0 {
            let_through.add(Span {
                from_secs,
                through_secs,
            });
        }
    }
    Some(Said {
        epoch: *epoch,
        seq: u64::from_be_bytes(*seq),
        chain: *chain,
        newest_secs: u64::from_be_bytes(*newest),
        let_through,
    })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn said() -> Said {
        let mut let_through = Spans::default();
        let_through.add_date(1_800_000_000);
        let_through.add_date(1_700_000_000);
        Said {
            epoch: [b'e'; EPOCH_BYTES],
            seq: 7,
            chain: [9; 32],
            newest_secs: 1_800_000_000,
            let_through,
        }
    }

    #[test]
    fn what_is_noted_is_read_again_for_the_same_state_directory_only() {
        let (run, state, other) = (TempDir::new(), TempDir::new(), TempDir::new());
        let (run, state, other) = (run.unwrap(), state.unwrap(), other.unwrap());
        let mut witness = Witness::open(run.path(), state.path()).unwrap();
        assert_eq!(witness.said(), None);

        witness.note(said());

        let again = Witness::open(run.path(), state.path()).unwrap();
        assert_eq!(again.said(), Some(&said()));
        let others = Witness::open(run.path(), other.path()).unwrap();
        assert_eq!(others.said(), None);
    }

    #[test]
    fn a_witness_of_another_boot_or_a_torn_one_says_nothing() {
        let whole = written(&said(), &[b'a'; BOOT_BYTES]);

        assert_eq!(read(&whole, &[b'a'; BOOT_BYTES]), Some(said()));
        assert_eq!(read(&whole, &[b'b'; BOOT_BYTES]), None);
        assert_eq!(read(&[0; LEN], &[b'a'; BOOT_BYTES]), None);
    }

    #[test]
    fn what_the_version_before_noted_is_understood_and_every_date_until_the_newest_may_be_spent() {
        let (run, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = run
            .path()
            .join(name_of(&state.path().canonicalize().unwrap()));
        let now = written(&said(), &boot_id().unwrap());
        let before = [&MAGIC_BEFORE[..], &now[MAGIC.len()..LEN_BEFORE]].concat();
        let mut expected = said();
        expected.let_through = Spans::default();
        expected.let_through.add(Span {
            from_secs: 0,
            through_secs: expected.newest_secs,
        });
        for rest in [&[][..], &now[LEN_BEFORE..]] {
            fs::write(&path, [&before[..], rest].concat()).unwrap();
            let witness = Witness::open(run.path(), state.path()).unwrap();
            assert_eq!(witness.said(), Some(&expected));
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_no_reason_not_to_start() {
        let state = TempDir::new().unwrap();

        let witness = Witness::open(Path::new("/proc/postern-agent"), state.path());

        assert!(witness.is_none());
    }
}

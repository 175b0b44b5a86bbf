//! Included files, from the disk.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use policy::{ReadError, Source};
use program::trusted;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The disk, as the place that `%include` reads from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

/// No access.conf comes near this: 10,000 stanzas are about 2 MB. Guards against a device or a log
/// given by mistake.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;

// === impl Files ===

impl Source for Files {
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError> {
        Ok(read_text(path)?)
    }

    /// Also what is no file: that is a mistake, and not something to pass over.
    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        trusted::check(dir)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
                && !path.is_dir()
            {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// What others than the owner may do with a file.
const OTHERS: u32 = 0o077;

/// The disk, and what was seen there: every file and folder that was asked for, in order.
#[derive(Debug)]
pub(super) struct Seen {
    gpg_home: PathBuf,
    sights: RefCell<Vec<(PathBuf, Sight)>>,
}

/// What was found at a path; `None` when it could not be read.
#[derive(Debug, Eq, PartialEq)]
enum Sight {
    /// The digest of the text.
    File(Option<[u8; 32]>),
    Folder(Option<Vec<PathBuf>>),
    /// The files of a GnuPG home, and when they were written: their bytes are not ours to keep.
    Keyring(Vec<(PathBuf, u64, i64, i64)>),
}

// === impl Seen ===

impl Seen {
    /// Nothing yet; `gpg_home` is the keyring of stanzas that name none.
    pub(super) fn new(gpg_home: &Path) -> Self {
        Self {
            gpg_home: gpg_home.to_owned(),
            sights: RefCell::default(),
        }
    }

    /// Notes what a file was found to say.
    pub(super) fn file<E>(
        &self,
        path: &Path,
        text: Result<Zeroizing<String>, E>,
    ) -> Result<Zeroizing<String>, E> {
        let digest = text.as_ref().ok().map(|text| digest_of(text));
        self.note(path, Sight::File(digest));
        text
    }

    /// Notes what a GnuPG home was found to have.
    pub(super) fn keyring(&self, home: &Path) {
        self.note(home, Sight::Keyring(written(home)));
    }

    /// Whether all of it is there again as it was.
    pub(super) fn is_unchanged(&self) -> bool {
        self.sights.borrow().iter().all(|(path, seen)| {
            let sight = match seen {
                Sight::File(_) => {
                    let text = read_text(path).ok();
                    Sight::File(text.map(|text| digest_of(&text)))
                }
                Sight::Folder(_) => Sight::Folder(sorted(Files.list_conf(path))),
                Sight::Keyring(_) => Sight::Keyring(written(path)),
            };
            sight == *seen
        })
    }

    /// The files that others than their owner may read, one sentence each. Those that others may write
    /// are not read at all.
    pub(super) fn exposed(&self) -> Vec<String> {
        let files = self.sights.borrow();
        let exposed = files.iter().filter_map(|(path, _)| {
            let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
            let mode = meta.permissions().mode() & 0o777;
            let path = path.display();
            (mode & OTHERS != 0).then(|| {
                format!(
                    "others than its owner may read {path} (mode {mode:03o}), which may hold keys: \
                     chmod 600 {path}"
                )
            })
        });
        exposed.collect()
    }

    /// What was looked at.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let sights = self.sights.borrow();
        sights.iter().map(|(path, _)| path.clone()).collect()
    }

    fn note(&self, path: &Path, sight: Sight) {
        self.sights.borrow_mut().push((path.to_owned(), sight));
    }
}

impl Source for Seen {
    fn read(&self, path: &Path) -> Result<Zeroizing<String>, ReadError> {
        self.file(path, Files.read(path))
    }

    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let files = Files.list_conf(dir);
        self.note(dir, Sight::Folder(sorted(files.clone())));
        files
    }

    /// As fwknopd, for which a zone that is not known is UTC.
    fn time_zone(&self) -> TimeZone {
        program::time::zone().unwrap_or_else(|problem| {
            tracing::warn!("dates of the access file are read in UTC: {problem}");
            TimeZone::UTC
        })
    }

    fn gpg_home(&self) -> Cow<'_, str> {
        self.gpg_home.to_string_lossy()
    }
}

/// The files of a GnuPG home that hold keys, with length and time.
fn written(home: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let rings = ["pubring.kbx", "pubring.gpg", "secring.gpg"].map(|name| home.join(name));
    let private = fs::read_dir(home.join("private-keys-v1.d"));
    let private = private
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let stamped = rings.into_iter().chain(private).filter_map(|path| {
        let meta = fs::metadata(&path).ok()?;
        Some((path, meta.len(), meta.mtime(), meta.mtime_nsec()))
    });
    let mut files: Vec<_> = stamped.collect();
    files.sort_unstable();
    files
}

/// A directory gives its entries in any order.
fn sorted(files: Result<Vec<PathBuf>, ReadError>) -> Option<Vec<PathBuf>> {
    let mut files = files.ok()?;
    files.sort_unstable();
    Some(files)
}

fn digest_of(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Reads a file of text that only trusted hands can have written: whoever writes it opens this host.
pub(super) fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    trusted::read(path, FILE_BYTES_MAX)?.legacy_text()
}

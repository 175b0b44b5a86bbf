//! Backup, restore, move and check of a controller's directory.
//!
//! | file | what |
//! |---|---|
//! | `archive` | a tar file, written and read |
//! | `manifest` | what an archive says of itself |
//! | `restore` | an archive unpacked, and its database put where it belongs |
//! | `taken` | that an archive of a moved controller was restored |
//! | `check` | whether a directory, or an archive, is sound |
//!
//! A backup is one file with the database as it was at one moment, the authority, the keys and the
//! settings. It can be made while the controller serves. The name of the last run is not in it: a
//! restored controller does not know what was claimed since, refuses packets from before its start,
//! and learns from its hosts how far they were (`store/sqlite/set_back.rs`). A *moved* controller
//! was stopped and serves no more where it was, so that nothing can have happened since: its archive
//! has the run, and it goes on as if it had only been restarted.
//!
//! A database at a PostgreSQL server is backed up as the file that a controller of its own would have, and is
//! restored to a server or into a file. It does not move with its controller: such an archive has none.

mod archive;
mod check;
mod manifest;
#[cfg(test)]
mod over_postgres;
mod restore;
mod taken;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use self::archive::{write_end, write_file};
pub use self::check::{Finding, check, check_archive, rebuild_searches};
use self::manifest::{Entry, Manifest};
pub use self::restore::{RestoreTo, restore};
use self::restore::{read_manifest, unpack};
pub use self::taken::Taken;
use crate::clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::settings::{InvalidSettings, Settings};
use crate::store::copying::{self, CopyError};
use crate::store::error::StoreError;
use crate::store::{self, Place};

const DATABASE: &str = "controller.db";
const SETTINGS: &str = "controller.toml";
const RUN: &str = "run";
/// The controller's own name, among several over one database.
const NAME: &str = "controller-name";
/// Every file but the database, the settings and the run; all are needed.
const IDENTITY: &[&str] = &[
    "ca.pem",
    "ca-key.pem",
    "server.pem",
    "server-key.pem",
    SEAL_KEY,
];
const SEAL_KEY: &str = "seal.key";
/// The authorities; not in a directory, nor in an archive, of before.
const AUTHORITY: &str = "authority.json";
/// Of what is no database, bytes.
const SMALL_MAX: u64 = 1024 * 1024;

/// What was made or read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Archived {
    /// The fleet's name.
    pub fleet: String,
    /// When the backup was made, for people.
    pub made_at: String,
    /// The program that made it.
    pub made_by: String,
    /// Number of the database's schema.
    pub schema: u32,
    /// Of the archive.
    pub bytes: u64,
    /// The controller was moved: nothing happened since.
    pub moved: bool,
    /// The archive of a moved controller that was restored, and could not be marked as such.
    pub unmarked: bool,
}

/// Why a backup was not made or restored; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Nothing is overwritten.
    #[error("{0} is there already; nothing was written")]
    Exists(PathBuf),
    /// The archive cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Of the file.
        path: PathBuf,
        /// What the system says, or what is wrong with it.
        source: io::Error,
    },
    /// The archive is not whole, or not what it says.
    #[error("{path} cannot be restored: {what}")]
    Damaged {
        /// Of the archive.
        path: PathBuf,
        /// In words.
        what: String,
    },
    /// It is of a controller that was moved, and that is elsewhere already.
    #[error(
        "{path} was restored already, at {} on {} into {}",
        taken.at, taken.on, taken.data.display()
    )]
    Taken {
        /// Of the archive.
        path: PathBuf,
        /// When and where.
        taken: Taken,
    },
    /// Its settings have mistakes.
    #[error("{}", mistakes.in_file(path))]
    Settings {
        /// Of the file.
        path: PathBuf,
        /// All of them.
        mistakes: InvalidSettings,
    },
    /// The database.
    #[error("cannot use {path}")]
    Database {
        /// Of the file.
        path: PathBuf,
        /// What the store says.
        source: StoreError,
    },
    /// The same at a server.
    #[error(transparent)]
    Server(StoreError),
    /// It was not copied to or from a server.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The database of a moved controller stays where it is.
    #[error("{path} has no database: that stays at its server, {server}")]
    NoDatabase {
        /// Of the archive.
        path: PathBuf,
        /// Where it is.
        server: String,
    },
    /// The server that is named has another.
    #[error("the database at {0} is not that of this controller; nothing was made")]
    OtherDatabase(String),
}

/// Files that are removed unless they are [`keep`](Self::keep)t.
#[derive(Debug, Default)]
struct Drafts(Vec<PathBuf>);

// === impl Drafts ===

impl Drafts {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        for path in &self.0 {
            // What was never made need not be removed.
            let _ = fs::remove_file(path);
        }
    }
}

// === impl BackupError ===

impl BackupError {
    fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let is = |kind| source.kind() == kind;
        if is(io::ErrorKind::AlreadyExists) {
            Self::Exists(path)
        } else if is(io::ErrorKind::UnexpectedEof) {
            let what = "it is cut short".to_owned();
            Self::Damaged { path, what }
        } else if is(io::ErrorKind::InvalidData) {
            let what = source.to_string();
            Self::Damaged { path, what }
        } else if is(io::ErrorKind::PermissionDenied) {
            DataDirError::file(&path, source).into()
        } else {
            Self::File { path, source }
        }
    }

    fn store(place: &Place, source: StoreError) -> Self {
        match place {
            Place::File(path) => Self::Database {
                path: path.clone(),
                source,
            },
            Place::Postgres(_) => Self::Server(source),
        }
    }

    fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// A file that an archive is written into. It is made before a process becomes the owner of the
/// controller's directory, who may not be allowed to make it.
#[derive(Debug)]
pub struct NewArchive {
    path: PathBuf,
    file: File,
    is_whole: bool,
}

/// A file that holds an archive; it is opened for the same reason.
#[derive(Debug)]
pub struct OldArchive {
    path: PathBuf,
    file: File,
}

// === impl NewArchive ===

impl NewArchive {
    /// Makes the file, mode 0600.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; a file that is there is never changed.
    pub fn create(path: &Path) -> Result<Self, BackupError> {
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        Ok(Self {
            path: path.to_owned(),
            file: made.map_err(|error| BackupError::file(path, error))?,
            is_whole: false,
        })
    }
}

impl Drop for NewArchive {
    fn drop(&mut self) {
        if !self.is_whole {
            // Half an archive is none. Whoever may not take it away leaves an empty file.
            let _ = self.file.set_len(0);
            let _ = fs::remove_file(&self.path);
        }
    }
}

// === impl OldArchive ===

impl OldArchive {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        // To be marked, where that may be.
        let to_mark = || fs::OpenOptions::new().read(true).write(true).open(path);
        let file = program::files::open_regular(path).map(|file| to_mark().unwrap_or(file));
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|error| BackupError::file(path, error))?,
        })
    }

    /// Whose the directory was of which it was made, by name, where it says so.
    ///
    /// # Errors
    ///
    /// [`BackupError`] when it is no archive.
    pub fn owner(&self) -> Result<Option<String>, BackupError> {
        let manifest = read_manifest(&self.path, &mut BufReader::new(&self.file))?;
        let again = (&self.file).rewind();
        again.map_err(|error| BackupError::file(&self.path, error))?;
        Ok(manifest.owner)
    }
}

/// Writes a backup of the controller of `data`, which may be serving.
///
/// # Errors
///
/// [`BackupError`]; then there is no archive.
pub fn backup(data: &Path, to: NewArchive) -> Result<Archived, BackupError> {
    let dir = DataDir::open(data)?;
    let archived = write(&dir, to, false)?;
    dir.note_backup(&archived.made_at);
    Ok(archived)
}

/// The same for good: the controller must not be serving, and will not serve from `data` again.
///
/// # Errors
///
/// [`BackupError`]; then it may serve as before.
pub fn move_to(data: &Path, to: NewArchive) -> Result<Archived, BackupError> {
    let dir = DataDir::open(data)?;
    let _lock = dir.lock()?;
    let archived = write(&dir, to, true)?;
    dir.retire()?;
    Ok(archived)
}

fn write(dir: &DataDir, mut to: NewArchive, moved: bool) -> Result<Archived, BackupError> {
    let (copy, _making) = dir.begin_backup()?;
    let drafts = Drafts(vec![copy.clone()]);
    let text = dir.read_settings()?;
    let settings = Settings::parse(&text).map_err(|mistakes| BackupError::Settings {
        path: dir.settings(),
        mistakes,
    })?;
    let place = place(dir, Some(&settings))?;
    let seal = dir.seal_key_text()?;
    let schema = match &place {
        Place::File(path) => {
            let copied = store::copy(path, &copy);
            Some(copied.map_err(|source| BackupError::store(&place, source))?)
        }
        Place::Postgres(_) if moved => None,
        Place::Postgres(_) => {
            let name = dir.name()?;
            Some(copying::copy_out(
                &place,
                &dir.seal_key()?,
                name.as_deref(),
                &copy,
            )?)
        }
    };
    let mut small = BTreeMap::from([(SETTINGS.to_owned(), text.into_bytes())]);
    let held = dir.hold_authority()?;
    for name in IDENTITY.iter().filter(|name| **name != SEAL_KEY) {
        small.insert((*name).to_owned(), dir.read(name)?.into_bytes());
    }
    if dir.authority()?.is_some() {
        small.insert(AUTHORITY.to_owned(), dir.read(AUTHORITY)?.into_bytes());
    }
    drop(held);
    // Wherever it is kept. Were it rotated meanwhile, one of the two would not be of the copy.
    if *dir.seal_key_text()? != *seal {
        return Err(BackupError::damaged(
            &to.path,
            "the seal key was rotated meanwhile; nothing was written",
        ));
    }
    small.insert(SEAL_KEY.to_owned(), seal.as_bytes().to_vec());
    if moved && let Some(run) = dir.run()? {
        small.insert(RUN.to_owned(), run.into_bytes());
    }
    if schema.is_none()
        && let Some(name) = dir.name()?
    {
        small.insert(NAME.to_owned(), name.into_bytes());
    }
    let mut files: BTreeMap<String, Entry> = BTreeMap::new();
    for (name, bytes) in &small {
        let entry = summed(&mut bytes.as_slice());
        files.insert(
            name.clone(),
            entry.map_err(|error| BackupError::file(&copy, error))?,
        );
    }
    let failed = |error| BackupError::file(&copy, error);
    let mut database = None;
    if schema.is_some() {
        let mut file = File::open(&copy).map_err(failed)?;
        files.insert(DATABASE.to_owned(), summed(&mut file).map_err(failed)?);
        file.rewind().map_err(failed)?;
        database = Some(file);
    }
    let now = clock::now();
    let manifest = Manifest {
        format: manifest::format_of(&place),
        fleet: settings.fleet,
        made_at: now.to_string(),
        made_by: concat!("postern-controller ", env!("CARGO_PKG_VERSION")).to_owned(),
        schema: schema.unwrap_or(store::SCHEMA),
        moved,
        is_without_database: schema.is_none(),
        owner: program::owner::name_of_owner(dir.path()),
        files,
    };
    let written = pack(&to.file, &manifest, &small, (database, now.secs()));
    let bytes = written.map_err(|error| BackupError::file(&to.path, error))?;
    to.is_whole = true;
    drop(drafts);
    Ok(archived(manifest, bytes))
}

/// Where the database of a directory is.
fn place(dir: &DataDir, settings: Option<&Settings>) -> Result<Place, BackupError> {
    match settings.and_then(|settings| settings.database.clone()) {
        Some(database) => Ok(Place::Postgres(database.under(dir.path()))),
        None => Ok(Place::File(dir.existing_database()?)),
    }
}

/// Writes everything into one file, and gives its length.
fn pack(
    file: &File,
    manifest: &Manifest,
    small: &BTreeMap<String, Vec<u8>>,
    (database, at_secs): (Option<File>, u64),
) -> io::Result<u64> {
    let mut archive = BufWriter::new(file);
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    let size = |bytes: &[u8]| (bytes.len() as u64, at_secs);
    write_file(
        &mut archive,
        manifest::NAME,
        size(&text),
        &mut text.as_slice(),
    )?;
    for (name, bytes) in small {
        write_file(&mut archive, name, size(bytes), &mut bytes.as_slice())?;
    }
    if let Some(mut database) = database {
        let length = database.metadata()?.len();
        write_file(&mut archive, DATABASE, (length, at_secs), &mut database)?;
    }
    write_end(&mut archive)?;
    archive.flush()?;
    drop(archive);
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// What it is: how long, and its digest.
fn summed(contents: &mut impl Read) -> io::Result<Entry> {
    copy_summed(contents, &mut io::sink())
}

/// Copies it, and says what was copied.
fn copy_summed(contents: &mut impl Read, to: &mut impl Write) -> io::Result<Entry> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = contents.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        to.write_all(part)?;
        hash.update(part);
        bytes += read as u64;
    }
    Ok(Entry {
        bytes,
        sha256: hex::encode(hash.finalize()),
    })
}

fn archived(manifest: Manifest, bytes: u64) -> Archived {
    let Manifest {
        format: _,
        fleet,
        made_at,
        made_by,
        schema,
        moved,
        is_without_database: _,
        owner: _,
        files: _,
    } = manifest;
    Archived {
        fleet,
        made_at,
        made_by,
        schema,
        bytes,
        moved,
        unmarked: false,
    }
}
